// Random numbers without a state: the number of a token is a function of (seed, position), so that a reply does not
// depend on the batch it was made in, and a session can be continued or replayed anywhere.
#pragma once

#include <cstdint>

namespace cascade {

// 64 random bits of (seed, counter): two rounds of SplitMix64's output function (Steele, Lea, Flood 2014, with
// Stafford's constants), the seed mixed before the counter comes in, so that neither neighbouring seeds nor
// neighbouring counters are related. Part of what users can reproduce: do not change.
uint64_t CounterRandom64(uint64_t seed, uint64_t counter);

// In [0, 1): the upper 53 bits.
double CounterRandomUniform(uint64_t seed, uint64_t counter);

}  // namespace cascade
