#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace cascade {

// Checks a SentencePiece model's precompiled map of characters, which the library walks without looking where: 4 bytes
// size, a double-array trie (Darts), the replacements with a NUL after each. INVALID_ARGUMENT (without the field's
// name) for a trie that leads outside itself, in a circle, deeper than any rule or to more rules at one place than the
// library has room for, and for replacements that are no text or too long. Time and memory are linear in the map.
absl::Status CheckCharsMap(std::string_view map);

}  // namespace cascade
