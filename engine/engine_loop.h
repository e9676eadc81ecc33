// The one thread that runs turns: admits, schedules, feeds, publishes.
//
// DESIGN. Each round: do the work that callers left (inspections, forks), drop what is cancelled or past its deadline,
// waiting or running; start waiting turns in the order of their arrival while there are seats (max_num_seqs) and, for one-shot
// turns, slots; then one step over all running turns (schedule/scheduler.h states the bounds).
//
// A step is launched and, when as many are in flight as the model takes, the oldest is collected. With one, that is the
// step itself: a cancel or a deadline takes effect in the round after it, at most one step later. With two the device
// never waits for us: a decoding turn's next row is launched before the id that it feeds is known (engine/turn.h), a
// turn's results are published while the next step runs, and a turn that is cancelled ends when its rows in flight are
// collected, at most two steps later. What is still in flight of a turn that has ended is dropped. That row is dead: it
// fed an end id, so the session is as its last turn left it.
//
// The thread sleeps only when nothing runs; then nothing waits either, because a slot stays free of sessions, an idle
// engine has all its seats, and a turn that needs no step takes neither: only a caller can wake it. A turn's session is
// given back before its last delta is pushed: who reads that can go on with the session at once.
//
// An error ends the turns of its step and of those launched after it, which may build on it. When the device is lost
// all turns end, waiting ones too, and no more are taken.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "engine/request_queue.h"
#include "engine/schedule/batch.h"
#include "engine/session/session_store.h"
#include "engine/turn.h"

namespace cascade {

// All arguments outlive it.
class EngineLoop {
 public:
  EngineLoop(const EngineOptions& options, Model& model, int vocabulary, SessionStore& sessions, Clock& clock,
             Metrics& metrics);
  // Cancels all turns and joins.
  ~EngineLoop();

  RequestQueue& queue() { return queue_; }
  // All turns end with CANCELLED from now on.
  void CancelAll();
  // Somebody else saw what only a lost device says. Any thread; waits for the loop.
  void ReportLostDevice(const absl::Status& cause);
  bool device_lost() const { return device_lost_.load(); }

 private:
  using Turns = std::vector<std::unique_ptr<Turn>>;

  void Run();
  void DropInterrupted();
  void StartWaiting();
  void Step();
  // False: there was nothing to launch, or it failed.
  bool LaunchStep();
  void CollectStep();
  // What a slice of a step that succeeded gives its turn; the pointer is null after it when the turn is over.
  void TakeResults(const Batch::Entry& entry, std::unique_ptr<Turn>& turn);
  void TakeSampled(const Batch::Entry& entry, std::unique_ptr<Turn>& turn);
  // `batch` has failed: when it was collected, or when it was to be launched.
  void FailStep(const Batch& batch, const absl::Status& cause, bool launched);
  void LoseDevice(const absl::Status& cause);

  FinishReason Interruption(const Turn& turn) const;
  // Gives the session or slot back, then pushes the last delta. `lose`: what the slot holds is not the session any
  // more.
  void End(std::unique_ptr<Turn> turn, FinishReason reason, absl::Status status, bool lose = false);
  void Interrupt(std::unique_ptr<Turn> turn, FinishReason reason);
  void Fail(std::unique_ptr<Turn> turn, const absl::Status& cause, absl::StatusCode code = absl::StatusCode::kInternal);
  void ForgetEnded();
  void UpdateGauges();

  const EngineOptions& options_;
  Model& model_;
  const int vocabulary_;  // ids that the tokenizer knows; the model may have more logits
  SessionStore& sessions_;
  Clock& clock_;
  Metrics& metrics_;
  RequestQueue queue_;
  std::atomic<bool> cancel_all_{false};
  std::atomic<bool> stop_{false};
  std::atomic<bool> device_lost_{false};

  // The thread's own.
  std::map<int64_t, std::unique_ptr<Turn>> running_;  // by their order of start
  int64_t next_turn_ = 0;
  std::deque<Batch> in_flight_;  // launched and not collected, oldest first; entries' turns are keys of running_
  ForwardResult result_;
  int64_t step_ = 0;

  std::thread thread_;  // last: sees the rest complete
};

}  // namespace cascade
