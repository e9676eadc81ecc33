// What may be sent (valid UTF-8 only), and what may be shown in a terminal.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace cascade::client {

// Where `text` stops being valid UTF-8; nullopt if it is valid. What is no UTF-8 cannot be sent.
std::optional<size_t> FirstInvalidUtf8(std::string_view text);
// `text` without its last, incomplete character (after a cut at any byte).
std::string_view WholeCharacters(std::string_view text);
// Without control characters other than tab and newline, so that a reply cannot steer the terminal.
std::string WithoutControls(std::string_view text);
// In double quotes, controls as \n, \t or \xHH.
std::string Quoted(std::string_view text);

}  // namespace cascade::client
