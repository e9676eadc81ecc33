// Numbers of JSON as automata: bounded digits, so that each one ends, and ranges that hold exactly.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/grammar/automaton.h"

namespace cascade::grammar {

// Digits of integers; with bounds, of the whole part and the fraction of a number together.
inline constexpr int kIntegerDigits = 18;
inline constexpr int kDecimalDigits = 15;  // any two such numbers are different doubles

// A bound of numbers as its schema spells it, or as the shortest decimal of its double.
struct NumberBound {
  bool is_lower = false;
  bool exclusive = false;
  bool negative = false;
  uint64_t digits = 0;  // its value: digits * 10^exponent
  int exponent = 0;
};

NumberBound MakeBound(int64_t value);
NumberBound MakeBound(uint64_t value);
NumberBound MakeBound(double value);

// An integer without bounds, at most kIntegerDigits long; a number with at most kDecimalDigits before the point, as
// many after it, and an exponent of at most two.
void AddInteger(AutomatonBuilder* builder, uint32_t from, uint32_t target);
void AddNumber(AutomatonBuilder* builder, uint32_t from, uint32_t target);

// The same within all of `bounds`; numbers have no exponent then. Adds nothing if there is none.
void AddBoundedInteger(AutomatonBuilder* builder, uint32_t from, const std::vector<NumberBound>& bounds,
                       uint32_t target);
void AddBoundedNumber(AutomatonBuilder* builder, uint32_t from, const std::vector<NumberBound>& bounds,
                      uint32_t target);

}  // namespace cascade::grammar
