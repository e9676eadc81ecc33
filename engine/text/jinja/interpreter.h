// Runs a parsed template.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/jinja/frame.h"
#include "engine/text/jinja/runtime.h"
#include "engine/text/jinja/syntax.h"

namespace cascade::jinja {

using NamedValues = std::vector<std::pair<std::string, Value>>;

// Errors as Template::Render has them. The variables are made outside any budget (FreeText and the like).
absl::StatusOr<Text> RenderSyntax(const Syntax& syntax, const NamedValues& variables, std::time_t now,
                                  const Limits& limits);

class Interpreter {
 public:
  Interpreter(const Syntax* syntax, const NamedValues& variables, std::time_t now, const Limits& limits);
  ~Interpreter();

  absl::StatusOr<Text> Run();

 private:
  using FramePtr = std::shared_ptr<Frame>;
  enum class Flow { kNormal, kBreak, kContinue };

  // interpreter.cc: statements
  Flow Execute(const Body& body, const FramePtr& frame);
  Flow ExecuteStatement(const Statement& statement, const FramePtr& frame);
  Flow ExecuteIf(const Statement& statement, const FramePtr& frame);
  Flow ExecuteFor(const Statement& statement, const FramePtr& frame);
  void ExecuteWith(const Statement& statement, const FramePtr& frame, Flow* flow);
  void ExecuteCallBlock(const Statement& statement, const FramePtr& frame);
  void Emit(const Value& value);
  // Runs a body whose text is a value, not output.
  Text Capture(const Body& body, const FramePtr& frame, Flow* flow);
  // The filters of a block on its text.
  Value FilterText(const Expression& filters, Text text, const FramePtr& frame);
  void Assign(const Expression& target, const Value& value, const FramePtr& frame);
  void AssignAttribute(const Expression& target, const Value& value, const FramePtr& frame);
  // Null when no frame has it. Counts the variables that it passes.
  const Value* Find(Name name, const FramePtr& frame);
  // Counts the variables that it passes.
  void Set(Frame* frame, Name name, Value value);
  FramePtr NewFrame(const FramePtr& parent, const std::vector<Name>& hidden);
  Value NewMacro(const Statement& statement, const FramePtr& frame);

  // evaluation.cc: expressions
  Value Evaluate(const Expression& expression, const FramePtr& frame);
  Value EvaluateInner(const Expression& expression, const FramePtr& frame);
  Value EvaluateBinary(const Expression& expression, const FramePtr& frame);
  Value EvaluateUnary(const Expression& expression, const FramePtr& frame);
  Value EvaluateCompare(const Expression& expression, const FramePtr& frame);
  bool Compare(Operator op, const Value& left, const Value& right);
  Value EvaluateConcat(const Expression& expression, const FramePtr& frame);
  Value EvaluateItem(const Expression& expression, const FramePtr& frame);
  Value EvaluateDict(const Expression& expression, const FramePtr& frame);
  Value EvaluateCall(const Expression& expression, const FramePtr& frame, const Value* caller);
  Value EvaluateBuiltin(const Expression& expression, const FramePtr& frame);
  std::vector<Value> EvaluateAll(const Expression& expression, size_t first, const FramePtr& frame);
  Arguments EvaluateArguments(const Expression& expression, const FramePtr& frame);
  Value CallMacro(const Macro& macro, const Arguments& arguments, const Value* caller);
  bool BindParameters(const Statement& statement, const Arguments& arguments, const FramePtr& frame);

  const Syntax& syntax_;
  Runtime runtime_;
  const int max_calls_;
  int calls_ = 0;
  Name loop_name_, caller_name_;
  FramePtr globals_;
  TextMaker* out_ = nullptr;
  Value block_text_;  // of the block whose filters are being evaluated
  // Frames that a macro holds: kept until the end and then emptied, because they hold the macro.
  std::vector<std::pair<FramePtr, Charge>> captured_;
};

}  // namespace cascade::jinja
