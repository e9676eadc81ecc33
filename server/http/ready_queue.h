// The way from the engine thread to the I/O thread.
//
// DESIGN. The engine thread tells that a stream has something by Post, which costs it one lock and one push; only the
// first of a step wakes the I/O thread, which then takes all of them.
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/base/mutex.h"

namespace cascade {

// Something with streams to read.
class StreamReader {
 public:
  virtual ~StreamReader() = default;
  virtual void OnReady(int stream) = 0;  // I/O thread; must not wait
};

class ReadyQueue {
 public:
  explicit ReadyQueue(boost::asio::io_context& io) : io_(io) {}

  // Calls reader->OnReady(stream) once. Any thread; does not wait.
  void Post(std::shared_ptr<StreamReader> reader, int stream);

 private:
  using Entry = std::pair<std::shared_ptr<StreamReader>, int>;

  void Run();

  boost::asio::io_context& io_;
  std::vector<Entry> running_;  // I/O thread
  Mutex mutex_;
  std::vector<Entry> ready_ CASCADE_GUARDED_BY(mutex_);
};

}  // namespace cascade
