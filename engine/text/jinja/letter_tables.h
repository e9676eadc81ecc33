// Which letters are capitals of which.
#pragma once

#include <cstdint>
#include <span>

namespace cascade::jinja {

// Every `stride`-th code point from `first` to `last` becomes itself plus `delta`. In ascending order of `first`.
struct LetterRange {
  uint32_t first, last;
  uint8_t stride;
  int32_t delta;
};
// A code point that becomes several.
struct LetterExpansion {
  uint32_t letter;
  const char* text;
};

std::span<const LetterRange> UpperRanges();
std::span<const LetterRange> LowerRanges();
std::span<const LetterExpansion> UpperExpansions();

}  // namespace cascade::jinja
