// Sets of code points.
#pragma once

#include <vector>

namespace cascade::grammar {

struct CodePoints {
  char32_t first = 0;
  char32_t last = 0;
  bool operator==(const CodePoints&) const = default;
};

inline constexpr char32_t kLastCodePoint = 0x10FFFF;

// In order, apart from each other.
using CharacterSet = std::vector<CodePoints>;

CharacterSet Normalized(CharacterSet set);
CharacterSet Complement(const CharacterSet& normalized);

// What JavaScript's regular expressions mean by them.
const CharacterSet& DigitSet();  // \d
const CharacterSet& WordSet();   // \w
const CharacterSet& SpaceSet();  // \s
CharacterSet DotSet();

}  // namespace cascade::grammar
