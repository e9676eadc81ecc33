// The way back from the engine to one caller: one producer (the engine thread), one consumer.
//
// Push never blocks: deltas that nobody has read yet merge into one, so a slow reader costs memory in proportion to its
// own reply only, and the engine nothing. The consumer is told by a callback that something is there.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include "engine/session/turn_follower.h"
#include "engine/turn_request.h"
#include "kernels/base/mutex.h"

namespace cascade {

class TokenStream final : public TurnFollower {
 public:
  // Producer. After a delta with `finished` no more may come.
  void Push(TurnDelta delta) override;

  // Consumer. What has come since the last call, merged; nullopt if nothing has. Does not wait.
  std::optional<TurnDelta> TryPop();
  // Waits for something; for callers that own their thread.
  TurnDelta Pop();
  // `on_ready` runs once after the next Push, on the pusher's thread, without locks held (at once if a delta is already
  // waiting). It must not block, and may pop and ask to be notified again. Replaces an earlier one; nullptr takes it
  // back: after that returns the earlier one is not running on another thread and will not run.
  void NotifyWhenReady(std::function<void()> on_ready);

  // Either side; read by the engine every step.
  void Cancel() { cancelled_.store(true, std::memory_order_release); }
  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }

 private:
  // Runs on_ready_ if there is one; releases the mutex meanwhile.
  void Notify() CASCADE_REQUIRES(mutex_);
  bool OthersNotifying() const CASCADE_REQUIRES(mutex_);

  Mutex mutex_;
  CondVar ready_;     // waiting_ has a value
  CondVar notified_;  // notifying_ became shorter
  std::optional<TurnDelta> waiting_ CASCADE_GUARDED_BY(mutex_);
  std::function<void()> on_ready_ CASCADE_GUARDED_BY(mutex_);
  std::vector<std::thread::id> notifying_ CASCADE_GUARDED_BY(mutex_);  // who runs a callback now
  std::atomic<bool> cancelled_{false};
};

}  // namespace cascade
