#pragma once

#include <chrono>

namespace cascade {

// The time, injectable so that deadlines and expiry can be tested. Any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual std::chrono::steady_clock::time_point Now() const = 0;          // intervals and deadlines
  virtual std::chrono::system_clock::time_point WallNow() const = 0;      // what people see
  static Clock& Real();
};

}  // namespace cascade
