#include "server/ready_dispatcher.h"

namespace cascade {

ReadyDispatcher::ReadyDispatcher() : thread_([this] { Run(); }) {}

ReadyDispatcher::~ReadyDispatcher() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyOne();
  thread_.join();
}

void ReadyDispatcher::Post(ReadyWriter* writer) {
  {
    MutexLock lock(mutex_);
    ready_.push_back(writer);
  }
  changed_.NotifyOne();
}

void ReadyDispatcher::Run() {
  std::vector<ReadyWriter*> ready;
  for (;;) {
    {
      MutexLock lock(mutex_);
      while (ready_.empty() && !stopping_) changed_.Wait(mutex_);
      if (ready_.empty()) return;
      ready.swap(ready_);
    }
    for (ReadyWriter* writer : ready) writer->OnReady();
    ready.clear();
  }
}

}  // namespace cascade
