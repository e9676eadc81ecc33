// A regular expression as a deterministic automaton over code points.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/grammar/character_set.h"

namespace cascade::grammar {

struct Pattern {
  struct State {
    bool accepts = false;
    std::vector<std::pair<CodePoints, uint32_t>> next;  // no code point twice
  };
  // The first one is the start. From each the end can be reached, unless there is no text at all that fits: then the
  // start has no next.
  std::vector<State> states;
};

// Texts in which `pattern` is found, as JSON schemas mean it: anywhere, unless it has anchors. INVALID_ARGUMENT for
// what ParsePattern does not know and for what takes too many states, or more than `steps`, which is lowered.
absl::StatusOr<Pattern> CompilePattern(std::string_view pattern, int64_t* steps);

// The pattern of a `format` of JSON schemas, or "" for one that is not known. What fits the pattern has the format, but
// not all that has the format fits: dates have no 29th of February, addresses no compressed form.
std::string_view FormatPattern(std::string_view format);
// "date-time, date, ..", for messages.
std::string_view KnownFormats();

}  // namespace cascade::grammar
