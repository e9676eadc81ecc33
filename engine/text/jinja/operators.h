// Python's arithmetic. Integers are int64; what needs more is refused.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/text/jinja/jinja_value.h"

namespace cascade::jinja {

class Runtime;

Value Add(Runtime& runtime, const Value& left, const Value& right);
Value Subtract(Runtime& runtime, const Value& left, const Value& right);
Value Multiply(Runtime& runtime, const Value& left, const Value& right);
Value Divide(Runtime& runtime, const Value& left, const Value& right);
Value FloorDivide(Runtime& runtime, const Value& left, const Value& right);
Value Modulo(Runtime& runtime, const Value& left, const Value& right);
Value Power(Runtime& runtime, const Value& left, const Value& right);
Value Negate(Runtime& runtime, const Value& operand);
Value Plus(Runtime& runtime, const Value& operand);

// A bool or an int as an integer.
std::optional<int64_t> AsInteger(const Value& value);
// A bool, int or float; nothing for others.
std::optional<double> AsDouble(const Value& value);
// Towards zero. Fails for what is not finite or too large.
Value IntegerOf(Runtime& runtime, double number);

}  // namespace cascade::jinja
