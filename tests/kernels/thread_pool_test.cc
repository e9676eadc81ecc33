#include "kernels/base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace cascade::kernels {
namespace {

TEST(ThreadPool, RunsEveryTaskOnce) {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.num_threads(), threads);
    for (int64_t tasks : {0, 1, 2, 3, 7, 100, 1000}) {
      std::vector<int> counts(tasks);  // plain: a race would be found by ThreadSanitizer
      std::vector<int64_t> by_worker(threads);
      pool.ParallelFor(tasks, [&](int64_t task, int worker) {
        ++counts[task];
        ++by_worker[worker];
      });
      int64_t total = 0;
      for (int count : counts) EXPECT_EQ(count, 1);
      for (int64_t count : by_worker) total += count;
      EXPECT_EQ(total, tasks);
    }
  }
}

TEST(ThreadPool, ManyShortRegions) {
  ThreadPool pool(3);
  std::vector<int64_t> sums(5);
  for (int region = 0; region < 20000; ++region) {
    pool.ParallelFor(5, [&](int64_t task, int) { sums[task] += region; });
  }
  for (int64_t sum : sums) EXPECT_EQ(sum, 20000LL * 19999 / 2);
}

// Long pauses, in which the workers go to sleep, and long tasks, in which the caller does.
TEST(ThreadPool, WakesSleepers) {
  ThreadPool pool(3);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::atomic<int> done = 0;
    pool.ParallelFor(4, [&](int64_t task, int) {
      if (task == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ++done;
    });
    EXPECT_EQ(done.load(), 4);
  }
}

TEST(ThreadPool, OneTaskStaysOnTheCaller) {
  ThreadPool pool(4);
  std::thread::id ran_on;
  pool.ParallelFor(1, [&](int64_t, int worker) {
    ran_on = std::this_thread::get_id();
    EXPECT_EQ(worker, 0);
  });
  EXPECT_EQ(ran_on, std::this_thread::get_id());
}

}  // namespace
}  // namespace cascade::kernels
