// Regular expressions of JSON schemas: JavaScript's, as far as a finite automaton can follow them.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/grammar/character_set.h"

namespace cascade::grammar {

// A regular expression as a tree.
struct PatternNode {
  enum class Kind {
    kSequence,  // of the children; empty: the empty text
    kChoice,    // one of the children
    kRepeat,    // the child `min` to `max` times; max -1: any number
    kSet,       // one character
    kBegin,     // ^
    kEnd,       // $
  };
  Kind kind = Kind::kSequence;
  std::vector<PatternNode> children;
  CharacterSet set;
  int min = 0;
  int max = -1;
};

inline constexpr int kMaxRepeat = 1000;

// INVALID_ARGUMENT says what is wrong or not supported, and at which byte: look-around, back references, word
// boundaries, Unicode properties, groups within each other deeper than 32.
absl::StatusOr<PatternNode> ParsePattern(std::string_view pattern);

}  // namespace cascade::grammar
