#include "server/end_of_service.h"

#include <pthread.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <cstring>
#include <thread>

#include "server/exit_code.h"

namespace cascade {

EndOfService::EndOfService() {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGINT);
  sigaddset(&signals_, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  std::thread([this] { TakeSignals(); }).detach();
}

void EndOfService::TakeSignals() {
  int signal = 0;
  sigwait(&signals_, &signal);
  {
    MutexLock lock(mutex_);
    if (!serving_) {
      spdlog::info("{}: stopped during the start", strsignal(signal));
      std::_Exit(static_cast<int>(ExitCode::kOk));
    }
  }
  End(signal);
  sigwait(&signals_, &signal);
  spdlog::warn("stopped before the drain was over");
  std::_Exit(static_cast<int>(ExitCode::kDrainTimedOut));
}

void EndOfService::Serving() {
  MutexLock lock(mutex_);
  serving_ = true;
}

void EndOfService::Fault() { End(0); }

void EndOfService::End(int signal) {
  MutexLock lock(mutex_);
  if (over_) return;
  over_ = true;
  signal_ = signal;
  ended_.NotifyAll();
}

int EndOfService::Wait() {
  MutexLock lock(mutex_);
  while (!over_) ended_.Wait(mutex_);
  return signal_;
}

}  // namespace cascade
