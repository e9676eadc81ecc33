#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>

#include "tests/engine/base/directory_test_util.h"

namespace cascade {
namespace {

class DirectoryLockTest : public DirectoryTest {
 protected:
  // A child that runs `work` and then sleeps until it is killed; returns when `work` is done.
  static pid_t ForkSleeper(const std::function<void()>& work) {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
      work();
      if (write(ends[1], "", 1) != 1) _exit(1);
      for (;;) pause();
    }
    char byte;
    EXPECT_EQ(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    close(ends[1]);
    return child;
  }
  static void Kill(pid_t child) {
    kill(child, SIGKILL);
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status));
  }
};

TEST_F(DirectoryLockTest, KeepsOthersOut) {
  const auto other = MustOpen();
  EXPECT_FALSE(*directory_->IsLocked("name_lock"));
  EXPECT_FALSE(*directory_->Exists("name_lock"));
  auto lock = directory_->Lock("name_lock");
  ASSERT_TRUE(lock.ok()) << lock.status();
  for (Directory* directory : {directory_.get(), other.get()}) {
    EXPECT_TRUE(*directory->IsLocked("name_lock"));
    ExpectError(directory->Lock("name_lock").status(), absl::StatusCode::kUnavailable);
    EXPECT_TRUE(directory->OpenRead("name_lock").ok());  // closing it again leaves the lock
    EXPECT_TRUE(directory->Lock("name_other").ok());
  }
  EXPECT_TRUE(*other->IsLocked("name_lock"));
  lock->reset();
  EXPECT_FALSE(*directory_->IsLocked("name_lock"));
  EXPECT_TRUE(*directory_->Exists("name_lock"));
  lock = other->Lock("name_lock");
  ASSERT_TRUE(lock.ok()) << lock.status();
  EXPECT_TRUE(*directory_->IsLocked("name_lock"));
}

TEST_F(DirectoryLockTest, EndsWithTheProcess) {
  const pid_t child = ForkSleeper([&] {
    auto directory = Directory::Open(path_);
    auto lock = directory.ok() ? (*directory)->Lock("name_lock") : directory.status();
    if (!lock.ok()) _exit(1);
    lock->release();  // as a process does that is killed
  });
  EXPECT_TRUE(*directory_->IsLocked("name_lock"));
  ExpectError(directory_->Lock("name_lock").status(), absl::StatusCode::kUnavailable);
  Kill(child);
  EXPECT_FALSE(*directory_->IsLocked("name_lock"));
  EXPECT_TRUE(directory_->Lock("name_lock").ok());
}

// A child that was forked, but has not executed its program yet, has the descriptor.
TEST_F(DirectoryLockTest, EndsWithItsHolderThoughAChildHasTheDescriptor) {
  auto lock = directory_->Lock("name_lock");
  ASSERT_TRUE(lock.ok());
  const pid_t child = ForkSleeper([] {});
  lock->reset();
  EXPECT_FALSE(*directory_->IsLocked("name_lock"));
  EXPECT_TRUE(directory_->Lock("name_lock").ok());
  Kill(child);
}

TEST_F(DirectoryLockTest, OneHolderAlsoWhenTheFileIsRemoved) {
  constexpr int kThreads = 4, kLocks = 200;
  std::atomic<int> holders = 0, locks = 0, refused = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      while (locks < kLocks || refused == 0) {
        auto lock = directory_->Lock("name_lock");
        if (!lock.ok()) {
          EXPECT_TRUE(absl::IsUnavailable(lock.status())) << lock.status();
          ++refused;
          continue;
        }
        ++locks;
        EXPECT_EQ(holders++, 0);
        std::this_thread::yield();
        --holders;
        EXPECT_TRUE(directory_->Remove("name_lock").ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace cascade
