// Threads that sample for turns whose rules no device knows, so that the engine thread, and with it every other turn,
// does not wait for them.
//
// DESIGN. A turn has at most one job out, so what waits is bounded by the turns that run. Threads start with the first
// job and sleep between jobs. Jobs know neither turns nor the engine: what they leave is posted to the engine's queue.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "kernels/base/mutex.h"
#include "kernels/sampler.h"

namespace cascade {

class SamplingPool {
 public:
  using Job = std::function<void(kernels::Sampler&)>;

  explicit SamplingPool(int threads) : num_threads_(threads) {}
  // Waits for the jobs that run, and drops the others: whoever wanted them has gone.
  ~SamplingPool();

  // One thread posts. The job gets its thread's sampler.
  void Post(Job job);

  // For this machine: a few, of the cores that it has.
  static int DefaultThreads();

 private:
  void Run();

  const int num_threads_;
  Mutex mutex_;
  CondVar wake_;
  std::deque<Job> jobs_ CASCADE_GUARDED_BY(mutex_);
  bool stopping_ CASCADE_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;  // the poster's
};

}  // namespace cascade
