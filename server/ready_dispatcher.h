// The thread between the engine and gRPC's writes.
//
// DESIGN. The engine thread tells that a stream has something by Post, which costs it one lock and one push. This
// thread then serialises and starts the write, which may take locks inside gRPC and even run the transport. It does not
// wait for writes to end: that is told on gRPC's threads.
#pragma once

#include <thread>
#include <vector>

#include "kernels/base/mutex.h"

namespace cascade {

// Something with output to send.
class ReadyWriter {
 public:
  virtual ~ReadyWriter() = default;
  virtual void OnReady() = 0;  // on the dispatcher's thread; must not wait
};

class ReadyDispatcher {
 public:
  ReadyDispatcher();
  ~ReadyDispatcher();  // joins; nothing may be posted any more
  ReadyDispatcher(const ReadyDispatcher&) = delete;
  ReadyDispatcher& operator=(const ReadyDispatcher&) = delete;

  // Calls writer->OnReady() once. `writer` must live until then. Any thread; does not wait.
  void Post(ReadyWriter* writer);

 private:
  void Run();

  Mutex mutex_;
  CondVar changed_;
  std::vector<ReadyWriter*> ready_ CASCADE_GUARDED_BY(mutex_);
  bool stopping_ CASCADE_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace cascade
