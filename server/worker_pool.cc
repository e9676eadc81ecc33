#include "server/worker_pool.h"

#include <utility>

namespace cascade {

WorkerPool::WorkerPool(int num_threads, size_t max_queued) : max_queued_(max_queued) {
  for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { Work(); });
}

WorkerPool::~WorkerPool() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  work_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

absl::Status WorkerPool::Post(std::function<void()> job) {
  {
    MutexLock lock(mutex_);
    if (queue_.size() >= max_queued_) return absl::ResourceExhaustedError("too many requests are waiting");
    queue_.push_back(std::move(job));
  }
  work_.NotifyOne();
  return absl::OkStatus();
}

void WorkerPool::Work() {
  for (;;) {
    std::function<void()> job;
    {
      MutexLock lock(mutex_);
      while (queue_.empty() && !stopping_) work_.Wait(mutex_);
      if (queue_.empty()) return;
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    job();
  }
}

}  // namespace cascade
