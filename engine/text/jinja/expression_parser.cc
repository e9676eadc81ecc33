#include <algorithm>
#include <charconv>
#include <string>
#include <utility>

#include "engine/text/jinja/number_syntax.h"
#include "engine/text/jinja/parser.h"

namespace cascade::jinja {

ExpressionPtr Parser::Make(Expression::Kind kind, Place place) {
  auto expression = std::make_unique<Expression>();
  expression->kind = kind;
  expression->place = place;
  return expression;
}

void Parser::Add(Expression* parent, ExpressionPtr operand) {
  if (operand != nullptr) {
    parent->height = std::max(parent->height, operand->height + 1);
    if (parent->height > kMaxExpressionHeight) Fail(parent->place, "an expression has too many operators");
  }
  parent->operands.push_back(std::move(operand));
}

ExpressionPtr Parser::Binary(Operator op, Place place, ExpressionPtr left, ExpressionPtr right) {
  auto binary = Make(Expression::Kind::kBinary, place);
  binary->operators.push_back(op);
  Add(binary.get(), std::move(left));
  Add(binary.get(), std::move(right));
  return binary;
}

ExpressionPtr Parser::Constant(Value value, Place place) {
  auto constant = Make(Expression::Kind::kConstant, place);
  constant->constant = std::move(value);
  return constant;
}

bool Parser::IsTupleEnd(std::string_view end) const {
  const Token& token = Current();
  return token.kind == Token::Kind::kVariableEnd || token.kind == Token::Kind::kBlockEnd || token.IsOperator(")") ||
         (!end.empty() && token.IsName(end));
}

ExpressionPtr Parser::ParseTuple(bool with_condition, bool is_target, bool with_namespace, std::string_view end,
                                 bool in_parentheses) {
  const Place place = Current().place;
  std::vector<ExpressionPtr> items;
  bool is_tuple = false;
  while (ok()) {
    if (!items.empty()) ExpectOperator(",");
    if (IsTupleEnd(end)) break;
    items.push_back(is_target ? ParsePrimary(with_namespace) : with_condition ? ParseExpression() : ParseOr());
    if (!Current().IsOperator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return std::move(items[0]);
  if (!is_tuple && !in_parentheses) Fail(place, "expected an expression, found " + Found());
  auto tuple = Make(Expression::Kind::kTuple, place);
  for (ExpressionPtr& item : items) Add(tuple.get(), std::move(item));
  return tuple;
}

ExpressionPtr Parser::ParseExpression() {
  if (!Enter()) return Make(Expression::Kind::kConstant, Current().place);
  ExpressionPtr value = ParseOr();
  while (SkipName("if")) {
    auto condition = Make(Expression::Kind::kCondition, Current().place);
    Add(condition.get(), ParseOr());
    Add(condition.get(), std::move(value));
    Add(condition.get(), SkipName("else") ? ParseExpression() : nullptr);
    value = std::move(condition);
  }
  Leave();
  return value;
}

ExpressionPtr Parser::ParseOr() {
  ExpressionPtr left = ParseAnd();
  for (Place place = Current().place; SkipName("or"); place = Current().place) {
    left = Binary(Operator::kOr, place, std::move(left), ParseAnd());
  }
  return left;
}

ExpressionPtr Parser::ParseAnd() {
  ExpressionPtr left = ParseNot();
  for (Place place = Current().place; SkipName("and"); place = Current().place) {
    left = Binary(Operator::kAnd, place, std::move(left), ParseNot());
  }
  return left;
}

ExpressionPtr Parser::ParseNot() {
  const Place place = Current().place;
  if (!SkipName("not")) return ParseCompare();
  auto negation = Make(Expression::Kind::kUnary, place);
  if (!Enter()) return negation;
  negation->operators.push_back(Operator::kNot);
  Add(negation.get(), ParseNot());
  Leave();
  return negation;
}

ExpressionPtr Parser::ParseCompare() {
  static constexpr std::pair<std::string_view, Operator> kOperators[] = {
      {"==", Operator::kEqual},       {"!=", Operator::kNotEqual}, {"<", Operator::kLess},
      {"<=", Operator::kLessOrEqual}, {">", Operator::kGreater},   {">=", Operator::kGreaterOrEqual}};
  ExpressionPtr first = ParseSum();
  ExpressionPtr compare;
  while (ok()) {
    const Place place = Current().place;
    Operator op = Operator::kIn;
    const auto symbol = std::find_if(std::begin(kOperators), std::end(kOperators),
                                     [&](const auto& entry) { return Current().IsOperator(entry.first); });
    if (symbol != std::end(kOperators)) {
      op = symbol->second;
      Advance();
    } else if (Current().IsName("not") && Ahead().IsName("in")) {
      op = Operator::kNotIn;
      Advance();
      Advance();
    } else if (!SkipName("in")) {
      break;
    }
    if (compare == nullptr) {
      compare = Make(Expression::Kind::kCompare, place);
      Add(compare.get(), std::move(first));
    }
    compare->operators.push_back(op);
    Add(compare.get(), ParseSum());
  }
  return compare != nullptr ? std::move(compare) : std::move(first);
}

ExpressionPtr Parser::ParseSum() {
  ExpressionPtr left = ParseConcat();
  while (Current().IsOperator("+") || Current().IsOperator("-")) {
    const Token token = Current();
    Advance();
    const Operator op = token.text == "+" ? Operator::kAdd : Operator::kSubtract;
    left = Binary(op, token.place, std::move(left), ParseConcat());
  }
  return left;
}

ExpressionPtr Parser::ParseConcat() {
  ExpressionPtr first = ParseProduct();
  if (!Current().IsOperator("~")) return first;
  auto concat = Make(Expression::Kind::kConcat, Current().place);
  Add(concat.get(), std::move(first));
  while (SkipOperator("~")) Add(concat.get(), ParseProduct());
  return concat;
}

ExpressionPtr Parser::ParseProduct() {
  static constexpr std::pair<std::string_view, Operator> kOperators[] = {
      {"*", Operator::kMultiply}, {"/", Operator::kDivide}, {"//", Operator::kFloorDivide}, {"%", Operator::kModulo}};
  ExpressionPtr left = ParsePower();
  while (ok()) {
    const Place place = Current().place;
    const auto symbol = std::find_if(std::begin(kOperators), std::end(kOperators),
                                     [&](const auto& entry) { return Current().IsOperator(entry.first); });
    if (symbol == std::end(kOperators)) break;
    Advance();
    const bool is_text = left->kind == Expression::Kind::kConstant && left->constant.text() != nullptr;
    if (symbol->second == Operator::kModulo && is_text) Unsupported(place, "formatting a str with '%'");
    left = Binary(symbol->second, place, std::move(left), ParsePower());
  }
  return left;
}

ExpressionPtr Parser::ParsePower() {
  ExpressionPtr left = ParseUnary(true);
  for (Place place = Current().place; SkipOperator("**"); place = Current().place) {
    left = Binary(Operator::kPower, place, std::move(left), ParseUnary(true));
  }
  return left;
}

ExpressionPtr Parser::ParseUnary(bool with_filter) {
  const Token token = Current();
  ExpressionPtr value;
  if (token.IsOperator("-") || token.IsOperator("+")) {
    value = Make(Expression::Kind::kUnary, token.place);
    if (!Enter()) return value;
    Advance();
    value->operators.push_back(token.text == "-" ? Operator::kNegate : Operator::kPlus);
    Add(value.get(), ParseUnary(false));
    Leave();
  } else {
    value = ParsePrimary(false);
  }
  value = ParsePostfix(std::move(value));
  return with_filter ? ParseFilterExpression(std::move(value)) : std::move(value);
}

ExpressionPtr Parser::ParsePrimary(bool with_namespace) {
  const Token token = Current();
  auto nothing = [&] { return Make(Expression::Kind::kConstant, token.place); };
  if (token.kind == Token::Kind::kName) return ParseNamedPrimary(with_namespace);
  if (token.kind == Token::Kind::kString) return ParseStrings();
  if (token.kind == Token::Kind::kInteger || token.kind == Token::Kind::kFloat) return ParseNumber();
  if (!token.IsOperator("(") && !token.IsOperator("[") && !token.IsOperator("{")) {
    Fail(token.place, "expected an expression, found " + Found());
    return nothing();
  }
  if (!Enter()) return nothing();
  ExpressionPtr value;
  if (SkipOperator("(")) {
    value = ParseTuple(true, false, false, {}, true);
    ExpectOperator(")");
  } else {
    value = token.text == "[" ? ParseList() : ParseDict();
  }
  Leave();
  return value;
}

ExpressionPtr Parser::ParseNamedPrimary(bool with_namespace) {
  const Token token = Current();
  Advance();
  if (token.text == "true" || token.text == "True") return Constant(true, token.place);
  if (token.text == "false" || token.text == "False") return Constant(false, token.place);
  if (token.text == "none" || token.text == "None") return Constant(None(), token.place);
  if (with_namespace && SkipOperator(".")) {
    auto reference = Make(Expression::Kind::kNamespaceAttribute, token.place);
    reference->name = syntax_.Intern(token.text);
    reference->attribute = syntax_.Intern(Current().text);
    Expect(Token::Kind::kName, "a name");
    return reference;
  }
  auto name = Make(Expression::Kind::kName, token.place);
  name->name = syntax_.Intern(token.text);
  return name;
}

ExpressionPtr Parser::ParseStrings() {
  const Place place = Current().place;
  std::string value;
  while (Current().kind == Token::Kind::kString) {
    absl::StatusOr<std::string> part = UnescapeString(Current().text);
    if (part.ok()) {
      value += *part;
    } else if (part.status().code() == absl::StatusCode::kUnimplemented) {
      Unsupported(Current().place, "this escape of a string");
    } else {
      Fail(Current().place, std::string(part.status().message()));
    }
    Advance();
  }
  return Constant(FreeText(Text(value)), place);
}

ExpressionPtr Parser::ParseNumber() {
  const Token token = Current();
  Advance();
  if (token.kind == Token::Kind::kFloat) return Constant(ParseFloat(token.text).value_or(0.0), token.place);
  int64_t integer = 0;
  if (ParseInteger(token.text, 0, &integer) != NumberFault::kNone) {
    Unsupported(token.place, "an integer of more than 64 bits");
  }
  return Constant(integer, token.place);
}

ExpressionPtr Parser::ParseList() {
  auto list = Make(Expression::Kind::kList, Current().place);
  ExpectOperator("[");
  while (ok() && !Current().IsOperator("]")) {
    if (!list->operands.empty()) ExpectOperator(",");
    if (Current().IsOperator("]")) break;
    Add(list.get(), ParseExpression());
  }
  ExpectOperator("]");
  return list;
}

ExpressionPtr Parser::ParseDict() {
  auto dict = Make(Expression::Kind::kDict, Current().place);
  ExpectOperator("{");
  while (ok() && !Current().IsOperator("}")) {
    if (!dict->operands.empty()) ExpectOperator(",");
    if (Current().IsOperator("}")) break;
    Add(dict.get(), ParseExpression());
    ExpectOperator(":");
    Add(dict.get(), ParseExpression());
  }
  ExpectOperator("}");
  return dict;
}

}  // namespace cascade::jinja
