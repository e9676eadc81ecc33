#include "engine/grammar/character_set.h"

#include <algorithm>

namespace cascade::grammar {

CharacterSet Normalized(CharacterSet set) {
  std::sort(set.begin(), set.end(), [](const CodePoints& a, const CodePoints& b) { return a.first < b.first; });
  CharacterSet joined;
  for (const CodePoints& range : set) {
    if (!joined.empty() && range.first <= joined.back().last + 1) {
      joined.back().last = std::max(joined.back().last, range.last);
    } else {
      joined.push_back(range);
    }
  }
  return joined;
}

CharacterSet Complement(const CharacterSet& normalized) {
  CharacterSet rest;
  char32_t next = 0;
  for (const CodePoints& range : normalized) {
    if (range.first > next) rest.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLastCodePoint) rest.push_back({next, kLastCodePoint});
  return rest;
}

const CharacterSet& DigitSet() {
  static const CharacterSet set = {{'0', '9'}};
  return set;
}

const CharacterSet& WordSet() {
  static const CharacterSet set = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
  return set;
}

const CharacterSet& SpaceSet() {
  static const CharacterSet set = {{0x09, 0x0D},     {0x20, 0x20},     {0xA0, 0xA0},     {0x1680, 0x1680},
                                   {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                   {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
  return set;
}

CharacterSet DotSet() { return Complement({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}); }

}  // namespace cascade::grammar
