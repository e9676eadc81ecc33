// What follows a value: attributes, subscripts, calls, filters and tests.
#include <string>
#include <utility>

#include "engine/text/jinja/builtin.h"
#include "engine/text/jinja/parser.h"

namespace cascade::jinja {

ExpressionPtr Parser::ParsePostfix(ExpressionPtr value) {
  while (ok()) {
    if (Current().IsOperator(".") || Current().IsOperator("[")) {
      value = ParseSubscript(std::move(value));
    } else if (Current().IsOperator("(")) {
      value = ParseCall(std::move(value));
    } else {
      break;
    }
  }
  return value;
}

ExpressionPtr Parser::ParseFilterExpression(ExpressionPtr value) {
  while (ok()) {
    if (Current().IsOperator("|")) {
      value = ParseFilter(std::move(value), false);
    } else if (Current().IsName("is")) {
      value = ParseIs(std::move(value));
    } else if (Current().IsOperator("(")) {
      value = ParseCall(std::move(value));
    } else {
      break;
    }
  }
  return value;
}

ExpressionPtr Parser::ParseSubscript(ExpressionPtr value) {
  const Place place = Current().place;
  if (SkipOperator(".")) {
    const Token token = Current();
    if (token.kind == Token::Kind::kName) {
      auto attribute = Make(Expression::Kind::kAttribute, token.place);
      attribute->name = syntax_.Intern(token.text);
      Add(attribute.get(), std::move(value));
      Advance();
      return attribute;
    }
    auto item = Make(Expression::Kind::kItem, place);
    Add(item.get(), std::move(value));
    if (token.kind != Token::Kind::kInteger) Fail(token.place, "expected a name or a number, found " + Found());
    Add(item.get(), ok() ? ParseNumber() : Make(Expression::Kind::kConstant, place));
    return item;
  }
  auto item = Make(Expression::Kind::kItem, place);
  Add(item.get(), std::move(value));
  ExpectOperator("[");
  std::vector<ExpressionPtr> indices;
  if (!Enter()) return item;
  while (ok() && !Current().IsOperator("]")) {
    if (!indices.empty()) ExpectOperator(",");
    indices.push_back(ParseIndex());
  }
  Leave();
  ExpectOperator("]");
  if (indices.size() == 1) {
    Add(item.get(), std::move(indices[0]));
    return item;
  }
  auto tuple = Make(Expression::Kind::kTuple, place);
  for (ExpressionPtr& index : indices) {
    if (index->kind == Expression::Kind::kSlice) Unsupported(index->place, "a slice in a tuple");
    Add(tuple.get(), std::move(index));
  }
  Add(item.get(), std::move(tuple));
  return item;
}

ExpressionPtr Parser::ParseIndex() {
  auto slice = Make(Expression::Kind::kSlice, Current().place);
  if (Current().IsOperator(":")) {
    Add(slice.get(), nullptr);
  } else {
    ExpressionPtr index = ParseExpression();
    if (!Current().IsOperator(":")) return index;
    Add(slice.get(), std::move(index));
  }
  for (int part = 1; part < 3; ++part) {
    const bool is_given = SkipOperator(":");
    const bool is_empty =
        !is_given || !ok() || Current().IsOperator(":") || Current().IsOperator("]") || Current().IsOperator(",");
    Add(slice.get(), is_empty ? nullptr : ParseExpression());
  }
  return slice;
}

ExpressionPtr Parser::ParseCall(ExpressionPtr value) {
  auto call = Make(Expression::Kind::kCall, Current().place);
  Add(call.get(), std::move(value));
  ParseArguments(call.get());
  return call;
}

void Parser::ParseArguments(Expression* call) {
  const Place place = Current().place;
  ExpectOperator("(");
  if (!Enter()) return;
  bool needs_comma = false;
  while (ok() && !Current().IsOperator(")")) {
    if (needs_comma) {
      ExpectOperator(",");
      if (Current().IsOperator(")")) break;
    }
    needs_comma = true;
    if (Current().IsOperator("*") || Current().IsOperator("**")) {
      Unsupported(Current().place, "an argument with '" + std::string(Current().text) + "'");
    } else if (Current().kind == Token::Kind::kName && Ahead().IsOperator("=")) {
      const Token name = Current();
      Advance();
      Advance();
      for (const auto& [known, value] : call->keywords) {
        if (*known == name.text) Fail(name.place, "the argument '" + *known + "' is given twice");
      }
      if (call->keywords.size() == kMaxNamedArguments) Fail(name.place, "a call names more than 255 arguments");
      ExpressionPtr value = ParseExpression();
      call->height = std::max(call->height, value->height + 1);
      call->keywords.emplace_back(syntax_.Intern(name.text), std::move(value));
    } else {
      if (!call->keywords.empty()) Fail(place, "a call has an argument without a name behind one with a name");
      Add(call, ParseExpression());
    }
  }
  if (call->height > kMaxExpressionHeight) Fail(place, "an expression has too many operators");
  Leave();
  ExpectOperator(")");
}

std::string Parser::ParseDottedName() {
  std::string name(Current().text);
  Expect(Token::Kind::kName, "a name");
  while (SkipOperator(".")) {
    name += "." + std::string(Current().text);
    Expect(Token::Kind::kName, "a name");
  }
  return name;
}

ExpressionPtr Parser::ParseFilter(ExpressionPtr value, bool at_name) {
  while (ok() && (at_name || SkipOperator("|"))) {
    at_name = false;
    const Place place = Current().place;
    auto filter = Make(Expression::Kind::kFilter, place);
    const std::string name = ParseDottedName();
    filter->builtin = FindFilter(name);
    filter->name = syntax_.Intern(name);
    if (ok() && filter->builtin == nullptr) Unsupported(place, "the filter '" + name + "'");
    Add(filter.get(), std::move(value));
    if (Current().IsOperator("(")) ParseArguments(filter.get());
    value = std::move(filter);
  }
  return value;
}

ExpressionPtr Parser::ParseIs(ExpressionPtr value) {
  Advance();
  const bool is_negated = SkipName("not");
  const Place place = Current().place;
  auto test = Make(Expression::Kind::kTest, place);
  const std::string name = ParseDottedName();
  test->builtin = FindTest(name);
  test->name = syntax_.Intern(name);
  if (ok() && test->builtin == nullptr) Unsupported(place, "the test '" + name + "'");
  Add(test.get(), std::move(value));
  const Token& next = Current();
  if (next.IsOperator("(")) {
    ParseArguments(test.get());
  } else if ((next.kind == Token::Kind::kName && !next.IsName("else") && !next.IsName("or") && !next.IsName("and")) ||
             next.kind == Token::Kind::kString || next.kind == Token::Kind::kInteger ||
             next.kind == Token::Kind::kFloat || next.IsOperator("[") || next.IsOperator("{")) {
    if (next.IsName("is")) Fail(next.place, "tests cannot be chained with 'is'");
    Add(test.get(), ParsePostfix(ParsePrimary(false)));
  }
  if (!is_negated) return test;
  auto negation = Make(Expression::Kind::kUnary, place);
  negation->operators.push_back(Operator::kNot);
  Add(negation.get(), std::move(test));
  return negation;
}

}  // namespace cascade::jinja
