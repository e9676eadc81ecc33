#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "engine/text/jinja/filters.h"
#include "engine/text/jinja/number_syntax.h"
#include "engine/text/jinja/operators.h"

namespace cascade::jinja {
namespace {

Value Absolute(Runtime& runtime, const Value& self, const Bound&) {
  if (const auto integer = AsInteger(self)) return *integer < 0 ? Negate(runtime, *integer) : Value(*integer);
  if (const double* number = self.If<double>()) return std::fabs(*number);
  return runtime.Fail("abs takes a number, not " + std::string(TypeName(self)));
}

Value TooLarge(Runtime& runtime) { return runtime.Unsupported("an integer of more than 64 bits"); }

Value IntegerOfText(Runtime& runtime, const Text& text, const Value& otherwise, int64_t base) {
  if (base < 0 || base == 1 || base > 36) return runtime.Unsupported("an integer of this base");
  int64_t integer = 0;
  const NumberFault fault = ParseInteger(text.bytes(), static_cast<int>(base), &integer);
  if (fault == NumberFault::kNone) return integer;
  if (fault == NumberFault::kTooLarge) return TooLarge(runtime);
  // "42.7" is 42.
  const std::optional<double> number = ParseFloat(text.bytes());
  if (!number || !std::isfinite(*number)) return otherwise;
  return IntegerOf(runtime, *number);
}

Value Integer(Runtime& runtime, const Value& self, const Bound& arguments) {
  const Value otherwise = arguments[0] != nullptr ? *arguments[0] : Value(int64_t{0});
  const int64_t base = IntegerArgument(runtime, arguments[1], 10);
  if (self.IsUndefined()) return runtime.Fail("int of an undefined value");
  if (!runtime.Work(self.text() != nullptr ? self.text()->size() * 16 : 0)) return {};
  if (self.text() != nullptr) return IntegerOfText(runtime, *self.text(), otherwise, base);
  if (const auto integer = AsInteger(self)) return *integer;
  if (const double* number = self.If<double>()) {
    return std::isnan(*number) ? otherwise : IntegerOf(runtime, *number);
  }
  return otherwise;
}

Value Float(Runtime& runtime, const Value& self, const Bound& arguments) {
  if (self.IsUndefined()) return runtime.Fail("float of an undefined value");
  if (const auto number = AsDouble(self)) return *number;
  if (const Text* text = self.text()) {
    if (!runtime.Work(text->size() * 16)) return {};
    if (const auto number = ParseFloat(text->bytes())) return *number;
  }
  return arguments[0] != nullptr ? *arguments[0] : Value(0.0);
}

// Python's round(): the nearest decimal, halves as the binary number lies.
Value RoundCommon(Runtime& runtime, const Value& self, int64_t precision) {
  if (const auto integer = AsInteger(self)) {
    return precision < 0 ? runtime.Unsupported("rounding to tens") : Value(*integer);
  }
  const double number = *self.If<double>();
  if (!std::isfinite(number)) return number;
  if (precision < 0) return runtime.Unsupported("rounding to tens");
  if (precision > 323) return number;  // no double has more decimals that count
  if (!runtime.Step(16)) return {};    // to hundreds of digits and back
  char digits[800];
  std::snprintf(digits, sizeof(digits), "%.*f", static_cast<int>(precision), number);
  return std::strtod(digits, nullptr);
}

Value Round(Runtime& runtime, const Value& self, const Bound& arguments) {
  const int64_t precision = IntegerArgument(runtime, arguments[0], 0);
  const Text* given = arguments[1] != nullptr ? arguments[1]->text() : nullptr;
  const std::string method = arguments[1] == nullptr ? "common" : given != nullptr ? given->bytes() : "";
  if (method != "common" && method != "ceil" && method != "floor") {
    return runtime.Fail("round takes the methods common, ceil and floor");
  }
  if (!self.IsNumber()) return runtime.Fail("round takes a number, not " + std::string(TypeName(self)));
  if (!runtime.ok()) return {};
  if (method == "common") return RoundCommon(runtime, self, precision);
  const Value factor = Power(runtime, int64_t{10}, precision);
  const Value product = Multiply(runtime, self, factor);
  if (!runtime.ok()) return {};
  const double scaled = *AsDouble(product);
  const Value whole = IntegerOf(runtime, method == "ceil" ? std::ceil(scaled) : std::floor(scaled));
  return runtime.ok() ? Divide(runtime, whole, factor) : Value();
}

constexpr Builtin kFilters[] = {
    {.name = "abs", .run = Absolute},
    {.name = "int", .parameters = {"default", "base"}, .run = Integer},
    {.name = "float", .parameters = {"default"}, .run = Float},
    {.name = "round", .parameters = {"precision", "method"}, .run = Round},
};

}  // namespace

std::span<const Builtin> NumberFilters() { return kFilters; }

}  // namespace cascade::jinja
