#include "engine/sampling/counter_random.h"

namespace cascade {
namespace {

constexpr uint64_t kGolden = 0x9E3779B97F4A7C15;  // 2^64 / golden ratio, odd

uint64_t Mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

}  // namespace

uint64_t CounterRandom64(uint64_t seed, uint64_t counter) { return Mix(Mix(seed + kGolden) + (counter + 1) * kGolden); }

double CounterRandomUniform(uint64_t seed, uint64_t counter) {
  return static_cast<double>(CounterRandom64(seed, counter) >> 11) * 0x1.0p-53;
}

}  // namespace cascade
