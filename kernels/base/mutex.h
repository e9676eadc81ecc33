// std::mutex with clang's thread-safety annotations. Not absl::Mutex: the distribution's abseil is not built for
// ThreadSanitizer, which then reports races in every user of it.
#pragma once

#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define CASCADE_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define CASCADE_THREAD_ANNOTATION(x)
#endif

#define CASCADE_GUARDED_BY(x) CASCADE_THREAD_ANNOTATION(guarded_by(x))
#define CASCADE_REQUIRES(...) CASCADE_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define CASCADE_EXCLUDES(...) CASCADE_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))

namespace cascade {

class CASCADE_THREAD_ANNOTATION(capability("mutex")) Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  void lock() CASCADE_THREAD_ANNOTATION(acquire_capability()) { mutex_.lock(); }
  void unlock() CASCADE_THREAD_ANNOTATION(release_capability()) { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

// Holds a Mutex for its scope; a CondVar can wait on it.
class CASCADE_THREAD_ANNOTATION(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) CASCADE_THREAD_ANNOTATION(acquire_capability(mutex)) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() CASCADE_THREAD_ANNOTATION(release_capability()) { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Wait returns spuriously; loop over the condition while holding the lock.
class CondVar {
 public:
  void Wait(Mutex& mutex) CASCADE_REQUIRES(mutex) { condition_.wait(mutex); }
  // False when `deadline` passed.
  template <class Clock, class Duration>
  bool WaitUntil(Mutex& mutex, std::chrono::time_point<Clock, Duration> deadline) CASCADE_REQUIRES(mutex) {
    return condition_.wait_until(mutex, deadline) == std::cv_status::no_timeout;
  }
  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable_any condition_;
};

}  // namespace cascade
