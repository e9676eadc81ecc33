#include "engine/request_queue.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"

namespace cascade {

absl::Status RequestQueue::Push(std::unique_ptr<Turn>& turn) {
  std::vector<std::unique_ptr<Turn>> turns;
  turns.push_back(std::move(turn));
  absl::Status status = Push(turns);
  if (!status.ok()) turn = std::move(turns.front());
  return status;
}

absl::Status RequestQueue::Push(std::vector<std::unique_ptr<Turn>>& turns) {
  MutexLock lock(mutex_);
  if (closed_) return absl::UnavailableError("the server is draining");
  if (waiting_.size() + turns.size() > static_cast<size_t>(capacity_)) {
    return absl::ResourceExhaustedError(
        turns.size() == 1 ? absl::StrCat("the queue is full: ", capacity_, " requests wait")
                          : absl::StrCat("the queue has no room for ", turns.size(), " requests: ", waiting_.size(),
                                         " of at most ", capacity_, " wait"));
  }
  const auto lower = [&](const std::unique_ptr<Turn>& other) { return other->priority() < turns[0]->priority(); };
  waiting_.insert(std::find_if(waiting_.begin(), waiting_.end(), lower), std::make_move_iterator(turns.begin()),
                  std::make_move_iterator(turns.end()));
  not_done_ += static_cast<int64_t>(turns.size());
  signalled_ = true;
  wake_.NotifyOne();
  return absl::OkStatus();
}

void RequestQueue::Close() {
  MutexLock lock(mutex_);
  closed_ = true;
}

bool RequestQueue::RunBetweenSteps(std::function<void()> run) {
  Work work{std::move(run)};
  MutexLock lock(mutex_);
  if (stopped_) return false;
  work_.push_back(&work);
  signalled_ = true;
  wake_.NotifyOne();
  while (!work.done && !stopped_) ended_.Wait(mutex_);
  return work.done;
}

void RequestQueue::Post(std::function<void()> work) {
  MutexLock lock(mutex_);
  if (stopped_) return;
  posted_.push_back(std::move(work));
  signalled_ = true;
  wake_.NotifyOne();
}

bool RequestQueue::WaitUntilDone(std::chrono::nanoseconds patience) {
  // Longer than anybody waits, and far from overflow.
  patience = std::min<std::chrono::nanoseconds>(patience, std::chrono::hours(24 * 365));
  const auto until = std::chrono::steady_clock::now() + patience;
  MutexLock lock(mutex_);
  while (not_done_ > 0) {
    if (!ended_.WaitUntil(mutex_, until)) return not_done_ == 0;
  }
  return true;
}

void RequestQueue::Wake() {
  MutexLock lock(mutex_);
  signalled_ = true;
  wake_.NotifyOne();
}

std::vector<std::unique_ptr<Turn>> RequestQueue::Take(const std::function<bool(Turn&)>& take) {
  std::vector<std::unique_ptr<Turn>> taken;
  MutexLock lock(mutex_);
  std::erase_if(waiting_, [&](std::unique_ptr<Turn>& turn) {
    if (!take(*turn)) return false;
    taken.push_back(std::move(turn));
    return true;
  });
  return taken;
}

void RequestQueue::Done(int count) {
  MutexLock lock(mutex_);
  not_done_ -= count;
  ended_.NotifyAll();
}

void RequestQueue::RunWork() {
  std::vector<Work*> work;
  std::vector<std::function<void()>> posted;
  {
    MutexLock lock(mutex_);
    work.swap(work_);
    posted.swap(posted_);
  }
  for (const std::function<void()>& piece : posted) piece();
  if (work.empty()) return;
  for (Work* piece : work) piece->run();
  MutexLock lock(mutex_);
  for (Work* piece : work) piece->done = true;
  ended_.NotifyAll();
}

void RequestQueue::WaitForWork() {
  MutexLock lock(mutex_);
  while (!signalled_) wake_.Wait(mutex_);
  signalled_ = false;
}

void RequestQueue::Stop() {
  MutexLock lock(mutex_);
  stopped_ = true;
  closed_ = true;
  ended_.NotifyAll();
}

int RequestQueue::size() {
  MutexLock lock(mutex_);
  return static_cast<int>(waiting_.size());
}

}  // namespace cascade
