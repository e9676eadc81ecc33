// A small pool for what must not run on a gRPC callback thread, of which there are few. A server has two of them: one
// for long texts, one for what waits for the engine or for files, so that neither starves the other.
//
// DESIGN. A bounded queue and a fixed number of threads. Jobs are independent and finish on their own (what they wait
// for is bounded by the engine's step or by the disk), so the destructor runs what is queued and joins.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "kernels/base/mutex.h"

namespace cascade {

class WorkerPool {
 public:
  WorkerPool(int num_threads, size_t max_queued);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // RESOURCE_EXHAUSTED when the queue is full; `job` then never runs. Any thread.
  absl::Status Post(std::function<void()> job);

 private:
  void Work();

  const size_t max_queued_;
  Mutex mutex_;
  CondVar work_;
  std::deque<std::function<void()>> queue_ CASCADE_GUARDED_BY(mutex_);
  bool stopping_ CASCADE_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace cascade
