#include "client/utf8.h"

#include <cstdio>

namespace cascade::client {
namespace {

// Bytes of the well-formed character at `place` (Unicode 15, table 3-7); 0 if it is none. `cut` is set when the text
// ends inside what could have become one.
size_t CharacterLength(std::string_view text, size_t place, bool* cut) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(place);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  for (size_t i = 1; i < length; ++i) {
    if (place + i == text.size()) {
      *cut = true;
      return 0;
    }
    unsigned low = 0x80, high = 0xBF;
    if (i == 1 && lead == 0xE0) low = 0xA0;
    if (i == 1 && lead == 0xED) high = 0x9F;
    if (i == 1 && lead == 0xF0) low = 0x90;
    if (i == 1 && lead == 0xF4) high = 0x8F;
    if (byte(place + i) < low || byte(place + i) > high) return 0;
  }
  return length;
}

}  // namespace

std::optional<size_t> FirstInvalidUtf8(std::string_view text) {
  bool cut = false;
  for (size_t place = 0; place < text.size();) {
    const size_t length = CharacterLength(text, place, &cut);
    if (length == 0) return place;
    place += length;
  }
  return std::nullopt;
}

std::string_view WholeCharacters(std::string_view text) {
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const size_t place = text.size() - back;
    if ((static_cast<unsigned char>(text[place]) & 0xC0) == 0x80) continue;
    bool cut = false;
    CharacterLength(text, place, &cut);
    return cut ? text.substr(0, place) : text;
  }
  return text;
}

std::string WithoutControls(std::string_view text) {
  std::string clean;
  clean.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const unsigned char c = text[i];
    if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7F) continue;
    // C1 controls are U+0080 to U+009F.
    if (c == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0) {
      ++i;
      continue;
    }
    clean += text[i];
  }
  return clean;
}

std::string Quoted(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    const unsigned char byte = c;
    if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\t') {
      quoted += "\\t";
    } else if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (byte < 0x20 || byte == 0x7F) {
      char buffer[8];
      std::snprintf(buffer, sizeof(buffer), "\\x%02x", byte);
      quoted += buffer;
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

}  // namespace cascade::client
