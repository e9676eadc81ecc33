#include "engine/text/jinja/operators.h"

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "engine/text/jinja/runtime.h"

namespace cascade::jinja {
namespace {

Value TooLarge(Runtime& runtime) { return runtime.Unsupported("an integer of more than 64 bits"); }

Value BadOperands(Runtime& runtime, const char* operation, const Value& left, const Value& right) {
  for (const Value* value : {&left, &right}) {
    const Undefined* undefined = value->If<Undefined>();
    if (undefined != nullptr && undefined->name != nullptr) {
      return runtime.Fail("'" + *undefined->name + "' is undefined");
    }
  }
  return runtime.Fail(std::string("cannot ") + operation + " " + std::string(TypeName(left)) + " and " +
                      std::string(TypeName(right)));
}

// Two integers, or nothing; bools are integers.
std::optional<std::pair<int64_t, int64_t>> Integers(const Value& left, const Value& right) {
  const auto a = AsInteger(left), b = AsInteger(right);
  if (!a || !b) return std::nullopt;
  return std::pair(*a, *b);
}

std::optional<std::pair<double, double>> Doubles(const Value& left, const Value& right) {
  const auto a = AsDouble(left), b = AsDouble(right);
  if (!a || !b) return std::nullopt;
  return std::pair(*a, *b);
}

double PythonModulo(double left, double right) {
  double rest = std::fmod(left, right);
  if (rest == 0) return std::copysign(0.0, right);
  if ((rest < 0) != (right < 0)) rest += right;
  return rest;
}

double PythonFloorDivide(double left, double right) {
  double rest = std::fmod(left, right);
  double quotient = (left - rest) / right;
  if (rest != 0 && (rest < 0) != (right < 0)) quotient -= 1;
  if (quotient == 0) return std::copysign(0.0, left / right);
  const double floor = std::floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

Value Repeat(Runtime& runtime, const Value& sequence, int64_t count) {
  const size_t times = count < 0 ? 0 : static_cast<size_t>(count);
  const Text* text = sequence.text();
  const size_t size = text != nullptr ? text->footprint() : sequence.list()->items.size() * sizeof(Value);
  const size_t most = std::numeric_limits<size_t>::max() / 2;
  const size_t bytes = size == 0 ? 0 : times > most / size ? most : times * size;
  if (text != nullptr) {
    // Every copy is a call.
    if (!runtime.RoomForText(bytes) || !runtime.Work(bytes) || !runtime.Work(bytes > 0 ? times * 32 : 0)) return {};
    Text repeated;
    if (bytes > 0) repeated.Reserve(text->size() * times);
    for (size_t i = 0; i < times && bytes > 0; ++i) repeated.Append(*text);
    return runtime.NewText(std::move(repeated));
  }
  if (!runtime.RoomInMemory(bytes) || !runtime.Step(static_cast<int64_t>(bytes / sizeof(Value)))) return {};
  std::vector<Value> items;
  for (size_t i = 0; i < times && bytes > 0; ++i) {
    items.insert(items.end(), sequence.list()->items.begin(), sequence.list()->items.end());
  }
  return sequence.list()->is_tuple ? runtime.NewTuple(std::move(items)) : runtime.NewList(std::move(items));
}

Value IntegerPower(Runtime& runtime, int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) return TooLarge(runtime);
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return TooLarge(runtime);
  }
  return result;
}

}  // namespace

std::optional<int64_t> AsInteger(const Value& value) {
  if (const int64_t* integer = value.If<int64_t>()) return *integer;
  if (const bool* flag = value.If<bool>()) return *flag ? 1 : 0;
  return std::nullopt;
}

std::optional<double> AsDouble(const Value& value) {
  if (const double* number = value.If<double>()) return *number;
  if (const auto integer = AsInteger(value)) return static_cast<double>(*integer);
  return std::nullopt;
}

Value IntegerOf(Runtime& runtime, double number) {
  if (!std::isfinite(number)) return runtime.Fail("a number that is not finite is no integer");
  const double whole = std::trunc(number);
  if (whole < -0x1p63 || whole >= 0x1p63) return TooLarge(runtime);
  return static_cast<int64_t>(whole);
}

Value Add(Runtime& runtime, const Value& left, const Value& right) {
  if (const auto pair = Integers(left, right)) {
    int64_t sum;
    return __builtin_add_overflow(pair->first, pair->second, &sum) ? TooLarge(runtime) : Value(sum);
  }
  if (const auto pair = Doubles(left, right)) return pair->first + pair->second;
  if (left.text() != nullptr && right.text() != nullptr) {
    TextMaker maker(&runtime);
    maker.Append(*left.text());
    maker.Append(*right.text());
    return maker.Finish();
  }
  const List *a = left.list(), *b = right.list();
  if (a != nullptr && b != nullptr && a->is_tuple == b->is_tuple) {
    const size_t count = a->items.size() + b->items.size();
    if (!runtime.RoomInMemory(count * sizeof(Value)) || !runtime.Work(count * 64)) return {};
    std::vector<Value> items = a->items;
    items.insert(items.end(), b->items.begin(), b->items.end());
    return a->is_tuple ? runtime.NewTuple(std::move(items)) : runtime.NewList(std::move(items));
  }
  return BadOperands(runtime, "add", left, right);
}

