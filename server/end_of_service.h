// What ends a server that serves: a signal or a fault, whichever comes first.
//
// DESIGN. SIGINT and SIGTERM are blocked in all threads and taken by one that waits for nothing else; it, and whoever
// sees a fault, wake the main thread. Nobody polls. A second signal ends the process at once, also while it drains.
#pragma once

#include <signal.h>

#include "kernels/base/mutex.h"

namespace cascade {

class EndOfService {
 public:
  // Before the process has other threads. One of them per process, as long as it lives.
  EndOfService();

  // Until then a signal waits.
  void TakeSignals();
  // Any thread.
  void Fault();
  // The signal; 0: a fault.
  int Wait();

 private:
  void End(int signal);

  sigset_t signals_;
  Mutex mutex_;
  CondVar ended_;
  bool over_ CASCADE_GUARDED_BY(mutex_) = false;
  int signal_ CASCADE_GUARDED_BY(mutex_) = 0;
};

}  // namespace cascade
