#include "engine/text/jinja/parser.h"

#include <algorithm>
#include <string>
#include <utility>

#include "engine/text/jinja/name_checks.h"
#include "engine/text/jinja/scopes.h"

namespace cascade::jinja {
namespace {

absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

absl::StatusOr<std::unique_ptr<Syntax>> ParseSyntax(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    return absl::InvalidArgumentError("a chat template of " + std::to_string(source.size()) + " bytes; " +
                                      std::to_string(kMaxSourceBytes) + " are allowed");
  }
  auto syntax = std::make_unique<Syntax>();
  syntax->source = NormalizeSource(source);
  absl::StatusOr<std::vector<Token>> tokens = Tokenize(syntax->source);
  if (!tokens.ok()) return tokens.status();
  absl::Status status = Parser(*std::move(tokens), syntax.get()).Run();
  if (status.ok()) status = CheckNames(syntax.get());
  if (!status.ok()) return status;
  HideNames(syntax.get());
  return syntax;
}

absl::Status Parser::Run() {
  syntax_.body = ParseBody({});
  return status_;
}

void Parser::Fail(Place place, std::string_view message) {
  if (ok()) status_ = absl::InvalidArgumentError(ToAbsl(ToString(place) + ": " + std::string(message)));
  position_ = tokens_.size() - 1;
}

void Parser::Unsupported(Place place, std::string_view message) {
  const std::string text = ToString(place) + ": " + std::string(message) + " is not supported";
  if (ok()) status_ = absl::UnimplementedError(ToAbsl(text));
  position_ = tokens_.size() - 1;
}

bool Parser::Enter() {
  if (nesting_ == kMaxSourceNesting) {
    Fail(Current().place, "blocks or expressions are nested in more than " + std::to_string(kMaxSourceNesting));
  }
  if (!ok()) return false;
  ++nesting_;
  return true;
}

std::string Parser::Found() const {
  switch (Current().kind) {
    case Token::Kind::kData:
      return "text";
    case Token::Kind::kBlockBegin:
      return "'{%'";
    case Token::Kind::kBlockEnd:
      return "'%}'";
    case Token::Kind::kVariableBegin:
      return "'{{'";
    case Token::Kind::kVariableEnd:
      return "'}}'";
    case Token::Kind::kString:
      return "a string";
    case Token::Kind::kEnd:
      return "the end of the template";
    default:
      return "'" + std::string(Current().text.substr(0, 40)) + "'";
  }
}

bool Parser::SkipOperator(std::string_view op) {
  const bool is_here = Current().IsOperator(op);
  if (is_here) Advance();
  return is_here;
}

bool Parser::SkipName(std::string_view name) {
  const bool is_here = Current().IsName(name);
  if (is_here) Advance();
  return is_here;
}

void Parser::ExpectOperator(std::string_view op) {
  if (!SkipOperator(op)) Fail(Current().place, "expected '" + std::string(op) + "', found " + Found());
}

void Parser::ExpectName(std::string_view name) {
  if (!SkipName(name)) Fail(Current().place, "expected '" + std::string(name) + "', found " + Found());
}

void Parser::Expect(Token::Kind kind, std::string_view what) {
  if (Current().kind != kind) Fail(Current().place, "expected " + std::string(what) + ", found " + Found());
  Advance();
}

Body Parser::ParseBody(Names ends) {
  Body body;
  while (ok() && Current().kind != Token::Kind::kEnd) {
    const Token token = Current();
    Advance();
    if (token.kind == Token::Kind::kData) {
      body.emplace_back().constant = FreeText(Text(token.text));
      body.back().place = token.place;
    } else if (token.kind == Token::Kind::kVariableBegin) {
      Statement output;
      output.kind = Statement::Kind::kOutput;
      output.place = token.place;
      output.value = ParseValue();
      Expect(Token::Kind::kVariableEnd, "'}}'");
      body.push_back(std::move(output));
    } else {
      if (std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return Current().IsName(end); }))
        return body;
      ParseStatement(&body);
      Expect(Token::Kind::kBlockEnd, "'%}'");
    }
  }
  if (ok() && ends.size() > 0) {
    std::string expected;
    for (std::string_view end : ends) expected += (expected.empty() ? "{% " : " or {% ") + std::string(end) + " %}";
    Fail(Current().place, "the template ends where " + expected + " is missing");
  }
  return body;
}

