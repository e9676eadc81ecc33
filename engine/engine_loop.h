// The one thread that runs turns: admits, schedules, feeds, publishes.
//
// DESIGN. Each round: do the work that callers left (inspections, forks), drop what is cancelled or past its deadline,
// waiting or running; start waiting turns in the order of the queue while there are seats (max_num_seqs) and, for
// one-shot turns, slots; then one step over all running turns (schedule/scheduler.h states the bounds).
//
// A step is launched and, when as many are in flight as the model takes, the oldest is collected. With one, that is the
// step itself: a cancel or a deadline takes effect in the round after it, at most one step later. With two the device
// never waits for us: a decoding turn's next row is launched before the id that it feeds is known (engine/turn.h), a
// turn's results are published while the next step runs, and a turn that is cancelled ends when its rows in flight are
// collected, at most two steps later. What is still in flight of a turn that has ended is dropped. That row is dead: it
// fed an end id, so the session is as its last turn left it.
//
// A turn whose id is chosen by rules that no device knows (engine/sampling/host_sampling.h), or that wants
// log-probabilities, has the logits of its rows copied after the step and handed to a pool of threads; meanwhile it has
// nothing to launch, and all others go on. Of such rows a step has at most kMaxLogitRows; turns that want more take
// turns.
//
// The thread sleeps when nothing runs, or all that runs waits for that pool. With nothing running nothing waits either,
// because a slot stays free of sessions, an idle engine has all its seats, and a turn that needs no step takes neither:
// only a caller can wake it. A turn's session is given back before its last delta is pushed: who reads that can go on
// with the session at once.
//
// A one-shot turn that has ended leaves its slot to the prefix cache, and begins with what that knows of its prompt.
// Turns that reply to one prompt start when one of them has read it, with copies of its slot (engine/reply_group.h).
//
// A turn whose session has no slot gets one before it starts; if the session's cache is elsewhere, the mover brings it
// in meanwhile, and what it lacks is fed before the turn's own ids. A turn of a session with a journal is written there
// at its end, by another thread, and acknowledged then; until that is done its session is busy.
//
// An error ends the turns of its step and of those launched after it, which may build on it. When the device is lost
// all turns end, waiting ones too, and no more are taken. A session with a journal is then what it was before the turn.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "engine/mover.h"
#include "engine/request_queue.h"
#include "engine/sampling/sampling_pool.h"
#include "engine/schedule/batch.h"
#include "engine/session/commit_queue.h"
#include "engine/session/session_store.h"
#include "engine/turn.h"

namespace cascade {

// All arguments outlive it.
class EngineLoop {
 public:
  EngineLoop(const EngineOptions& options, Model& model, int vocabulary, SessionStore& sessions, CommitQueue& commits,
             Clock& clock, Metrics& metrics);
  // Joins. Every turn has ended, and `mover` has stopped.
  ~EngineLoop();

  // Once, before the first turn.
  void Start(Mover& mover);
  RequestQueue& queue() { return queue_; }
  // All turns end with CANCELLED from now on.
  void CancelAll();
  // Somebody else saw what only a lost device says. Any thread; waits for the loop.
  void ReportLostDevice(const absl::Status& cause);
  bool device_lost() const { return device_lost_.load(); }

 private:
  using Turns = std::vector<std::unique_ptr<Turn>>;
  // A turn that runs, and what is needed to undo it.
  struct Running {
    explicit Running(std::unique_ptr<Turn> started) : turn(std::move(started)) {}

    std::unique_ptr<Turn> turn;
    // The slot as it was, or its scores; null: neither. Of a one-shot turn: before its prompt's last id.
    std::shared_ptr<kernels::HostMemory> start;
    kernels::SlotPart start_part = kernels::SlotPart::kScores;
    int64_t start_closed = 0;  // strides closed then
    int64_t image_tokens = 0;  // of the newest image of its session
    uint64_t mark_digest = 0;  // of a one-shot turn, at `start`
    uint64_t saved_mark = 0;   // the prefix cache's entry that has that; 0: none
  };

  void Run();
  void DropInterrupted();
  void StartWaiting();
  // Whether there may be slots for the turns that are looked at next.
  struct SlotsLeft {
    bool sessions = true, one_shot = true;
  };
  bool FindSlot(Turn& turn, SlotsLeft& left);
  void BringIn(std::unique_ptr<Turn> turn);
  void OnBroughtIn(int64_t id, BroughtIn result);
  void StartTurn(std::unique_ptr<Turn> turn);
  std::shared_ptr<kernels::HostMemory> KeepStart(int slot, kernels::SlotPart part);

