#include "server/http/ready_queue.h"

#include <boost/asio/post.hpp>

namespace cascade {

void ReadyQueue::Post(std::shared_ptr<StreamReader> reader, int stream) {
  bool first;
  {
    MutexLock lock(mutex_);
    first = ready_.empty();
    ready_.emplace_back(std::move(reader), stream);
  }
  if (first) boost::asio::post(io_, [this] { Run(); });
}

void ReadyQueue::Run() {
  {
    MutexLock lock(mutex_);
    running_.swap(ready_);
  }
  for (const auto& [reader, stream] : running_) reader->OnReady(stream);
  running_.clear();
}

}  // namespace cascade
