#include <string>
#include <utility>

#include "engine/text/jinja/attributes.h"
#include "engine/text/jinja/comparison.h"
#include "engine/text/jinja/interpreter.h"
#include "engine/text/jinja/macro.h"
#include "engine/text/jinja/operators.h"
#include "engine/text/jinja/printing.h"

namespace cascade::jinja {

Value Interpreter::Evaluate(const Expression& expression, const FramePtr& frame) {
  switch (expression.kind) {  // the leaves, without a level of nesting
    case Expression::Kind::kConstant:
      return runtime_.Step() ? expression.constant : Value();
    case Expression::Kind::kName: {
      const Value* found = Find(expression.name, frame);
      return found == nullptr ? Value(Undefined{expression.name}) : *found;
    }
    case Expression::Kind::kBody:
      return block_text_;
    default:
      break;
  }
  if (!runtime_.Step() || !runtime_.Enter()) return {};
  Value value = EvaluateInner(expression, frame);
  runtime_.Leave();
  return value;
}

Value Interpreter::EvaluateInner(const Expression& expression, const FramePtr& frame) {
  switch (expression.kind) {
    case Expression::Kind::kList:
      return runtime_.NewList(EvaluateAll(expression, 0, frame));
    case Expression::Kind::kTuple:
      return runtime_.NewTuple(EvaluateAll(expression, 0, frame));
    case Expression::Kind::kDict:
      return EvaluateDict(expression, frame);
    case Expression::Kind::kUnary:
      return EvaluateUnary(expression, frame);
    case Expression::Kind::kBinary:
      return EvaluateBinary(expression, frame);
    case Expression::Kind::kCompare:
      return EvaluateCompare(expression, frame);
    case Expression::Kind::kConcat:
      return EvaluateConcat(expression, frame);
    case Expression::Kind::kCondition: {
      const Value test = Evaluate(*expression.operands[0], frame);
      if (!runtime_.ok()) return {};
      const ExpressionPtr& chosen = expression.operands[IsTrue(test) ? 1 : 2];
      return chosen == nullptr ? Value() : Evaluate(*chosen, frame);
    }
    case Expression::Kind::kAttribute: {
      const Value value = Evaluate(*expression.operands[0], frame);
      if (!runtime_.ok()) return {};
      runtime_.At(expression.place);
      Value found = GetAttribute(runtime_, value, *expression.name);
      return found.IsUndefined() ? Value(Undefined{expression.name}) : found;
    }
    case Expression::Kind::kItem:
      return EvaluateItem(expression, frame);
    case Expression::Kind::kCall:
      return EvaluateCall(expression, frame, nullptr);
    case Expression::Kind::kFilter:
    case Expression::Kind::kTest:
      return EvaluateBuiltin(expression, frame);
    default:
      return {};
  }
}

std::vector<Value> Interpreter::EvaluateAll(const Expression& expression, size_t first, const FramePtr& frame) {
  std::vector<Value> values;
  for (size_t i = first; i < expression.operands.size() && runtime_.ok(); ++i) {
    values.push_back(Evaluate(*expression.operands[i], frame));
  }
  runtime_.At(expression.place);
  return values;
}

Value Interpreter::EvaluateDict(const Expression& expression, const FramePtr& frame) {
  std::vector<Value> values = EvaluateAll(expression, 0, frame);
  std::vector<std::pair<Value, Value>> entries;
  for (size_t i = 0; i + 1 < values.size(); i += 2)
    entries.emplace_back(std::move(values[i]), std::move(values[i + 1]));
  return runtime_.ok() ? runtime_.NewDict(std::move(entries)) : Value();
}

Value Interpreter::EvaluateUnary(const Expression& expression, const FramePtr& frame) {
  const Value operand = Evaluate(*expression.operands[0], frame);
  if (!runtime_.ok()) return {};
  runtime_.At(expression.place);
  switch (expression.operators[0]) {
    case Operator::kNot:
      return !IsTrue(operand);
    case Operator::kNegate:
      return Negate(runtime_, operand);
    default:
      return Plus(runtime_, operand);
  }
}

Value Interpreter::EvaluateBinary(const Expression& expression, const FramePtr& frame) {
  const Operator op = expression.operators[0];
  Value left = Evaluate(*expression.operands[0], frame);
  if (!runtime_.ok()) return {};
  if (op == Operator::kAnd || op == Operator::kOr) {
    return IsTrue(left) == (op == Operator::kOr) ? left : Evaluate(*expression.operands[1], frame);
  }
  const Value right = Evaluate(*expression.operands[1], frame);
  if (!runtime_.ok()) return {};
  runtime_.At(expression.place);
  switch (op) {
    case Operator::kAdd:
      return Add(runtime_, left, right);
    case Operator::kSubtract:
      return Subtract(runtime_, left, right);
    case Operator::kMultiply:
      return Multiply(runtime_, left, right);
    case Operator::kDivide:
      return Divide(runtime_, left, right);
    case Operator::kFloorDivide:
      return FloorDivide(runtime_, left, right);
    case Operator::kModulo:
      return Modulo(runtime_, left, right);
    default:
      return Power(runtime_, left, right);
  }
}

bool Interpreter::Compare(Operator op, const Value& left, const Value& right) {
  switch (op) {
    case Operator::kEqual:
      return Equal(runtime_, left, right);
    case Operator::kNotEqual:
      return !Equal(runtime_, left, right);
    case Operator::kLess:
      return Less(runtime_, left, right);
    case Operator::kLessOrEqual:
      return LessOrEqual(runtime_, left, right);
    case Operator::kGreater:
      return Less(runtime_, right, left);
    case Operator::kGreaterOrEqual:
      return LessOrEqual(runtime_, right, left);
    case Operator::kIn:
      return Contains(runtime_, right, left);
    default:
      return !Contains(runtime_, right, left);
  }
}

Value Interpreter::EvaluateCompare(const Expression& expression, const FramePtr& frame) {
  Value left = Evaluate(*expression.operands[0], frame);
  for (size_t i = 0; i < expression.operators.size() && runtime_.ok(); ++i) {
    Value right = Evaluate(*expression.operands[i + 1], frame);
    if (!runtime_.ok()) break;
    runtime_.At(expression.place);
    if (!Compare(expression.operators[i], left, right)) return false;
    left = std::move(right);
  }
  return true;
}

Value Interpreter::EvaluateConcat(const Expression& expression, const FramePtr& frame) {
  TextMaker maker(&runtime_);
  for (const Value& value : EvaluateAll(expression, 0, frame)) AppendStr(runtime_, value, &maker);
  return maker.Finish();
}

Value Interpreter::EvaluateItem(const Expression& expression, const FramePtr& frame) {
  const Value value = Evaluate(*expression.operands[0], frame);
  const Expression& index = *expression.operands[1];
  if (!runtime_.ok()) return {};
  if (index.kind != Expression::Kind::kSlice) {
    const Value key = Evaluate(index, frame);
    if (!runtime_.ok()) return {};
    runtime_.At(expression.place);
    return GetItem(runtime_, value, key);
  }
  Value parts[3];
  const Value* given[3] = {};
  for (size_t i = 0; i < 3; ++i) {
    if (index.operands[i] == nullptr) continue;
    parts[i] = Evaluate(*index.operands[i], frame);
    given[i] = &parts[i];
  }
  runtime_.At(expression.place);
  return runtime_.ok() ? GetSlice(runtime_, value, given[0], given[1], given[2]) : Value();
}

Arguments Interpreter::EvaluateArguments(const Expression& expression, const FramePtr& frame) {
  Arguments arguments;
  arguments.positional = EvaluateAll(expression, 1, frame);
  for (const auto& [name, value] : expression.keywords) {
    if (!runtime_.ok()) break;
    arguments.keywords.emplace_back(*name, Evaluate(*value, frame));
  }
  runtime_.At(expression.place);
  return arguments;
}

Value Interpreter::EvaluateBuiltin(const Expression& expression, const FramePtr& frame) {
  const Value self = Evaluate(*expression.operands[0], frame);
  if (!runtime_.ok()) return {};
  const Arguments arguments = EvaluateArguments(expression, frame);
  return runtime_.ok() ? CallBuiltin(runtime_, *expression.builtin, self, arguments) : Value();
}

Value Interpreter::EvaluateCall(const Expression& expression, const FramePtr& frame, const Value* caller) {
  const Expression& callee = *expression.operands[0];
  const Value function = Evaluate(callee, frame);
  if (!runtime_.ok()) return {};
  const Arguments arguments = EvaluateArguments(expression, frame);
  if (!runtime_.ok()) return {};
  if (const auto* macro = function.If<std::shared_ptr<const Macro>>()) return CallMacro(**macro, arguments, caller);
  if (caller != nullptr) return runtime_.Fail("only a macro can be called with a block");
  if (const auto* method = function.If<std::shared_ptr<const Method>>()) {
    return CallBuiltin(runtime_, *(*method)->builtin, (*method)->self, arguments);
  }
  if (const auto* builtin = function.If<const Builtin*>()) return CallBuiltin(runtime_, **builtin, {}, arguments);
  if (callee.kind == Expression::Kind::kAttribute && function.IsUndefined()) {
    const std::string name = "'" + *callee.name + "'";
    if (IsHiddenMethod(*callee.name)) return runtime_.Fail(name + " cannot be called: lists and dicts never change");
    return runtime_.Fail("there is no method " + name);
  }
  const Undefined* undefined = function.If<Undefined>();
  if (undefined != nullptr && undefined->name != nullptr)
    return runtime_.Fail("'" + *undefined->name + "' is undefined");
  return runtime_.Fail("a " + std::string(TypeName(function)) + " cannot be called");
}

bool Interpreter::BindParameters(const Statement& statement, const Arguments& arguments, const FramePtr& frame) {
  const auto& parameters = statement.parameters;
  const std::string name = "the macro '" + *statement.name + "'";
  if (arguments.positional.size() > parameters.size()) {
    runtime_.Fail(name + " takes at most " + std::to_string(parameters.size()) + " arguments, not " +
                  std::to_string(arguments.positional.size()));
    return false;
  }
  size_t used = 0;
  std::vector<bool> is_given(parameters.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    Value value = Undefined{parameters[i].name};
    if (i < arguments.positional.size()) {
      value = arguments.positional[i];
      is_given[i] = true;
    } else {
      if (!runtime_.WorkOnNames(arguments.keywords.size())) return false;
      for (const auto& [keyword, given] : arguments.keywords) {
        if (keyword.data() != parameters[i].name->data()) continue;  // names are interned
        value = given;
        is_given[i] = true;
        ++used;
      }
    }
    Set(frame.get(), parameters[i].name, std::move(value));
    if (!runtime_.ok()) return false;
  }
  if (used < arguments.keywords.size()) {
    runtime_.Fail(name + " gets an argument by a name that it does not have");
    return false;
  }
  for (size_t i = 0; i < parameters.size() && runtime_.ok(); ++i) {
    if (!is_given[i] && parameters[i].otherwise != nullptr) {
      Set(frame.get(), parameters[i].name, Evaluate(*parameters[i].otherwise, frame));
    }
  }
  return runtime_.ok();
}

Value Interpreter::CallMacro(const Macro& macro, const Arguments& arguments, const Value* caller) {
  const Statement& statement = *macro.statement;
  if (calls_ >= max_calls_) return runtime_.OverLimit("macros call each other too deeply");
  if (caller != nullptr && !statement.takes_caller) {
    return runtime_.Fail("the macro '" + *statement.name + "' does not use its caller");
  }
  ++calls_;
  const FramePtr frame = NewFrame(macro.frame, statement.hidden);
  Value text;
  if (statement.takes_caller) frame->Set(caller_name_, caller != nullptr ? *caller : Value(Undefined{caller_name_}));
  if (BindParameters(statement, arguments, frame)) {
    Flow flow = Flow::kNormal;
    Text captured = Capture(statement.body, frame, &flow);
    text = runtime_.NewText(std::move(captured));
  }
  --calls_;
  return text;
}

}  // namespace cascade::jinja
