// A fixed set of threads that run one data-parallel region at a time.
//
// A decoded token is a few hundred regions of some microseconds, so a region must cost about one: tasks are claimed
// from one atomic word, the caller works too, and workers that run out of work spin for a bounded time (kSpin) before
// they sleep. Nothing spins in an idle server. There is no queue, no nesting and no affinity.
//
// One thread at a time calls ParallelFor. It returns when all tasks are done; what they wrote is visible then.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "kernels/base/mutex.h"

namespace cascade::kernels {

class ThreadPool {
 public:
  // The caller of ParallelFor is one of the `threads` (at least 1); threads - 1 are started.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(threads_.size()) + 1; }

  // function(int64_t task, int worker) for every task in [0, tasks), tasks < 2^31; claimed in ascending order.
  // worker < num_threads(); a worker runs one task at a time. One task or one thread: all on the caller as worker 0,
  // nobody is woken.
  template <class Function>
  void ParallelFor(int64_t tasks, const Function& function) {
    if (tasks <= 1 || threads_.empty()) {
      for (int64_t task = 0; task < tasks; ++task) function(task, 0);
      return;
    }
    Run(
        tasks,
        [](const void* context, int64_t task, int worker) { (*static_cast<const Function*>(context))(task, worker); },
        &function);
  }

 private:
  using Call = void (*)(const void* context, int64_t task, int worker);
  static constexpr std::chrono::microseconds kSpin{40};

  void Run(int64_t tasks, Call call, const void* context);
  // Claims and runs tasks of the open region until none is left.
  void Work(int worker);
  void WorkerLoop(int worker);
  // Spins, then sleeps, until ready().
  template <class Ready>
  void Await(std::atomic<int>& sleepers, const Ready& ready);
  void Wake(std::atomic<int>& sleepers);

  // The open region. Written by the caller while no task is left, so a claimed task keeps them valid.
  Call call_ = nullptr;
  const void* context_ = nullptr;
  int64_t tasks_ = 0;

  // Region number in the high half, tasks not yet claimed in the low half: a late worker can not claim a task of a
  // region that it has not seen.
  alignas(64) std::atomic<uint64_t> state_{0};
  alignas(64) std::atomic<int64_t> finished_{0};
  alignas(64) std::atomic<int> sleeping_workers_{0};
  std::atomic<int> sleeping_callers_{0};
  std::atomic<bool> stop_{false};

  Mutex mutex_;  // for sleeping only
  CondVar changed_;
  std::vector<std::thread> threads_;
};

}  // namespace cascade::kernels
