// Numbers as jinja2 and Python write them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace cascade::jinja {

// Where the float that begins at `position` ends, or npos when none does.
size_t FloatLiteralEnd(std::string_view source, size_t position);
// Where the integer that begins with the digit at `position` ends.
size_t IntegerLiteralEnd(std::string_view source, size_t position);

// Reads between `least` and `most` digits of a base; gives how many, 0 when there are too few.
size_t ReadDigits(std::string_view text, int base, size_t least, size_t most, char32_t* value);

enum class NumberFault { kNone, kSyntax, kTooLarge };
// Python's int(text, base), where base 0 takes the prefixes 0x, 0o and 0b.
NumberFault ParseInteger(std::string_view text, int base, int64_t* value);
// Python's float(text).
std::optional<double> ParseFloat(std::string_view text);

}  // namespace cascade::jinja
