#pragma once

#include "engine/base/clock.h"
#include "kernels/base/mutex.h"

namespace cascade {

// Stands still until it is moved. Any thread.
class FakeClock final : public Clock {
 public:
  std::chrono::steady_clock::time_point Now() const override {
    MutexLock lock(mutex_);
    return std::chrono::steady_clock::time_point(std::chrono::hours(1)) + passed_;
  }
  std::chrono::system_clock::time_point WallNow() const override {
    MutexLock lock(mutex_);
    return std::chrono::system_clock::time_point(std::chrono::hours(24 * 365 * 50)) + passed_;
  }
  void Advance(std::chrono::nanoseconds time) {
    MutexLock lock(mutex_);
    passed_ += time;
  }

 private:
  mutable Mutex mutex_;
  std::chrono::nanoseconds passed_ CASCADE_GUARDED_BY(mutex_){0};
};

}  // namespace cascade
