// What stands behind `is`.
#include <cmath>
#include <string>

#include "engine/text/jinja/builtin.h"
#include "engine/text/jinja/comparison.h"
#include "engine/text/jinja/iteration.h"
#include "engine/text/jinja/letter_case.h"
#include "engine/text/jinja/methods.h"
#include "engine/text/jinja/operators.h"
#include "engine/text/jinja/printing.h"

namespace cascade::jinja {
namespace {

Value IsDefined(Runtime&, const Value& self, const Bound&) { return !self.IsUndefined(); }
Value IsUndefinedTest(Runtime&, const Value& self, const Bound&) { return self.IsUndefined(); }
Value IsNoneTest(Runtime&, const Value& self, const Bound&) { return self.IsNone(); }
Value IsBoolean(Runtime&, const Value& self, const Bound&) { return self.Is<bool>(); }
Value IsTrueTest(Runtime&, const Value& self, const Bound&) { return self.Is<bool>() && *self.If<bool>(); }
Value IsFalseTest(Runtime&, const Value& self, const Bound&) { return self.Is<bool>() && !*self.If<bool>(); }
Value IsInteger(Runtime&, const Value& self, const Bound&) { return self.Is<int64_t>(); }
Value IsFloat(Runtime&, const Value& self, const Bound&) { return self.Is<double>(); }
Value IsNumberTest(Runtime&, const Value& self, const Bound&) { return self.IsNumber(); }
Value IsString(Runtime&, const Value& self, const Bound&) { return self.text() != nullptr; }
Value IsMapping(Runtime&, const Value& self, const Bound&) { return self.dict() != nullptr; }
Value IsSequence(Runtime&, const Value& self, const Bound&) {
  return self.IsUndefined() || self.text() != nullptr || self.list() != nullptr || self.dict() != nullptr ||
         self.Is<std::shared_ptr<const Range>>();
}
Value IsIterableTest(Runtime&, const Value& self, const Bound&) {
  return IsIterable(self) || self.Is<std::shared_ptr<Loop>>();
}
// An undefined value and a loop can be called in Python, only that they refuse.
Value IsCallable(Runtime&, const Value& self, const Bound&) {
  return self.IsUndefined() || self.Is<std::shared_ptr<const Macro>>() || self.Is<std::shared_ptr<const Method>>() ||
         self.Is<std::shared_ptr<Loop>>() || self.Is<const Builtin*>();
}

// self % divisor == rest; fails for what has no rest.
Value HasRest(Runtime& runtime, const Value& self, const Value& divisor, int64_t wanted) {
  const Value rest = Modulo(runtime, self, divisor);
  return runtime.ok() ? Value(Equal(runtime, rest, wanted)) : Value();
}
Value IsOdd(Runtime& runtime, const Value& self, const Bound&) { return HasRest(runtime, self, int64_t{2}, 1); }
Value IsEven(Runtime& runtime, const Value& self, const Bound&) { return HasRest(runtime, self, int64_t{2}, 0); }
Value IsDivisible(Runtime& runtime, const Value& self, const Bound& arguments) {
  return HasRest(runtime, self, *arguments[0], 0);
}

Value IsEqual(Runtime& runtime, const Value& self, const Bound& arguments) {
  return Equal(runtime, self, *arguments[0]);
}
Value IsNotEqual(Runtime& runtime, const Value& self, const Bound& arguments) {
  return !Equal(runtime, self, *arguments[0]);
}
Value IsLess(Runtime& runtime, const Value& self, const Bound& arguments) { return Less(runtime, self, *arguments[0]); }
Value IsGreater(Runtime& runtime, const Value& self, const Bound& arguments) {
  return Less(runtime, *arguments[0], self);
}
Value IsAtMost(Runtime& runtime, const Value& self, const Bound& arguments) {
  return LessOrEqual(runtime, self, *arguments[0]);
}
Value IsAtLeast(Runtime& runtime, const Value& self, const Bound& arguments) {
  return LessOrEqual(runtime, *arguments[0], self);
}
Value IsIn(Runtime& runtime, const Value& self, const Bound& arguments) {
  return Contains(runtime, *arguments[0], self);
}
Value IsSame(Runtime& runtime, const Value& self, const Bound& arguments) { return Same(runtime, self, *arguments[0]); }

Value IsCase(Runtime& runtime, const Value& self, const char* method) {
  const Value text = ToStr(runtime, self);
  if (!runtime.ok()) return {};
  return FindMethod(text, method)->run(runtime, text, {});
}
Value IsUpper(Runtime& runtime, const Value& self, const Bound&) { return IsCase(runtime, self, "isupper"); }
Value IsLower(Runtime& runtime, const Value& self, const Bound&) { return IsCase(runtime, self, "islower"); }

constexpr Builtin Comparing(std::string_view name, Value (*run)(Runtime&, const Value&, const Bound&)) {
  return {.name = name, .required = 1, .parameters = {"other"}, .run = run};
}

constexpr Builtin kTests[] = {
    {.name = "defined", .run = IsDefined},
    {.name = "undefined", .run = IsUndefinedTest},
    {.name = "none", .run = IsNoneTest},
    {.name = "boolean", .run = IsBoolean},
    {.name = "true", .run = IsTrueTest},
    {.name = "false", .run = IsFalseTest},
    {.name = "integer", .run = IsInteger},
    {.name = "float", .run = IsFloat},
    {.name = "number", .run = IsNumberTest},
    {.name = "string", .run = IsString},
    {.name = "mapping", .run = IsMapping},
    {.name = "sequence", .run = IsSequence},
    {.name = "iterable", .run = IsIterableTest},
    {.name = "callable", .run = IsCallable},
    {.name = "odd", .run = IsOdd},
    {.name = "even", .run = IsEven},
    {.name = "divisibleby", .required = 1, .parameters = {"num"}, .run = IsDivisible},
    {.name = "upper", .run = IsUpper},
    {.name = "lower", .run = IsLower},
    Comparing("==", IsEqual),
    Comparing("eq", IsEqual),
    Comparing("equalto", IsEqual),
    Comparing("!=", IsNotEqual),
    Comparing("ne", IsNotEqual),
    Comparing("<", IsLess),
    Comparing("lt", IsLess),
    Comparing("lessthan", IsLess),
    Comparing(">", IsGreater),
    Comparing("gt", IsGreater),
    Comparing("greaterthan", IsGreater),
    Comparing("<=", IsAtMost),
    Comparing("le", IsAtMost),
    Comparing(">=", IsAtLeast),
    Comparing("ge", IsAtLeast),
    Comparing("in", IsIn),
    Comparing("sameas", IsSame),
};

}  // namespace

const Builtin* FindTest(std::string_view name) { return FindBuiltin(kTests, name); }

}  // namespace cascade::jinja
