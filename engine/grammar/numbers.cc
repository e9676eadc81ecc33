#include "engine/grammar/numbers.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <tuple>

namespace cascade::grammar {
namespace {

constexpr ByteRange kDigit{'0', '9'};
constexpr int64_t kLimit = 1'000'000'000'000'000'000;  // beyond every number that is written

int64_t PowerOfTen(int exponent) {
  int64_t power = 1;
  for (int i = 0; i < exponent; ++i) power *= 10;
  return power;
}

// The innermost integer on the allowed side of bound * 10^scale, at most kLimit away from zero.
int64_t Scaled(const NumberBound& bound, int scale) {
  int shift = bound.exponent + scale;
  uint64_t magnitude = bound.digits;
  bool exact = true;
  for (; shift > 0 && magnitude != 0 && magnitude < static_cast<uint64_t>(kLimit); --shift) magnitude *= 10;
  for (; shift < 0 && magnitude != 0; ++shift) {
    exact = exact && magnitude % 10 == 0;
    magnitude /= 10;
  }
  if (magnitude >= static_cast<uint64_t>(kLimit)) return bound.negative ? -kLimit : kLimit;
  int64_t value = static_cast<int64_t>(magnitude);
  if (bound.negative) value = -value;
  if (exact) return !bound.exclusive ? value : bound.is_lower ? value + 1 : value - 1;
  // `value` is the bound cut towards zero.
  if (bound.is_lower && !bound.negative) return value + 1;
  if (!bound.is_lower && bound.negative) return value - 1;
  return value;
}

// Numbers of `whole` + `fraction` digits from `low` to `high`, both with that many digits; the fraction may end early,
// which is to say in zeros.
class Digits {
 public:
  Digits(AutomatonBuilder* builder, std::string low, std::string high, size_t whole, uint32_t target)
      : builder_(*builder), low_(std::move(low)), high_(std::move(high)), whole_(whole), target_(target) {
    zeros_from_ = low_.size();
    while (zeros_from_ > 0 && low_[zeros_from_ - 1] == '0') --zeros_from_;
  }

  void AddFrom(uint32_t from) { AddDigit(from, 0, true, true); }

 private:
  // The next digit is the one at `place`; so far all were those of the lower bound, of the upper bound.
  uint32_t State(size_t place, bool at_low, bool at_high) {
    const auto [known, added] = states_.try_emplace({place, at_low, at_high}, 0);
    if (!added) return known->second;
    const uint32_t state = known->second = builder_.AddState();
    if (place >= whole_ && (!at_low || place >= zeros_from_)) builder_.AddJump(state, target_);
    if (place == low_.size()) return state;
    if (place != whole_) {
      AddDigit(state, place, at_low, at_high);
    } else {
      const uint32_t point = builder_.AddState();
      builder_.AddEdge(state, '.', point);
      AddDigit(point, place, at_low, at_high);
    }
    return state;
  }

  void AddDigit(uint32_t from, size_t place, bool at_low, bool at_high) {
    const char first = at_low ? low_[place] : '0';
    const char last = at_high ? high_[place] : '9';
    const auto add = [&](char begin, char end, bool low, bool high) {
      if (begin > end || builder_.full()) return;
      builder_.AddEdge(from, {static_cast<uint8_t>(begin), static_cast<uint8_t>(end)}, State(place + 1, low, high));
    };
    if (first == last) return add(first, last, at_low, at_high);
    if (at_low) add(first, first, true, false);
    if (at_high) add(last, last, false, true);
    add(static_cast<char>(first + at_low), static_cast<char>(last - at_high), false, false);
  }

