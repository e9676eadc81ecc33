#include "kernels/base/thread_pool.h"

#include "kernels/base/check.h"

namespace cascade::kernels {
namespace {

constexpr uint64_t kUnclaimed = 0xFFFFFFFFu;

void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  CASCADE_CHECK(threads >= 1);
  threads_.reserve(threads - 1);
  for (int worker = 1; worker < threads; ++worker) threads_.emplace_back([this, worker] { WorkerLoop(worker); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  Wake(sleeping_workers_);
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::Run(int64_t tasks, Call call, const void* context) {
  CASCADE_CHECK(tasks < int64_t{1} << 31);
  call_ = call;
  context_ = context;
  tasks_ = tasks;
  finished_.store(0, std::memory_order_relaxed);
  const uint64_t region = (state_.load(std::memory_order_relaxed) >> 32) + 1;
  state_.store(region << 32 | static_cast<uint64_t>(tasks));
  Wake(sleeping_workers_);
  Work(0);
  Await(sleeping_callers_, [this, tasks] { return finished_.load() == tasks; });
}

void ThreadPool::Work(int worker) {
  uint64_t state = state_.load();
  while ((state & kUnclaimed) != 0) {
    if (!state_.compare_exchange_weak(state, state - 1)) continue;
    const int64_t tasks = tasks_;  // before the task counts as finished: afterwards the caller may change it
    call_(context_, tasks - static_cast<int64_t>(state & kUnclaimed), worker);
    if (finished_.fetch_add(1) + 1 == tasks) Wake(sleeping_callers_);
    state = state_.load();
  }
}

void ThreadPool::WorkerLoop(int worker) {
  while (!stop_.load()) {
    Work(worker);
    Await(sleeping_workers_, [this] { return (state_.load() & kUnclaimed) != 0 || stop_.load(); });
  }
}

template <class Ready>
void ThreadPool::Await(std::atomic<int>& sleepers, const Ready& ready) {
  if (ready()) return;
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 16; ++i) {
      if (ready()) return;
      Pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  // Whoever makes ready() true does so before it looks for sleepers (all sequentially consistent): either it sees this
  // one, or ready() is seen here.
  MutexLock lock(mutex_);
  sleepers.fetch_add(1);
  while (!ready()) changed_.Wait(mutex_);
  sleepers.fetch_sub(1);
}

void ThreadPool::Wake(std::atomic<int>& sleepers) {
  if (sleepers.load() == 0) return;
  MutexLock lock(mutex_);
  changed_.NotifyAll();
}

}  // namespace cascade::kernels
