#pragma once

#include <cstdint>

#include "engine/base/random_source.h"
#include "kernels/base/mutex.h"

namespace cascade {

// The same bytes in every run. Any thread.
class FakeRandom final : public RandomSource {
 public:
  explicit FakeRandom(uint64_t seed = 1) : state_(seed) {}
  void Fill(std::span<uint8_t> bytes) override {
    MutexLock lock(mutex_);
    for (uint8_t& byte : bytes) {
      state_ = state_ * 6364136223846793005u + 1442695040888963407u;
      byte = static_cast<uint8_t>(state_ >> 56);
    }
  }

 private:
  Mutex mutex_;
  uint64_t state_ CASCADE_GUARDED_BY(mutex_);
};

}  // namespace cascade