Body Parser::ParseBlock(Names ends) {
  SkipOperator(":");
  Expect(Token::Kind::kBlockEnd, "'%}'");
  if (!Enter()) return {};
  Body body = ParseBody(ends);
  Leave();
  return body;
}

Statement Parser::Begin(Statement::Kind kind) {
  Statement statement;
  statement.kind = kind;
  statement.place = Current().place;
  Advance();
  return statement;
}

void Parser::ParseStatement(Body* body) {
  using Method = void (Parser::*)(Body*);
  static constexpr std::pair<std::string_view, Method> kTags[] = {{"if", &Parser::ParseIf},
                                                                  {"for", &Parser::ParseFor},
                                                                  {"set", &Parser::ParseSet},
                                                                  {"macro", &Parser::ParseMacro},
                                                                  {"call", &Parser::ParseCallBlock},
                                                                  {"filter", &Parser::ParseFilterBlock},
                                                                  {"with", &Parser::ParseWith},
                                                                  {"print", &Parser::ParsePrint},
                                                                  {"generation", &Parser::ParseGeneration},
                                                                  {"break", &Parser::ParseLoopControl},
                                                                  {"continue", &Parser::ParseLoopControl}};
  static constexpr std::string_view kRefused[] = {"include",    "import", "from",      "extends", "block",
                                                  "autoescape", "trans",  "pluralize", "do",      "debug"};
  const Token token = Current();
  if (token.kind != Token::Kind::kName) return Fail(token.place, "expected the name of a tag, found " + Found());
  for (const auto& [name, method] : kTags) {
    if (token.text == name) return (this->*method)(body);
  }
  const std::string tag = "{% " + std::string(token.text.substr(0, 40)) + " %}";
  if (std::find(std::begin(kRefused), std::end(kRefused), token.text) != std::end(kRefused)) {
    return Unsupported(token.place, tag);
  }
  Fail(token.place, "unexpected tag " + tag);
}

void Parser::ParseIf(Body* body) {
  Statement statement = Begin(Statement::Kind::kIf);
  bool is_open = true;
  while (ok() && is_open) {
    Statement::Branch& branch = statement.branches.emplace_back();
    branch.test = ParseTest();
    branch.body = ParseBlock({"elif", "else", "endif"});
    if (SkipName("elif")) continue;
    if (SkipName("else")) statement.branches.emplace_back().body = ParseBlock({"endif"});
    ExpectName("endif");
    is_open = false;
  }
  body->push_back(std::move(statement));
}

void Parser::ParseFor(Body* body) {
  Statement statement = Begin(Statement::Kind::kFor);
  ++loops_;
  statement.target = ParseTarget(false, "in");
  ExpectName("in");
  statement.value = ParseTuple(false, false, false, "recursive", false);
  if (SkipName("if")) statement.test = ParseExpression();
  if (Current().IsName("recursive")) Unsupported(Current().place, "'recursive'");
  ++inner_loops_;
  statement.body = ParseBlock({"endfor", "else"});
  --inner_loops_;
  if (SkipName("else")) statement.otherwise = ParseBlock({"endfor"});
  --loops_;
  ExpectName("endfor");
  body->push_back(std::move(statement));
}

void Parser::ParseSet(Body* body) {
  Statement statement = Begin(Statement::Kind::kSet);
  statement.target = ParseTarget(true);
  if (SkipOperator("=")) {
    statement.value = ParseValue();
  } else {
    statement.kind = Statement::Kind::kSetBlock;
    statement.value = ParseFilter(Make(Expression::Kind::kBody, Current().place), false);
    statement.body = ParseBlock({"endset"});
    ExpectName("endset");
  }
  body->push_back(std::move(statement));
}

void Parser::ParseParameters(Statement* statement) {
  ExpectOperator("(");
  while (ok() && !Current().IsOperator(")")) {
    if (!statement->parameters.empty()) ExpectOperator(",");
    const Place place = Current().place;
    Statement::Parameter parameter;
    parameter.name = ParseTargetName();
    for (const Statement::Parameter& other : statement->parameters) {
      if (other.name == parameter.name) Fail(place, "the parameter '" + *parameter.name + "' is there twice");
    }
    if (SkipOperator("=")) {
      parameter.otherwise = ParseExpression();
    } else if (!statement->parameters.empty() && statement->parameters.back().otherwise != nullptr) {
      Fail(place, "a parameter without a default behind one that has one");
    }
    if (statement->parameters.size() == kMaxNamedArguments) Fail(place, "a macro has more than 255 parameters");
    statement->parameters.push_back(std::move(parameter));
  }
  ExpectOperator(")");
}

