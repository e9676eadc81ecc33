#include "engine/text/jinja/interpreter.h"

#include <optional>
#include <string>
#include <utility>

#include "engine/text/jinja/comparison.h"
#include "engine/text/jinja/iteration.h"
#include "engine/text/jinja/loop.h"
#include "engine/text/jinja/macro.h"
#include "engine/text/jinja/printing.h"

namespace cascade::jinja {
namespace {

// What a frame costs beside its variables.
constexpr size_t kFrameBytes = 128;

Name FindName(const Syntax& syntax, const std::string& name) {
  const auto found = syntax.names.find(name);
  return found == syntax.names.end() ? nullptr : &*found;
}

}  // namespace

absl::StatusOr<Text> RenderSyntax(const Syntax& syntax, const NamedValues& variables, std::time_t now,
                                  const Limits& limits) {
  return Interpreter(&syntax, variables, now, limits).Run();
}

Interpreter::Interpreter(const Syntax* syntax, const NamedValues& variables, std::time_t now, const Limits& limits)
    : syntax_(*syntax),
      runtime_(limits, now),
      max_calls_(limits.depth),
      loop_name_(FindName(syntax_, "loop")),
      caller_name_(FindName(syntax_, "caller")),
      globals_(std::make_shared<Frame>()) {
  for (const std::string& name : syntax_.names) {
    if (const Builtin* function = FindFunction(name)) globals_->Set(&name, function);
  }
  for (const auto& [name, value] : variables) {
    if (const Name known = FindName(syntax_, name)) globals_->Set(known, value);
  }
}

Interpreter::~Interpreter() {
  for (auto& [frame, charge] : captured_) frame->variables.clear();
}

absl::StatusOr<Text> Interpreter::Run() {
  TextMaker output(&runtime_);
  out_ = &output;
  Execute(syntax_.body, NewFrame(globals_, syntax_.hidden));
  if (!runtime_.ok()) return runtime_.status();
  return output.Take();
}

const Value* Interpreter::Find(Name name, const FramePtr& frame) {
  size_t passed = 0;
  for (const Frame* around = frame.get(); around != nullptr; around = around->parent.get()) {
    passed += 1 + around->variables.size();
  }
  return runtime_.WorkOnNames(passed) ? frame->Find(name) : nullptr;
}

Interpreter::FramePtr Interpreter::NewFrame(const FramePtr& parent, const std::vector<Name>& hidden) {
  auto frame = std::make_shared<Frame>();
  frame->parent = parent;
  if (!runtime_.WorkOnNames(hidden.size())) return frame;
  for (Name name : hidden) frame->variables.emplace_back(name, Undefined{name});
  return frame;
}

void Interpreter::Set(Frame* frame, Name name, Value value) {
  if (runtime_.WorkOnNames(frame->variables.size())) frame->Set(name, std::move(value));
}

Interpreter::Flow Interpreter::Execute(const Body& body, const FramePtr& frame) {
  if (!runtime_.Enter()) return Flow::kBreak;
  Flow flow = Flow::kNormal;
  for (const Statement& statement : body) {
    if (!runtime_.Step()) break;
    flow = ExecuteStatement(statement, frame);
    if (flow != Flow::kNormal) break;
  }
  runtime_.Leave();
  return runtime_.ok() ? flow : Flow::kBreak;
}

Interpreter::Flow Interpreter::ExecuteStatement(const Statement& statement, const FramePtr& frame) {
  Flow flow = Flow::kNormal;
  switch (statement.kind) {
    case Statement::Kind::kText:
      runtime_.At(statement.place);
      Emit(statement.constant);
      break;
    case Statement::Kind::kOutput: {
      const Value value = Evaluate(*statement.value, frame);
      runtime_.At(statement.value->place);
      Emit(value);
      break;
    }
    case Statement::Kind::kIf:
      return ExecuteIf(statement, frame);
    case Statement::Kind::kFor:
      return ExecuteFor(statement, frame);
    case Statement::Kind::kSet:
      Assign(*statement.target, Evaluate(*statement.value, frame), frame);
      break;
    case Statement::Kind::kSetBlock: {
      const FramePtr inner = NewFrame(frame, statement.hidden);
      Text text = Capture(statement.body, inner, &flow);
      if (flow != Flow::kNormal) break;
      Assign(*statement.target, FilterText(*statement.value, std::move(text), inner), frame);
      break;
    }
    case Statement::Kind::kMacro:
      Set(frame.get(), statement.name, NewMacro(statement, frame));
      break;
    case Statement::Kind::kCallBlock:
      ExecuteCallBlock(statement, frame);
      break;
    case Statement::Kind::kFilterBlock: {
      const FramePtr inner = NewFrame(frame, statement.hidden);
      Text text = Capture(statement.body, inner, &flow);
      if (flow == Flow::kNormal) Emit(FilterText(*statement.value, std::move(text), inner));
      break;
    }
    case Statement::Kind::kWith:
      ExecuteWith(statement, frame, &flow);
      break;
    case Statement::Kind::kScope:
      return Execute(statement.body, NewFrame(frame, statement.hidden));
    case Statement::Kind::kBreak:
      return Flow::kBreak;
    case Statement::Kind::kContinue:
      return Flow::kContinue;
  }
  return flow;
}

Interpreter::Flow Interpreter::ExecuteIf(const Statement& statement, const FramePtr& frame) {
  for (const Statement::Branch& branch : statement.branches) {
    const bool is_taken = branch.test == nullptr || IsTrue(Evaluate(*branch.test, frame));
    if (!runtime_.ok()) break;
    if (is_taken) return Execute(branch.body, frame);
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::ExecuteFor(const Statement& statement, const FramePtr& frame) {
  const Value source = Evaluate(*statement.value, frame);
  runtime_.At(statement.value->place);
  ValueIterator iterator(runtime_, source);
  if (!runtime_.ok()) return Flow::kNormal;
  const auto next = [&](Value* item) {
    while (iterator.Next(item)) {
      if (statement.test == nullptr) return true;
      const FramePtr test_frame = NewFrame(frame, {});
      Assign(*statement.target, *item, test_frame);
      if (IsTrue(Evaluate(*statement.test, test_frame))) return runtime_.ok();
    }
    return false;
  };
  const bool has_length = statement.test == nullptr && !source.Is<std::shared_ptr<Stream>>();
  const bool is_text = has_length && source.text() != nullptr;
  const auto loop = std::make_shared<Loop>(next, has_length && !is_text ? Length(runtime_, source) : std::nullopt,
                                           is_text ? source : Value());
  FramePtr inner = NewFrame(frame, {});
  Flow flow = Flow::kNormal;
  bool is_any_complete = false;
  while (flow != Flow::kBreak && runtime_.ok() && loop->Next()) {
    if (inner.use_count() > 1) inner = NewFrame(frame, {});  // a macro of the last round holds the old one
    inner->variables.clear();
    if (!runtime_.WorkOnNames(statement.hidden.size())) break;
    for (Name name : statement.hidden) inner->variables.emplace_back(name, Undefined{name});
    if (loop_name_ != nullptr) inner->Set(loop_name_, loop);
    Assign(*statement.target, loop->item(), inner);
    flow = Execute(statement.body, inner);
    // As in jinja2, a round that ends early does not count for {% else %}.
    if (flow == Flow::kNormal) is_any_complete = true;
  }
  loop->End();
  if (is_any_complete || !runtime_.ok()) return Flow::kNormal;
  return Execute(statement.otherwise, NewFrame(frame, statement.otherwise_hidden));
}

void Interpreter::ExecuteWith(const Statement& statement, const FramePtr& frame, Flow* flow) {
  const FramePtr inner = NewFrame(frame, statement.hidden);
  for (const auto& [target, value] : statement.assignments) Assign(*target, Evaluate(*value, frame), inner);
  *flow = Execute(statement.body, inner);
}

void Interpreter::ExecuteCallBlock(const Statement& statement, const FramePtr& frame) {
  const Value caller = NewMacro(statement, frame);
  if (!runtime_.ok() || !runtime_.Enter()) return;
  const Value text = EvaluateCall(*statement.value, frame, &caller);
  runtime_.Leave();
  Emit(text);
}

Value Interpreter::NewMacro(const Statement& statement, const FramePtr& frame) {
  if (captured_.empty() || captured_.back().first != frame) {
    captured_.emplace_back(frame, runtime_.ChargeFor(kFrameBytes));
  }
  auto macro = std::make_shared<Macro>();
  macro->statement = &statement;
  macro->frame = frame;
  macro->charge = runtime_.ChargeFor(0);
  return std::shared_ptr<const Macro>(std::move(macro));
}

void Interpreter::Emit(const Value& value) { AppendStr(runtime_, value, out_); }

Text Interpreter::Capture(const Body& body, const FramePtr& frame, Flow* flow) {
  TextMaker text(&runtime_);
  TextMaker* const around = std::exchange(out_, &text);
  *flow = Execute(body, frame);
  out_ = around;
  return text.Take();
}

Value Interpreter::FilterText(const Expression& filters, Text text, const FramePtr& frame) {
  Value around = std::exchange(block_text_, runtime_.NewText(std::move(text)));
  Value value = runtime_.ok() ? Evaluate(filters, frame) : Value();
  block_text_ = std::move(around);
  return value;
}

void Interpreter::Assign(const Expression& target, const Value& value, const FramePtr& frame) {
  if (!runtime_.ok()) return;
  if (target.kind == Expression::Kind::kName) {
    return Set(frame.get(), target.name, value);
  }
  if (target.kind == Expression::Kind::kNamespaceAttribute) return AssignAttribute(target, value, frame);
  runtime_.At(target.place);
  const std::vector<Value> items = ToVector(runtime_, value);
  if (runtime_.ok() && items.size() != target.operands.size()) {
    runtime_.Fail("cannot unpack " + std::to_string(items.size()) + " values into " +
                  std::to_string(target.operands.size()));
  }
  for (size_t i = 0; i < items.size() && runtime_.ok(); ++i) Assign(*target.operands[i], items[i], frame);
}

void Interpreter::AssignAttribute(const Expression& target, const Value& value, const FramePtr& frame) {
  runtime_.At(target.place);
  const Value* found = Find(target.name, frame);
  if (!runtime_.ok()) return;
  const auto* space = found == nullptr ? nullptr : found->If<std::shared_ptr<Namespace>>();
  if (space == nullptr) {
    runtime_.Fail("'" + *target.name + "' is no namespace, and only those have attributes to set");
  } else if ((*target.attribute)[0] == '_') {
    runtime_.Fail("a namespace takes no names that begin with '_'");
  } else {
    auto& entries = (*space)->entries;
    const size_t known = FindTextKey(runtime_, entries, *target.attribute);
    if (known < entries.size()) {
      entries[known].second = value;
    } else {
      entries.emplace_back(runtime_.NewText(*target.attribute), value);
    }
  }
}

}  // namespace cascade::jinja
