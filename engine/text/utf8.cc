#include "engine/text/utf8.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace cascade {
namespace {

enum class Form { kWhole, kTruncated, kInvalid };

struct Part {
  size_t length;  // of the character, or of the maximal part that could have begun one; at least 1
  Form form;
};

// The character at `pos`. The second byte's range depends on the first (Unicode standard, table 3-7).
Part Classify(std::string_view text, size_t pos) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(pos);
  if (first < 0x80) return {1, Form::kWhole};
  size_t length = 0;
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  } else {
    return {1, Form::kInvalid};
  }
  for (size_t i = 1; i < length; ++i) {
    if (pos + i == text.size()) return {i, Form::kTruncated};
    if (byte(pos + i) < low || byte(pos + i) > high) return {i, Form::kInvalid};
    low = 0x80;
    high = 0xBF;
  }
  return {length, Form::kWhole};
}

// Bytes of ASCII from `pos` on, eight at a time: most text is.
size_t AsciiRun(std::string_view text, size_t pos) {
  const size_t begin = pos;
  while (pos + 8 <= text.size()) {
    uint64_t word;
    std::memcpy(&word, text.data() + pos, 8);
    if (word & 0x8080808080808080u) break;
    pos += 8;
  }
  while (pos < text.size() && static_cast<uint8_t>(text[pos]) < 0x80) ++pos;
  return pos - begin;
}

}  // namespace

size_t FindInvalidUtf8(std::string_view text) {
  size_t pos = 0;
  while (pos < text.size()) {
    pos += AsciiRun(text, pos);
    if (pos == text.size()) break;
    const Part part = Classify(text, pos);
    if (part.form != Form::kWhole) return pos;
    pos += part.length;
  }
  return std::string_view::npos;
}

size_t IncompleteUtf8Suffix(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const uint8_t byte = static_cast<uint8_t>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;
    const Part part = Classify(text, text.size() - back);
    return part.form == Form::kTruncated && part.length == back ? back : 0;
  }
  return 0;
}

void AppendValidUtf8(std::string_view text, std::string* out) {
  size_t pos = 0;
  while (pos < text.size()) {
    const size_t ascii = AsciiRun(text, pos);
    out->append(text.data() + pos, ascii);
    pos += ascii;
    if (pos == text.size()) break;
    const Part part = Classify(text, pos);
    out->append(part.form == Form::kWhole ? text.substr(pos, part.length) : kReplacementCharacter);
    pos += part.length;
  }
}

char32_t NextCodePoint(std::string_view text, size_t* pos) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<uint8_t>(text[*pos + i])); };
  const char32_t first = byte(0);
  char32_t point = first;
  size_t length = 1;
  if (first >= 0xF0) {
    point = (first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
    length = 4;
  } else if (first >= 0xE0) {
    point = (first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    length = 3;
  } else if (first >= 0x80) {
    point = (first & 0x1F) << 6 | (byte(1) & 0x3F);
    length = 2;
  }
  *pos += length;
  return point;
}

std::string QuoteForError(std::string_view text) {
  constexpr size_t kMaxBytes = 40;
  std::string_view head = text.substr(0, kMaxBytes);
  if (head.size() < text.size()) head.remove_suffix(IncompleteUtf8Suffix(head));
  std::string valid;
  AppendValidUtf8(head, &valid);
  std::string quoted = "\"";
  for (const char c : valid) {
    if (c == '\n') {
      quoted += "\\n";
    } else if (static_cast<uint8_t>(c) < 0x20 || c == 0x7F) {
      absl::StrAppend(&quoted, "\\x", absl::Hex(static_cast<uint8_t>(c), absl::kZeroPad2));
    } else {
      if (c == '"' || c == '\\') quoted.push_back('\\');
      quoted.push_back(c);
    }
  }
  return quoted + (head.size() < text.size() ? "..\"" : "\"");
}

}  // namespace cascade
