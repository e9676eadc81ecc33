#include "engine/sampling/sampling_pool.h"

#include <algorithm>
#include <utility>

namespace cascade {

SamplingPool::~SamplingPool() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  for (std::thread& thread : threads_) thread.join();
}

void SamplingPool::Post(Job job) {
  while (static_cast<int>(threads_.size()) < num_threads_) threads_.emplace_back([this] { Run(); });
  MutexLock lock(mutex_);
  jobs_.push_back(std::move(job));
  wake_.NotifyOne();
}

// A row of 128,256 logits takes one to two milliseconds with all rules, one of 49,152 a third of that: two threads keep
// up with what a small machine's model makes; eight give 64 turns on a large one a round in some ten milliseconds.
int SamplingPool::DefaultThreads() {
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()) / 4, 2, 8);
}

void SamplingPool::Run() {
  kernels::Sampler sampler;
  while (true) {
    Job job;
    {
      MutexLock lock(mutex_);
      while (jobs_.empty() && !stopping_) wake_.Wait(mutex_);
      if (stopping_) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job(sampler);
  }
}

}  // namespace cascade
