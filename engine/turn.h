// What lives for one request: the ids still to feed, the stop rules, the text decoder, the stream, the clock's
// readings.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/session/session_store.h"
#include "engine/text/text_decoder.h"
#include "engine/token_stream.h"
#include "engine/turn_request.h"

namespace cascade {

// Made by the caller's thread, then owned by the queue and by the engine thread; one thread at a time. Knows neither
// the model nor the scheduler: it says which ids come next and is told what became of them.
//
// What is launched may be ahead of what is known: rows whose step has not been collected, the last of which may even
// feed an id that is still being sampled. Nothing of that shows in cache() and in the deltas before its results are
// there, so a turn may end at any result as if nothing had been launched after it.
class Turn {
 public:
  struct Setup {
    explicit Setup(const CascadeGeometry& geometry) : cache(geometry) {}

    TurnKind kind = TurnKind::kGenerate;
    bool asks_for_reply = false;  // the prompt ends where a reply begins
    SessionLease lease;           // not held: one-shot
    SessionCache cache;           // the turn's own copy
    ReplyEnd reply_end = ReplyEnd::kNone;
    std::vector<int32_t> prompt;  // in [0, vocabulary)
    SamplingParams sampling;
    uint64_t seed = 0;
    int64_t max_tokens = 0;  // kGenerate
    int64_t turns = 0;       // of the session, before it
    std::string turn_id;
    OnCancel on_cancel = OnCancel::kKeep;
    Durability durability = Durability::kNone;  // that its acknowledgement waits for
    bool journaled = false;                     // its ids are wanted at the end
    std::shared_ptr<TurnLog> log;               // may be null
    std::vector<std::string> stop;              // kGenerate
    SteadyTime deadline = SteadyTime::max();
    SteadyTime arrival;
    std::shared_ptr<TokenStream> stream;
  };
  // `tokenizer` outlives it.
  Turn(Setup setup, const Tokenizer& tokenizer);

  bool one_shot() const { return !setup_.lease.held(); }
  SessionLease& lease() { return setup_.lease; }
  const SessionLease& lease() const { return setup_.lease; }
  // Of the ids that are known to be fed.
  SessionCache& cache() { return setup_.cache; }
  OnCancel on_cancel() const { return setup_.on_cancel; }
  Durability durability() const { return setup_.durability; }
  bool journaled() const { return setup_.journaled; }
  const std::shared_ptr<TurnLog>& log() const { return setup_.log; }
  int64_t start_position() const { return start_position_; }
  int64_t turns_before() const { return setup_.turns; }
  const SamplingParams& sampling() const { return setup_.sampling; }
  uint64_t seed() const { return setup_.seed; }
  // Why it must end before its time; kNone: it may go on.
  FinishReason Interruption(SteadyTime now) const;

  // Before anything is launched: the slot holds a cache that has seen `tokens_seen` of the session's tokens, and these
  // are the ones between them and the session's own. They are fed first, and are no part of the turn.
  void BeginReplay(const CascadeGeometry& geometry, int64_t tokens_seen, uint64_t digest, std::vector<int32_t> ids);
  bool replaying() const { return next_ < replay_end_; }

  // Feeding. Rows that can be launched now, up to the next one that is sampled from; 0: all that it will feed is
  // launched, or what comes next depends on results.
  int64_t rows_left() const;
  // Whether those are one, of a sampled id.
  bool feeds_sampled() const { return completion_tokens_ > 0 || launched_ == feed_end_; }
  // The next `count` <= rows_left() ids (kernels::kSampledId for one that is not known yet), and what each is scored
  // against (kScore; else empty).
  std::span<const int32_t> Ids(int count) const;
  std::span<const int32_t> Targets(int count) const;
  // Whether the last of the next `count` is sampled from.
  bool SamplesAfter(int count) const { return samples_ && launched_ >= replay_end_ && count == rows_left(); }
  // Of all ids that are launched; whoever launches moves it on.
  CascadePlan& plan_ahead() { return plan_ahead_; }
  // A step with it begins; the first one ends its time in the queue.
  void BeginStep(SteadyTime now);
  void Launched(int count);
  bool in_flight() const { return launched_ > next_; }
  // It must end before its time: rows_left() is 0 from now on, so that nothing is in flight soon.
  void StopFeeding() { stopped_feeding_ = true; }
  // Nothing more is launched until it is resumed.
  void Pause(bool paused) { paused_ = paused; }

  // Results, in the order of the launches. `count` ids were fed.
  void Fed(int count);
  // All were, and nothing is sampled after them, or that id is missing.
  bool all_fed() const { return next_ == feed_end_; }
  bool decoding() const { return completion_tokens_ > 0; }
  // Both collect in the next delta. Scores: of the next rows, before Fed.
  void AddScores(std::span<const kernels::TokenScore> scores);
  // kNone: it wants another.
  FinishReason AddSampled(int32_t id, SteadyTime now);
  // Pushes what came of a step.
  void Publish() { Push(TakeDelta()); }

  // The end. Settles the pending token in cache(), then returns the last delta.
  TurnDelta Finish(FinishReason reason, absl::Status status, const CascadeGeometry& geometry, int64_t cache_bytes,
                   SteadyTime now);
  // The end of one that has not started: nothing of it shows.
  TurnDelta Refuse(absl::Status status, SteadyTime now);
  // After Finish. The last delta goes where the others went.
  void Push(TurnDelta delta);
  // What is to be written of it.
  TurnRecord Record(FinishReason reason, const std::string& stop_sequence, int64_t ended_ms);
  int64_t added_tokens() const { return setup_.cache.position() - start_position_; }
  // How the session's last reply ended, for the chat template.
  ReplyEnd reply_end() const { return setup_.reply_end; }

 private:
  bool MayFeedUnknown() const;
  TurnDelta TakeDelta();
  void SettlePending(FinishReason reason);
  bool IsEnd(int32_t id) const;

  Setup setup_;
  const Tokenizer& tokenizer_;
  TextDecoder decoder_;
  const bool had_pending_;
  const int64_t start_position_;
  const bool samples_;                        // kGenerate with max_tokens > 0
  std::vector<int32_t> added_;                // prompt and sampled ids, if they are wanted
  std::optional<CascadePlan> replaced_plan_;  // of the session, while ids are replayed
  uint64_t replaced_digest_ = 0;
  std::vector<int32_t> feed_;  // what the session's last turn left pending and the prompt; then the id sampled last
  CascadePlan plan_ahead_;
  // In feed_: next_ <= launched_ <= feed_end_.
  size_t next_ = 0;                // first that is not known to be fed
  size_t launched_ = 0;            // first that is not launched
  size_t feed_end_ = 0;            // all of feed_, or all but what stays pending
  size_t replay_end_ = 0;          // those before it are replayed
  bool unknown_launched_ = false;  // and after all of those the row of the id that they give
  bool stopped_feeding_ = false;
  bool paused_ = false;
  int64_t rows_fed_ = 0;
  int64_t completion_tokens_ = 0;
  bool reply_ended_ = false;  // nothing more can be printed
  TurnDelta delta_;
  std::optional<SteadyTime> first_step_;
  std::optional<SteadyTime> first_sampled_;
  SteadyTime last_sampled_;
};

}  // namespace cascade
