// Strict UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace cascade {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

// The offset of the first byte that is not part of a whole character, or npos for valid text.
size_t FindInvalidUtf8(std::string_view text);

// How many bytes (0 to 3) at the end are the beginning of a character that more bytes could complete.
size_t IncompleteUtf8Suffix(std::string_view text);

// Appends `text` with U+FFFD in place of every maximal part that is no character (the Unicode standard's practice, and
// Python's errors="replace"). Feeding a text in slices that end on no incomplete suffix gives the same.
void AppendValidUtf8(std::string_view text, std::string* out);

// The code point that starts at `*pos`, which moves behind it. `text` must be valid and `*pos` inside.
char32_t NextCodePoint(std::string_view text, size_t* pos);

// `text` in quotes for an error message: at most 40 bytes of it, what is not printable escaped.
std::string QuoteForError(std::string_view text);

}  // namespace cascade
