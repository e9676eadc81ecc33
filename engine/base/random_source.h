#pragma once

#include <cstdint>
#include <span>

namespace cascade {

// Randomness for session ids and server-drawn seeds, injectable. Any thread.
class RandomSource {
 public:
  virtual ~RandomSource() = default;
  virtual void Fill(std::span<uint8_t> bytes) = 0;
  uint64_t Next64();
  static RandomSource& System();  // the kernel's
};

}  // namespace cascade
