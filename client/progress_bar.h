// A line on standard error that tells how far a long call is.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace cascade::client {

// Silent when standard error is no terminal. Redraws at most ten times a second, and leaves nothing behind.
class ProgressBar {
 public:
  ProgressBar();
  ~ProgressBar() { Clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // `note` stands behind the bar.
  void Update(int64_t done, int64_t total, const std::string& note);
  void Clear();

  // "[#####.....]  50 %  note" in at most `width` columns.
  static std::string Line(int64_t done, int64_t total, const std::string& note, int width);

 private:
  const bool enabled_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point next_;
};

}  // namespace cascade::client