void Parser::ParseMacro(Body* body) {
  Statement statement = Begin(Statement::Kind::kMacro);
  statement.name = ParseTargetName();
  ParseParameters(&statement);
  const int around = std::exchange(inner_loops_, 0);
  statement.body = ParseBlock({"endmacro"});
  inner_loops_ = around;
  ExpectName("endmacro");
  body->push_back(std::move(statement));
}

void Parser::ParseCallBlock(Body* body) {
  Statement statement = Begin(Statement::Kind::kCallBlock);
  statement.name = syntax_.Intern("caller");
  if (Current().IsOperator("(")) ParseParameters(&statement);
  statement.value = ParseExpression();
  if (statement.value->kind != Expression::Kind::kCall) Fail(statement.place, "{% call %} needs a call");
  const int around = std::exchange(inner_loops_, 0);
  statement.body = ParseBlock({"endcall"});
  inner_loops_ = around;
  ExpectName("endcall");
  body->push_back(std::move(statement));
}

void Parser::ParseFilterBlock(Body* body) {
  Statement statement = Begin(Statement::Kind::kFilterBlock);
  statement.value = ParseFilter(Make(Expression::Kind::kBody, statement.place), true);
  statement.body = ParseBlock({"endfilter"});
  ExpectName("endfilter");
  body->push_back(std::move(statement));
}

void Parser::ParseWith(Body* body) {
  Statement statement = Begin(Statement::Kind::kWith);
  while (ok() && Current().kind != Token::Kind::kBlockEnd) {
    if (!statement.assignments.empty()) ExpectOperator(",");
    ExpressionPtr target = ParseTarget(false);
    ExpectOperator("=");
    statement.assignments.emplace_back(std::move(target), ParseExpression());
  }
  statement.body = ParseBlock({"endwith"});
  ExpectName("endwith");
  body->push_back(std::move(statement));
}

void Parser::ParsePrint(Body* body) {
  Advance();
  bool is_first = true;
  while (ok() && Current().kind != Token::Kind::kBlockEnd) {
    if (!is_first) ExpectOperator(",");
    is_first = false;
    Statement output;
    output.kind = Statement::Kind::kOutput;
    output.place = Current().place;
    output.value = ParseExpression();
    body->push_back(std::move(output));
  }
}

// transformers' tag, which marks what the model itself writes. It changes nothing in the text.
void Parser::ParseGeneration(Body* body) {
  Statement statement = Begin(Statement::Kind::kScope);
  const int around = std::exchange(inner_loops_, 0);
  statement.body = ParseBlock({"endgeneration"});
  inner_loops_ = around;
  ExpectName("endgeneration");
  body->push_back(std::move(statement));
}

void Parser::ParseLoopControl(Body* body) {
  const bool is_break = Current().text == "break";
  Statement statement = Begin(is_break ? Statement::Kind::kBreak : Statement::Kind::kContinue);
  if (inner_loops_ == 0)
    Fail(statement.place, is_break ? "{% break %} outside a loop" : "{% continue %} outside a loop");
  body->push_back(std::move(statement));
}

Name Parser::ParseTargetName() {
  auto target = Make(Expression::Kind::kName, Current().place);
  target->name = syntax_.Intern(Current().text);
  Expect(Token::Kind::kName, "a name");
  CheckTarget(*target);
  return target->name;
}

ExpressionPtr Parser::ParseTarget(bool with_namespace, std::string_view end) {
  ExpressionPtr target = ParseTuple(false, true, with_namespace, end, false);
  CheckTarget(*target);
  return target;
}

void Parser::CheckTarget(const Expression& target) {
  switch (target.kind) {
    case Expression::Kind::kName:
      if (loops_ > 0 && *target.name == "loop") Fail(target.place, "'loop' cannot be assigned in a loop");
      for (std::string_view constant : {"true", "false", "none", "True", "False", "None"}) {
        if (*target.name == constant) Fail(target.place, "'" + *target.name + "' cannot be assigned");
      }
      return;
    case Expression::Kind::kNamespaceAttribute:
      return;
    case Expression::Kind::kTuple:
      for (const ExpressionPtr& item : target.operands) CheckTarget(*item);
      return;
    default:
      if (ok()) Fail(target.place, "only names can be assigned");
  }
}

}  // namespace cascade::jinja