Value Subtract(Runtime& runtime, const Value& left, const Value& right) {
  if (const auto pair = Integers(left, right)) {
    int64_t difference;
    return __builtin_sub_overflow(pair->first, pair->second, &difference) ? TooLarge(runtime) : Value(difference);
  }
  if (const auto pair = Doubles(left, right)) return pair->first - pair->second;
  return BadOperands(runtime, "subtract", left, right);
}

Value Multiply(Runtime& runtime, const Value& left, const Value& right) {
  if (const auto pair = Integers(left, right)) {
    int64_t product;
    return __builtin_mul_overflow(pair->first, pair->second, &product) ? TooLarge(runtime) : Value(product);
  }
  if (const auto pair = Doubles(left, right)) return pair->first * pair->second;
  if ((left.text() != nullptr || left.list() != nullptr) && AsInteger(right)) {
    return Repeat(runtime, left, *AsInteger(right));
  }
  if ((right.text() != nullptr || right.list() != nullptr) && AsInteger(left)) {
    return Repeat(runtime, right, *AsInteger(left));
  }
  return BadOperands(runtime, "multiply", left, right);
}

Value Divide(Runtime& runtime, const Value& left, const Value& right) {
  const auto pair = Doubles(left, right);
  if (!pair) return BadOperands(runtime, "divide", left, right);
  if (pair->second == 0) return runtime.Fail("division by zero");
  if (const auto integers = Integers(left, right)) {
    // Rounded once, as Python's division of integers that a double does not hold.
    return static_cast<double>(static_cast<long double>(integers->first) / static_cast<long double>(integers->second));
  }
  return pair->first / pair->second;
}

Value FloorDivide(Runtime& runtime, const Value& left, const Value& right) {
  const auto pair = Doubles(left, right);
  if (!pair) return BadOperands(runtime, "divide", left, right);
  if (pair->second == 0) return runtime.Fail("division by zero");
  if (const auto integers = Integers(left, right)) {
    const auto [a, b] = *integers;
    if (b == -1) return Negate(runtime, a);
    return a / b - static_cast<int64_t>(a % b != 0 && (a < 0) != (b < 0));
  }
  if (!runtime.Step(8)) return {};  // the rest takes microseconds where the exponents are far apart
  return PythonFloorDivide(pair->first, pair->second);
}

Value Modulo(Runtime& runtime, const Value& left, const Value& right) {
  if (left.text() != nullptr) return runtime.Unsupported("formatting a str with '%'");
  const auto pair = Doubles(left, right);
  if (!pair) return BadOperands(runtime, "divide", left, right);
  if (pair->second == 0) return runtime.Fail("division by zero");
  if (const auto integers = Integers(left, right)) {
    const auto [a, b] = *integers;
    if (b == -1) return int64_t{0};
    const int64_t rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
  }
  if (!runtime.Step(8)) return {};
  return PythonModulo(pair->first, pair->second);
}

Value Power(Runtime& runtime, const Value& left, const Value& right) {
  const auto pair = Doubles(left, right);
  if (!pair) return BadOperands(runtime, "raise", left, right);
  const auto [base, exponent] = *pair;
  if (const auto integers = Integers(left, right); integers && integers->second >= 0) {
    return IntegerPower(runtime, integers->first, integers->second);
  }
  if (base == 0 && exponent < 0) return runtime.Fail("zero cannot be raised to a negative power");
  if (base < 0 && std::isfinite(base) && exponent != std::floor(exponent)) {
    return runtime.Unsupported("a complex number");
  }
  const double power = std::pow(base, exponent);
  if (std::isinf(power) && std::isfinite(base) && std::isfinite(exponent)) return runtime.Fail("a power is too large");
  return power;
}

Value Negate(Runtime& runtime, const Value& operand) {
  if (const auto integer = AsInteger(operand)) return Subtract(runtime, int64_t{0}, *integer);
  if (const double* number = operand.If<double>()) return -*number;
  return BadOperands(runtime, "subtract", int64_t{0}, operand);
}

Value Plus(Runtime& runtime, const Value& operand) {
  if (const auto integer = AsInteger(operand)) return *integer;
  if (operand.Is<double>()) return operand;
  return BadOperands(runtime, "add", int64_t{0}, operand);
}

}  // namespace cascade::jinja
