// Lines in the log while a large model's weights are read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/base/clock.h"

namespace cascade {

class LoadProgress {
 public:
  LoadProgress(int64_t total_bytes, const Clock& clock)
      : total_(total_bytes), clock_(clock), start_(clock.Now()), last_(start_) {}

  // What there is to say after `bytes` of weights, if two seconds passed since the start and since the last line:
  // "loading weights: 4.2 of 15.0 GiB, 3.9 GB/s", the speed since the start.
  std::optional<std::string> Update(int64_t bytes);

 private:
  const int64_t total_;
  const Clock& clock_;
  const std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace cascade
