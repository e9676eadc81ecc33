#include "engine/text/jinja/code_points.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace cascade::jinja {
namespace {

bool IsContinuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

}  // namespace

char32_t NextCodePoint(std::string_view text, size_t* position) {
  const unsigned char lead = text[(*position)++];
  if (lead < 0xC2 || lead > 0xF4) return lead;
  const size_t more = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
  if (text.size() - *position < more) return lead;
  char32_t code_point = lead & (0x3F >> more);
  for (size_t i = 0; i < more; ++i) {
    if (!IsContinuation(text[*position + i])) return lead;
    code_point = code_point << 6 | (text[*position + i] & 0x3F);
  }
  *position += more;
  return code_point;
}

size_t PreviousCodePoint(std::string_view text, size_t position) {
  size_t begin = position - 1;
  for (int i = 0; i < 3 && begin > 0 && IsContinuation(text[begin]); ++i) --begin;
  size_t end = begin;
  NextCodePoint(text, &end);
  return end == position ? begin : position - 1;
}

void AppendCodePoint(char32_t code_point, std::string* out) {
  if (code_point < 0x80) {
    out->push_back(static_cast<char>(code_point));
  } else if (code_point < 0x800) {
    out->push_back(static_cast<char>(0xC0 | code_point >> 6));
    out->push_back(static_cast<char>(0x80 | (code_point & 0x3F)));
  } else if (code_point < 0x10000) {
    out->push_back(static_cast<char>(0xE0 | code_point >> 12));
    out->push_back(static_cast<char>(0x80 | (code_point >> 6 & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (code_point & 0x3F)));
  } else {
    out->push_back(static_cast<char>(0xF0 | code_point >> 18));
    out->push_back(static_cast<char>(0x80 | (code_point >> 12 & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (code_point >> 6 & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (code_point & 0x3F)));
  }
}

size_t CountCodePoints(std::string_view text) {
  size_t count = 0, i = 0;
  while (i < text.size()) {
    uint64_t eight;  // contents of many megabytes are mostly ASCII
    if (text.size() - i >= sizeof(eight)) {
      std::memcpy(&eight, text.data() + i, sizeof(eight));
      if ((eight & 0x8080808080808080u) == 0) {
        i += sizeof(eight);
        count += sizeof(eight);
        continue;
      }
    }
    NextCodePoint(text, &i);
    ++count;
  }
  return count;
}

size_t ByteOfCodePoint(std::string_view text, size_t index) {
  size_t byte = 0;
  for (; index > 0 && byte < text.size(); --index) NextCodePoint(text, &byte);
  return byte;
}

bool IsSpace(char32_t c) {
  return c == ' ' || (c >= 9 && c <= 13) || (c >= 28 && c <= 31) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsLineEnd(char32_t c) {
  return (c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool IsPrintable(char32_t c) {
  if (c == ' ') return true;
  if (IsSpace(c) || c < 0x20 || (c >= 0x7F && c < 0xA1) || c == 0xAD) return false;
  if (c < 0x600) return true;
  return !(c <= 0x605 || c == 0x61C || c == 0x6DD || c == 0x70F || c == 0x890 || c == 0x891 || c == 0x8E2 ||
           c == 0x180E || (c >= 0x200B && c <= 0x200F) || (c >= 0x202A && c <= 0x202E) ||
           (c >= 0x2060 && c <= 0x206F) || (c >= 0xD800 && c <= 0xF8FF) || c == 0xFEFF ||
           (c >= 0xFFF0 && c <= 0xFFFB) || (c & 0xFFFE) == 0xFFFE || c == 0x110BD || c == 0x110CD ||
           (c >= 0x13430 && c <= 0x1343F) || (c >= 0x1BCA0 && c <= 0x1BCA3) || (c >= 0x1D173 && c <= 0x1D17A) ||
           (c >= 0xE0000 && c <= 0xE00FF) || c >= 0xF0000);
}

bool StripSet::Has(std::string_view text, size_t begin, size_t end) const {
  if (!is_space_) {
    // A code point's bytes are found in another's place only where a text is not valid UTF-8.
    return set_.find(text.substr(begin, end - begin)) != std::string_view::npos;
  }
  return IsSpace(NextCodePoint(text, &begin));
}

void StripSpace(std::string_view text, bool left, bool right, size_t* begin, size_t* end) {
  const StripSet space;
  const auto takes = [&](std::string_view all, size_t first, size_t last) { return space.Has(all, first, last); };
  StripWhile(text, takes, left, right, begin, end);
}

size_t Find(std::string_view text, std::string_view needle, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (needle.empty()) return from;
  const void* found = memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t WorkOfFind(std::string_view text, std::string_view needle) {
  // memmem compares up to 256 bytes at every place; longer ones it searches in another manner.
  return needle.size() > text.size() ? 0 : text.size() * (4 + std::min<size_t>(needle.size(), 256) / 16);
}

size_t WorkOfFindFromRight(std::string_view text, std::string_view needle) {
  return needle.size() > text.size() ? 0 : (text.size() - needle.size() + 1) * (8 + needle.size() / 16);
}

}  // namespace cascade::jinja
