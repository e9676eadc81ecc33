// Lines from a terminal or a pipe, interruptible.
#pragma once

#include <string>

#include "client/interrupts.h"

namespace cascade::client {

class LineReader {
 public:
  enum class Event { kLine, kEnd, kInterrupt, kTooLong };
  // More than any message that a server takes.
  static constexpr size_t kMaxLineBytes = 16 << 20;

  // Both must outlive the reader; `fd` is not closed.
  LineReader(int fd, Interrupts& interrupts) : fd_(fd), interrupts_(interrupts) {}

  // Waits for a line, given without its end; the last one may lack it. After kTooLong and kEnd nothing more comes.
  Event Read(std::string* line);

 private:
  const int fd_;
  Interrupts& interrupts_;
  std::string waiting_;
  size_t searched_ = 0;
  bool end_ = false;
};

}  // namespace cascade::client
