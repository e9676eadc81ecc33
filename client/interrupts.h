// Ctrl-C as an event instead of the end of the program.
//
// The signal handler only writes a byte into a pipe. One thread reads it and either runs the handler in force, such as
// one that cancels a call, or makes wake_fd readable for whoever waits at a prompt. SIGTERM and SIGHUP do the same and
// are remembered: the program is to clean up and leave.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

namespace cascade::client {

// At most one at a time in a process. The old signal actions come back at its end.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  // Readable while an interrupt waits that no handler took.
  int wake_fd() const { return wake_[0]; }
  // Takes all waiting ones back; false if there was none.
  bool Take();
  // SIGTERM or SIGHUP has come.
  bool leaving() const { return leaving_; }

  // While it lives, interrupts run `handler` on another thread. At its end the handler is not running any more.
  class Handler {
   public:
    Handler(Interrupts& interrupts, std::function<void()> handler);
    ~Handler();

   private:
    Interrupts& interrupts_;
  };

 private:
  void Watch();

  int signals_[2];
  int wake_[2];
  std::atomic<bool> leaving_ = false;
  std::mutex mutex_;
  std::function<void()> handler_;  // guarded by mutex_
  std::thread watcher_;
};

}  // namespace cascade::client
