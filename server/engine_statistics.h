// One line in the log every few seconds while the engine is busy.
//
// DESIGN. A thread that wakes once a period, reads counters and mostly goes back to sleep. It takes no lock of the
// engine's loop.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <thread>

#include "engine/engine.h"
#include "kernels/base/mutex.h"

namespace cascade {

struct StatisticsSample {
  int64_t prompt_tokens = 0;
  int64_t generation_tokens = 0;
  int running = 0;
  int waiting = 0;
  int sessions = 0;
  int slots_free = 0;
  int parked_host = 0;
  int parked_disk = 0;
  int64_t journal_batches = 0;
  int64_t journal_sync_us = 0;
  int64_t score_heads_predicted = 0;
  int64_t score_heads_rejected = 0;
  float score_certificate = 0;

  // Whether anything happened since `earlier` or is about to.
  bool BusySince(const StatisticsSample& earlier) const;
};

StatisticsSample Sample(const Engine& engine);
// "prompt 512.0 tok/s, generation 41.2 tok/s, running 3, waiting 0, sessions 4, slots free 12"; where there are parked
// sessions ", parked 2 host 7 disk"; where turns were written ", journal fsync 1.42 ms", on average; and where scores
// were predicted ", scores predicted 98.2 %, certificate 0.041", the rest was added up exactly.
std::string FormatStatistics(const StatisticsSample& earlier, const StatisticsSample& now, double seconds);

class EngineStatistics {
 public:
  // `engine` must outlive it.
  EngineStatistics(const Engine& engine, std::chrono::milliseconds period);
  ~EngineStatistics();
  EngineStatistics(const EngineStatistics&) = delete;
  EngineStatistics& operator=(const EngineStatistics&) = delete;

 private:
  void Run();

  const Engine& engine_;
  const std::chrono::milliseconds period_;
  Mutex mutex_;
  CondVar changed_;
  bool stopping_ CASCADE_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace cascade
