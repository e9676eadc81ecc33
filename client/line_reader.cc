#include "client/line_reader.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

namespace cascade::client {

LineReader::Event LineReader::Read(std::string* line) {
  while (true) {
    const size_t end = waiting_.find('\n', searched_);
    if (end != std::string::npos || (end_ && !waiting_.empty())) {
      *line = waiting_.substr(0, end);
      waiting_.erase(0, end == std::string::npos ? end : end + 1);
      searched_ = 0;
      if (!line->empty() && line->back() == '\r') line->pop_back();
      return Event::kLine;
    }
    searched_ = waiting_.size();
    if (end_) return Event::kEnd;
    if (waiting_.size() > kMaxLineBytes) {
      waiting_.clear();
      searched_ = 0;
      end_ = true;
      return Event::kTooLong;
    }

    pollfd sources[] = {{interrupts_.wake_fd(), POLLIN, 0}, {fd_, POLLIN, 0}};
    if (poll(sources, 2, -1) < 0) {
      if (errno == EINTR) continue;
      end_ = true;
      continue;
    }
    if (sources[0].revents != 0 && interrupts_.Take()) return Event::kInterrupt;
    if (sources[1].revents == 0) continue;
    char bytes[65536];
    const ssize_t count = read(fd_, bytes, sizeof(bytes));
    if (count > 0) {
      waiting_.append(bytes, count);
    } else if (count == 0 || (errno != EINTR && errno != EAGAIN)) {
      end_ = true;
    }
  }
}

}  // namespace cascade::client
