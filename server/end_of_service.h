// What ends a server that serves: a signal or a fault, whichever comes first.
//
// DESIGN. SIGINT and SIGTERM are blocked in all threads and taken by one that waits for nothing else; it, and whoever
// sees a fault, wake the main thread. Nobody polls. A signal during the start ends the process at once, since nobody is
// served yet; so does a second one later, also while it drains.
#pragma once

#include <signal.h>

#include "kernels/base/mutex.h"

namespace cascade {

class EndOfService {
 public:
  // Before the process has other threads. One of them per process, as long as it lives.
  EndOfService();

  // The start is over.
  void Serving();
  // Any thread.
  void Fault();
  // The signal; 0: a fault.
  int Wait();

 private:
  void TakeSignals();
  void End(int signal);

  sigset_t signals_;
  Mutex mutex_;
  CondVar ended_;
  bool serving_ CASCADE_GUARDED_BY(mutex_) = false;
  bool over_ CASCADE_GUARDED_BY(mutex_) = false;
  int signal_ CASCADE_GUARDED_BY(mutex_) = 0;
};

}  // namespace cascade
