#include "engine/token_stream.h"

#include <algorithm>
#include <utility>

#include "kernels/base/check.h"

namespace cascade {
namespace {

template <class T>
void Append(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

// `later` follows `delta`, which is not finished. Costs the length of `later` (amortised), not of what waits already.
void Merge(TurnDelta& delta, TurnDelta later) {
  std::swap(delta.text, later.text);
  later.text += delta.text;
  std::swap(delta.token_ids, later.token_ids);
  Append(later.token_ids, delta.token_ids);
  std::swap(delta.scores, later.scores);
  Append(later.scores, delta.scores);
  std::swap(delta.logprobs, later.logprobs);
  Append(later.logprobs, delta.logprobs);
  std::swap(delta.prompt_logprobs, later.prompt_logprobs);
  Append(later.prompt_logprobs, delta.prompt_logprobs);
  delta = std::move(later);
}

}  // namespace

void TokenStream::Push(TurnDelta delta) {
  MutexLock lock(mutex_);
  if (waiting_.has_value()) {
    CASCADE_CHECK(!waiting_->finished);
    Merge(*waiting_, std::move(delta));
  } else {
    waiting_ = std::move(delta);
  }
  ready_.NotifyOne();
  Notify();
}

std::optional<TurnDelta> TokenStream::TryPop() {
  MutexLock lock(mutex_);
  return std::exchange(waiting_, std::nullopt);
}

TurnDelta TokenStream::Pop() {
  MutexLock lock(mutex_);
  while (!waiting_.has_value()) ready_.Wait(mutex_);
  TurnDelta delta = *std::move(waiting_);
  waiting_.reset();
  return delta;
}

void TokenStream::NotifyWhenReady(std::function<void()> on_ready) {
  MutexLock lock(mutex_);
  on_ready_ = std::move(on_ready);
  if (on_ready_ == nullptr) {
    while (OthersNotifying()) notified_.Wait(mutex_);
  } else if (waiting_.has_value()) {
    Notify();
  }
}

void TokenStream::Notify() {
  if (on_ready_ == nullptr) return;
  const std::function<void()> on_ready = std::exchange(on_ready_, nullptr);
  const std::thread::id self = std::this_thread::get_id();
  notifying_.push_back(self);
  mutex_.unlock();
  on_ready();
  mutex_.lock();
  notifying_.erase(std::find(notifying_.begin(), notifying_.end(), self));
  notified_.NotifyAll();
}

// A callback that takes the next one back must not wait for itself.
bool TokenStream::OthersNotifying() const {
  const std::thread::id self = std::this_thread::get_id();
  return std::any_of(notifying_.begin(), notifying_.end(), [&](std::thread::id id) { return id != self; });
}

}  // namespace cascade
