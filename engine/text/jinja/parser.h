// jinja2's grammar, with the extensions that transformers switch on.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/text/jinja/lexer.h"
#include "engine/text/jinja/syntax.h"

namespace cascade::jinja {

inline constexpr size_t kMaxSourceBytes = 1 << 20;
// Of blocks, parentheses and operators in each other. Published templates have about a dozen.
inline constexpr int kMaxSourceNesting = 100;
// Of an expression: "a + b + c" is a tree as high as its operators are many.
inline constexpr int kMaxExpressionHeight = 400;

// Of a macro, and with names of a call.
inline constexpr size_t kMaxNamedArguments = 255;

// Errors as Template::Parse has them.
absl::StatusOr<std::unique_ptr<Syntax>> ParseSyntax(std::string_view source);

// After the first error the parser stands at the end of the template, so that everything in it ends by itself.
class Parser {
 public:
  Parser(std::vector<Token> tokens, Syntax* syntax) : tokens_(std::move(tokens)), syntax_(*syntax) {}

  absl::Status Run();

 private:
  using Names = std::initializer_list<std::string_view>;

  // parser.cc: statements
  Body ParseBody(Names ends);   // up to a tag that begins with one of `ends`
  Body ParseBlock(Names ends);  // what follows an opening tag: its end, and a body
  void ParseStatement(Body* body);
  Statement Begin(Statement::Kind kind);
  void ParseIf(Body* body);
  void ParseFor(Body* body);
  void ParseSet(Body* body);
  void ParseMacro(Body* body);
  void ParseCallBlock(Body* body);
  void ParseFilterBlock(Body* body);
  void ParseWith(Body* body);
  void ParsePrint(Body* body);
  void ParseGeneration(Body* body);
  void ParseLoopControl(Body* body);
  void ParseParameters(Statement* statement);
  ExpressionPtr ParseTarget(bool with_namespace, std::string_view end = {});
  Name ParseTargetName();
  void CheckTarget(const Expression& target);

  // expression_parser.cc
  ExpressionPtr ParseTuple(bool with_condition, bool is_target, bool with_namespace, std::string_view end,
                           bool in_parentheses);
  ExpressionPtr ParseValue() { return ParseTuple(true, false, false, {}, false); }
  ExpressionPtr ParseTest() { return ParseTuple(false, false, false, {}, false); }
  ExpressionPtr ParseExpression();
  ExpressionPtr ParseOr();
  ExpressionPtr ParseAnd();
  ExpressionPtr ParseNot();
  ExpressionPtr ParseCompare();
  ExpressionPtr ParseSum();
  ExpressionPtr ParseConcat();
  ExpressionPtr ParseProduct();
  ExpressionPtr ParsePower();
  ExpressionPtr ParseUnary(bool with_filter);
  ExpressionPtr ParsePrimary(bool with_namespace);
  ExpressionPtr ParseNamedPrimary(bool with_namespace);
  ExpressionPtr ParseStrings();
  ExpressionPtr ParseNumber();
  ExpressionPtr ParseList();
  ExpressionPtr ParseDict();
  ExpressionPtr ParsePostfix(ExpressionPtr value);
  ExpressionPtr ParseFilterExpression(ExpressionPtr value);
  ExpressionPtr ParseSubscript(ExpressionPtr value);
  ExpressionPtr ParseIndex();
  ExpressionPtr ParseCall(ExpressionPtr value);
  ExpressionPtr ParseFilter(ExpressionPtr value, bool at_name);
  ExpressionPtr ParseIs(ExpressionPtr value);
  void ParseArguments(Expression* call);
  std::string ParseDottedName();

  ExpressionPtr Make(Expression::Kind kind, Place place);
  void Add(Expression* parent, ExpressionPtr operand);
  ExpressionPtr Binary(Operator op, Place place, ExpressionPtr left, ExpressionPtr right);
  ExpressionPtr Constant(Value value, Place place);

  const Token& Current() const { return tokens_[position_]; }
  const Token& Ahead() const { return tokens_[std::min(position_ + 1, tokens_.size() - 1)]; }
  void Advance() { position_ = std::min(position_ + 1, tokens_.size() - 1); }
  bool SkipOperator(std::string_view op);
  bool SkipName(std::string_view name);
  void ExpectOperator(std::string_view op);
  void ExpectName(std::string_view name);
  void Expect(Token::Kind kind, std::string_view what);
  bool IsTupleEnd(std::string_view end) const;
  bool ok() const { return status_.ok(); }
  void Fail(Place place, std::string_view message);
  void Unsupported(Place place, std::string_view message);
  // What the current token is, for messages.
  std::string Found() const;
  // False, and an error, when it is nested too deeply; otherwise Leave must follow.
  bool Enter();
  void Leave() { --nesting_; }

  std::vector<Token> tokens_;
  Syntax& syntax_;
  size_t position_ = 0;
  int nesting_ = 0;
  int loops_ = 0;        // `for` bodies around, where `loop` cannot be assigned
  int inner_loops_ = 0;  // those that `break` can leave
  absl::Status status_;
};

}  // namespace cascade::jinja
