// Texts as Python sees them, as sequences of code points. A byte that is no part of valid UTF-8 counts as one.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "engine/text/jinja/text.h"

namespace cascade::jinja {

// The code point that begins at `*position`, which moves behind it; `*position` is inside.
char32_t NextCodePoint(std::string_view text, size_t* position);
// Where the code point that ends before byte `position` (> 0) begins.
size_t PreviousCodePoint(std::string_view text, size_t position);
void AppendCodePoint(char32_t code_point, std::string* out);
size_t CountCodePoints(std::string_view text);
// The byte at which code point `index` begins; the text's size when it has no more than `index`.
size_t ByteOfCodePoint(std::string_view text, size_t index);

bool IsSpace(char32_t code_point);      // as Python's str.isspace
bool IsLineEnd(char32_t code_point);    // where Python's str.splitlines splits
bool IsPrintable(char32_t code_point);  // what Python's repr does not escape, but for code points of no character

// Whether Python's str.strip takes code points of white space or those of `set`.
class StripSet {
 public:
  StripSet() = default;
  explicit StripSet(std::string_view set) : set_(set), is_space_(false) {}
  bool Has(std::string_view text, size_t begin, size_t end) const;

 private:
  std::string_view set_;
  bool is_space_ = true;
};
// Moves `*begin` and `*end` over the code points on the left and right that `takes(text, begin, end)` has.
template <typename Takes>
void StripWhile(std::string_view text, const Takes& takes, bool left, bool right, size_t* begin, size_t* end) {
  while (left && *begin < *end) {
    size_t next = *begin;
    NextCodePoint(text, &next);
    if (!takes(text, *begin, next)) break;
    *begin = next;
  }
  while (right && *begin < *end) {
    const size_t last = PreviousCodePoint(text, *end);
    if (!takes(text, last, *end)) break;
    *end = last;
  }
}
// Moves `*begin` and `*end` over white space.
void StripSpace(std::string_view text, bool left, bool right, size_t* begin, size_t* end);

// The first `needle` at or behind byte `from`, or npos. In linear time, whatever the texts are.
size_t Find(std::string_view text, std::string_view needle, size_t from);
// The bytes that a search through the whole text is worth, as Runtime::Work counts them; backwards it is not linear.
size_t WorkOfFind(std::string_view text, std::string_view needle);
size_t WorkOfFindFromRight(std::string_view text, std::string_view needle);

}  // namespace cascade::jinja