  // One-shot turns whose prompts are known in part (engine_loop_prefixes.cc).
  // Another one reads its prompt.
  bool WaitsForLeader(const Turn& turn) const;
  // The one whose slot it can begin with; null: there is none.
  const Running* LeaderOf(const Turn& turn) const;
  std::optional<int> TakeOneShotSlot(Turn& turn);
  // Its slot becomes that of a new turn, or of one that has fed what is known.
  void BeginOneShot(int64_t id, Running& running);
  bool GoOnFromPrefix(Running& running);
  // Of one that has come to its prompt's last id.
  void KeepMark(Running& running);
  // False: not before what is in flight of it is collected.
  bool MayLaunch(Running& running);
  // To the prefix cache, if what it holds is wanted there.
  void LeaveSlot(Running& running);
  // The turn is over.
  void LeaveReplies(const Turn& turn);

  // False: there is nothing to do before somebody wakes the loop.
  bool Step();
  enum class Launch : uint8_t { kNothing, kFailed, kDone };
  Launch LaunchStep();
  // Turns that are left out of the next step, because the host has no room for their logits.
  std::set<int64_t> WithoutLogits();
  void CollectStep();
  // What a slice of a step that succeeded gives its turn; the pointer is null after it when the turn is over.
  void TakeResults(const Batch::Entry& entry, Running& running);
  void TakeSampled(const Batch::Entry& entry, Running& running);
  void SampleOnHost(const Batch::Entry& entry, Turn& turn);
  void OnHostResult(int64_t id, HostResult result);
  void Sampled(Running& running, int32_t id, std::optional<TokenLogprobs> logprobs);
  void KeepImage(Running& running);
  // `batch` has failed: when it was collected, or when it was to be launched.
  void FailStep(const Batch& batch, const absl::Status& cause, bool launched);
  void LoseDevice(const absl::Status& cause);

  FinishReason Interruption(const Turn& turn) const;
  // Gives the session or slot back, then pushes the last delta; a turn that is to be durable is committed first. Leaves
  // running.turn null.
  void End(Running& running, FinishReason reason, absl::Status status);
  void Interrupt(Running& running, FinishReason reason);
  // It cannot go on, and its session is to be what it was.
  void Undo(Running& running, const absl::Status& cause);
  // What the slot holds is not the session any more.
  void Fail(Running& running, const absl::Status& cause, absl::StatusCode code = absl::StatusCode::kInternal);
  // Of a turn that has not started.
  void Refuse(std::unique_ptr<Turn> turn, absl::Status status);
  // False: the session is gone.
  bool TakeBack(Running& running);
  void ForgetImages(Turn& turn);
  void Commit(std::unique_ptr<Turn> turn, TurnDelta last);
  // On the commit queue's thread, or the mover's.
  void Committed(Turn& turn, TurnDelta last, Durability reached, absl::Status status);
  void Acknowledge(Turn& turn, TurnDelta last, Durability reached);
  void Deliver(Turn& turn, TurnDelta last);
  void ForgetEnded();
  void UpdateGauges();

  const EngineOptions& options_;
  Model& model_;
  const int vocabulary_;  // ids that the tokenizer knows; the model may have more logits
  SessionStore& sessions_;
  CommitQueue& commits_;
  Mover* mover_ = nullptr;
  Clock& clock_;
  Metrics& metrics_;
  RequestQueue queue_;
  std::atomic<bool> cancel_all_{false};
  std::atomic<bool> stop_{false};
  std::atomic<bool> device_lost_{false};
  std::atomic<int> committing_{0};

  // The thread's own.
  std::map<int64_t, Running> running_;                  // by their order of start
  std::map<int64_t, std::unique_ptr<Turn>> coming_in_;  // their sessions are being brought in
  int64_t next_turn_ = 0;
  std::deque<Batch> in_flight_;  // launched and not collected, oldest first; entries' turns are keys of running_
  ForwardResult result_;
  int64_t step_ = 0;
  int64_t last_logits_turn_ = -1;  // of those that the host had logits of in the step launched last
  bool leader_has_read_ = false;   // since turns were started last

  SamplingPool pool_;   // its jobs post to queue_
  std::thread thread_;  // last: sees the rest complete
};

}  // namespace cascade
