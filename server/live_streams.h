// How many streaming calls are not finished yet, so that a stop can wait for them and for nothing else: gRPC's own
// Shutdown also waits for idle connections whose client does not read its GOAWAY.
#pragma once

#include <chrono>

#include "kernels/base/mutex.h"

namespace cascade {

// Any thread.
class LiveStreams {
 public:
  // Counts one stream from its first to its last moment.
  class Token {
   public:
    explicit Token(LiveStreams& streams) : streams_(streams) { streams_.Add(1); }
    ~Token() { streams_.Add(-1); }
    Token(const Token&) = delete;
    Token& operator=(const Token&) = delete;

   private:
    LiveStreams& streams_;
  };

  // False when some were left at the deadline.
  bool WaitForNone(std::chrono::steady_clock::time_point deadline) {
    MutexLock lock(mutex_);
    while (count_ > 0) {
      if (!changed_.WaitUntil(mutex_, deadline)) return count_ == 0;
    }
    return true;
  }

 private:
  void Add(int change) {
    MutexLock lock(mutex_);
    count_ += change;
    changed_.NotifyAll();
  }

  Mutex mutex_;
  CondVar changed_;
  int count_ CASCADE_GUARDED_BY(mutex_) = 0;
};

}  // namespace cascade
