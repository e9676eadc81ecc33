#pragma once

#include <cstddef>
#include <cstdint>

namespace cascade {

// What a schema may cost. The defaults let pass what people write, and hold the worst that somebody could to about a
// second of one thread and 64 MiB.
struct GrammarLimits {
  size_t max_schema_bytes = 64 << 10;
  size_t max_states = 1 << 17;  // of the automaton; each item of maxItems and character of maxLength takes one
  int max_reply_depth = 64;     // objects and arrays within each other in a reply, at most 200
  int64_t max_work = 200'000;   // keywords read, those of a schema that is referred to each time
  int64_t max_pattern_steps = 20'000'000;
  size_t max_cache_bytes = 16 << 20;  // of what was found out about states, for all replies of a grammar together
  size_t max_mask_bytes = 8 << 20;    // of masks among that
};

}  // namespace cascade
