// The one thread that runs turns: admits, schedules, feeds, samples, publishes.
//
// DESIGN. Each round: do the work that callers left (inspections), drop what is cancelled or past its deadline, waiting
// or running; start waiting turns in the order of their arrival while there are seats (max_num_seqs) and, for one-shot
// turns, slots; then one step over all running turns (schedule/scheduler.h states the bounds). So a cancel or a
// deadline takes effect in the round after it, at most one step later. The thread sleeps only when nothing runs; then
// nothing waits either, because a slot stays free of sessions, an idle engine has all its seats, and a turn that needs
// no step takes neither: only a caller can wake it. A turn's session is given back before its last delta is pushed: who
// reads that can go on with the session at once.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "engine/request_queue.h"
#include "engine/sampling/sampler.h"
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

 private:
  using Turns = std::vector<std::unique_ptr<Turn>>;

  void Run();
  void DropInterrupted();
  void StartWaiting();
  void Step();
  void PlanStep(SteadyTime now);
  // What a slice of a step that succeeded gives its turn; the pointer is null after it when the turn is over.
  void TakeResults(const Batch::Entry& entry, std::unique_ptr<Turn>& turn);
  void Sample(const Batch::Entry& entry, std::unique_ptr<Turn>& turn);

  FinishReason Interruption(const Turn& turn) const;
  // Gives the session or slot back, then pushes the last delta. `lose`: what the slot holds is not the session any
  // more.
  void End(std::unique_ptr<Turn> turn, FinishReason reason, absl::Status status, bool lose = false);
  void Interrupt(std::unique_ptr<Turn> turn, FinishReason reason);
  void Fail(std::unique_ptr<Turn> turn, const absl::Status& cause);
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

  // The thread's own.
  Turns running_;
  Batch batch_;
  ForwardResult result_;
  Sampler sampler_;
  int64_t step_ = 0;

  std::thread thread_;  // last: sees the rest complete
};

}  // namespace cascade