  AutomatonBuilder& builder_;
  std::string low_, high_;
  size_t whole_;
  size_t zeros_from_;  // digits of low_ from here on are zeros
  uint32_t target_;
  std::map<std::tuple<size_t, bool, bool>, uint32_t> states_;
};

std::string Padded(int64_t value, size_t length) {
  std::string digits = std::to_string(value);
  return std::string(length - digits.size(), '0') + digits;
}

// low..high, both in units of 10^-fraction and not negative.
void AddMagnitudes(AutomatonBuilder* builder, uint32_t from, int64_t low, int64_t high, int whole, int fraction,
                   uint32_t target) {
  for (int length = 1; length <= whole; ++length) {
    const int64_t begin = std::max(low, length == 1 ? 0 : PowerOfTen(fraction + length - 1));
    const int64_t end = std::min(high, PowerOfTen(fraction + length) - 1);
    const size_t size = static_cast<size_t>(length + fraction);
    if (begin > end) continue;
    Digits(builder, Padded(begin, size), Padded(end, size), static_cast<size_t>(length), target).AddFrom(from);
  }
}

void AddBounded(AutomatonBuilder* builder, uint32_t from, const std::vector<NumberBound>& bounds, int whole,
                int fraction, uint32_t target) {
  int64_t low = -(PowerOfTen(whole + fraction) - 1);
  int64_t high = -low;
  for (const NumberBound& bound : bounds) {
    const int64_t scaled = Scaled(bound, fraction);
    bound.is_lower ? low = std::max(low, scaled) : high = std::min(high, scaled);
  }
  if (high >= 0) AddMagnitudes(builder, from, std::max<int64_t>(low, 0), high, whole, fraction, target);
  if (low >= 0 || low > high) return;
  const uint32_t minus = builder->AddState();  // zero has none
  builder->AddEdge(from, '-', minus);
  AddMagnitudes(builder, minus, high < 0 ? -high : 1, -low, whole, fraction, target);
}

// Up to `count` more digits.
void AddDigits(AutomatonBuilder* builder, uint32_t from, int count, uint32_t target) {
  builder->AddJump(from, target);
  for (int i = 0; i < count; ++i) {
    const uint32_t next = builder->AddState();
    builder->AddEdge(from, kDigit, next);
    builder->AddJump(next, target);
    from = next;
  }
}

// -?(0|[1-9][0-9]{0,digits-1})
void AddWhole(AutomatonBuilder* builder, uint32_t from, int digits, bool minus_zero, uint32_t target) {
  const uint32_t minus = builder->AddState();
  const uint32_t rest = builder->AddState();
  builder->AddEdge(from, '-', minus);
  builder->AddEdge(from, '0', target);
  if (minus_zero) builder->AddEdge(minus, '0', target);
  builder->AddEdge(from, {'1', '9'}, rest);
  builder->AddEdge(minus, {'1', '9'}, rest);
  AddDigits(builder, rest, digits - 1, target);
}

}  // namespace

NumberBound MakeBound(uint64_t value) { return {.digits = value}; }

NumberBound MakeBound(int64_t value) {
  const uint64_t magnitude = static_cast<uint64_t>(value);
  return {.negative = value < 0, .digits = value < 0 ? 0 - magnitude : magnitude};
}

NumberBound MakeBound(double value) {
  // d.ddde+xx, the shortest text that means this double.
  std::array<char, 40> text;
  const char* end = std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::scientific).ptr;
  NumberBound bound;
  bool fraction = false;
  const char* at = text.data();
  for (; at != end && *at != 'e'; ++at) {
    if (*at == '-') {
      bound.negative = true;
    } else if (*at == '.') {
      fraction = true;
    } else {
      bound.digits = bound.digits * 10 + static_cast<uint64_t>(*at - '0');
      if (fraction) --bound.exponent;
    }
  }
  if (at == end) return bound;
  int exponent = 0;
  const char* number = at + 1;
  if (number != end && *number == '+') ++number;
  std::from_chars(number, end, exponent);
  bound.exponent += exponent;
  return bound;
}

void AddInteger(AutomatonBuilder* builder, uint32_t from, uint32_t target) {
  AddWhole(builder, from, kIntegerDigits, /*minus_zero=*/false, target);
}

void AddNumber(AutomatonBuilder* builder, uint32_t from, uint32_t target) {
  const uint32_t whole = builder->AddState();
  const uint32_t point = builder->AddState();
  const uint32_t decimal = builder->AddState();
  const uint32_t e = builder->AddState();
  const uint32_t sign = builder->AddState();
  const uint32_t exponent = builder->AddState();
  AddWhole(builder, from, kDecimalDigits, /*minus_zero=*/true, whole);
  builder->AddJump(whole, decimal);
  builder->AddEdge(whole, '.', point);
  const uint32_t fraction = builder->AddState();
  builder->AddEdge(point, kDigit, fraction);
  AddDigits(builder, fraction, kDecimalDigits - 1, decimal);
  builder->AddJump(decimal, target);
  builder->AddEdge(decimal, 'e', e);
  builder->AddEdge(decimal, 'E', e);
  builder->AddJump(e, sign);
  builder->AddEdge(e, '+', sign);
  builder->AddEdge(e, '-', sign);
  builder->AddEdge(sign, kDigit, exponent);
  AddDigits(builder, exponent, 1, target);
}

void AddBoundedInteger(AutomatonBuilder* builder, uint32_t from, const std::vector<NumberBound>& bounds,
                       uint32_t target) {
  AddBounded(builder, from, bounds, kIntegerDigits, 0, target);
}

void AddBoundedNumber(AutomatonBuilder* builder, uint32_t from, const std::vector<NumberBound>& bounds,
                      uint32_t target) {
  // As many digits before the point as the bounds have (two more where one side is open), the rest behind it.
  int whole = 1;
  bool has_lower = false, has_upper = false;
  for (const NumberBound& bound : bounds) {
    (bound.is_lower ? has_lower : has_upper) = true;
    const int digits = static_cast<int>(std::to_string(bound.digits).size()) + bound.exponent;
    whole = std::max(whole, std::min(digits, kDecimalDigits));
  }
  if (!has_lower || !has_upper) whole = std::min(std::max(whole + 2, 9), kDecimalDigits);
  AddBounded(builder, from, bounds, whole, std::min(10, kDecimalDigits - whole), target);
}

}  // namespace cascade::grammar
