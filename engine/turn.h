// What lives for one request: the ids still to feed, the stop rules, the text decoder, the stream, the clock's
// readings.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/reply_group.h"
#include "engine/sampling/host_sampling.h"
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
    // kGenerate.
    std::vector<std::string> stop;
    std::vector<int32_t> stop_token_ids;
    bool ignore_eos = false;
    bool include_stop = false;
    bool prompt_logprobs = false;
    std::string echo;                    // what the text begins with
    std::shared_ptr<HostSampling> host;  // null: the device samples
    int64_t host_tokens = 0;             // .. after so many ids, too
    // One-shot.
    std::string tenant;
    bool leaves_prefix = false;           // its ids are wanted at the end
    bool seeks_prefix = false;            // .. and at its begin; leaves_prefix is set
    std::shared_ptr<ReplyGroup> replies;  // null: it is alone
    int priority = 0;
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
  int priority() const { return setup_.priority; }
  const SamplingParams& sampling() const { return setup_.sampling; }
  uint64_t seed() const { return setup_.seed; }
  // Why it must end before its time; kNone: it may go on.
  FinishReason Interruption(SteadyTime now) const;

  // Before anything is launched: the slot holds a cache that has seen `tokens_seen` of the session's tokens, and these
  // are the ones between them and the session's own. They are fed first, and are no part of the turn.
  void BeginReplay(const CascadeGeometry& geometry, int64_t tokens_seen, uint64_t digest, std::vector<int32_t> ids);
  bool replaying() const { return next_ < replay_end_; }

  // One-shot turns whose slot holds the begin of their prompt already (session/prefix_cache.h).
  bool leaves_prefix() const { return setup_.leaves_prefix; }
  bool seeks_prefix() const { return setup_.seeks_prefix; }
  ReplyGroup* replies() const { return setup_.replies.get(); }
  // The ids that it feeds before it samples; its prompt but for the last one. seeks_prefix().
  PrefixQuery prefix_query() const { return QueryOf(prompt_feed_); }
  PrefixQuery prompt_begin() const { return QueryOf(prompt_last_); }
  int64_t prompt_last() const { return static_cast<int64_t>(prompt_last_); }
  // What was found for it, until it starts.
  PrefixStart& start() { return start_; }
  // Before anything is launched: the slot holds the first `tokens` ids.
  void BeginAt(const CascadeGeometry& geometry, int64_t tokens, uint64_t digest);
  // It has fed all but the prompt's last id, and stays there until Go is called: the state may be wanted.
  bool held() const { return next_ == hold_at_; }
  void Go() { hold_at_ = kNoHold; }
  // After Finish, once: what its slot holds.
  Prefix TakePrefix();

  // Feeding. Rows that can be launched now, up to the next one that is sampled from; 0: all that it will feed is
  // launched, or what comes next depends on results.
  int64_t rows_left() const;
  // Whether those are one, of a sampled id.
  bool feeds_sampled() const { return completion_tokens_ > 0 || launched_ == feed_end_; }
  // The next `count` <= rows_left() ids (kernels::kSampledId for one that is not known yet), and what each is scored
  // against (kScore; else empty).
  std::span<const int32_t> Ids(int count) const;
  std::span<const int32_t> Targets(int count) const;
  // Whether the last of the next `count` is sampled from; by the host, not by the device.
  bool SamplesAfter(int count) const;
  bool SamplesOnHost(int count) const { return host_sampled() && SamplesAfter(count); }
  // The first of the next `count` rows whose logits the host wants, with all after it; `count`: none.
  int FirstLogits(int count) const;
  // How many that may be in the next step.
  int most_logits() const;
  // Of all ids that are launched; whoever launches moves it on.
  CascadePlan& plan_ahead() { return plan_ahead_; }
  // A step with it begins; the first one ends its time in the queue.
  void BeginStep(SteadyTime now);
  void Launched(int count);
  bool in_flight() const { return launched_ > next_; }
  // .. or the host has rows of it (BeginHost). It cannot end before its time then.
  bool unsettled() const { return in_flight() || awaiting_; }
  bool awaiting() const { return awaiting_; }
  // It must end before its time: rows_left() is 0 from now on, so that it is settled soon.
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
  FinishReason AddSampled(int32_t id, SteadyTime now, std::optional<TokenLogprobs> logprobs = std::nullopt);
  // The logits of the next `count` rows, or of the last of them, are there: what the host is asked for, but for the
  // logits. Those are fed, and nothing more is launched until EndHost.
  HostRows BeginHost(int count, bool samples);
  const std::shared_ptr<HostSampling>& host() const { return setup_.host; }
  // What came of it, but for the id.
  void EndHost(HostResult& result);
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
  static constexpr size_t kNoHold = ~size_t{0};

  PrefixQuery QueryOf(size_t length) const {
    return {setup_.tenant, std::span<const int32_t>(added_).first(length), digests_};
  }
  bool MayFeedUnknown() const;
  TurnDelta TakeDelta();
  void SettlePending(FinishReason reason);
  bool host_sampled() const { return setup_.host != nullptr && completion_tokens_ < setup_.host_tokens; }
  // Of the model; of this reply.
  bool IsEnd(int32_t id) const;
  bool EndsReply(int32_t id) const;
  std::string TextOfStop(int32_t id);
  // Ids of the session's that are new with this turn.
  void Say(std::span<const int32_t> ids);

  Setup setup_;
  const Tokenizer& tokenizer_;
  TextDecoder decoder_;
  const bool had_pending_;
  const int64_t start_position_;
  const bool samples_;                        // kGenerate with max_tokens > 0
  std::vector<int32_t> added_;                // prompt and sampled ids, if they are wanted
  std::vector<int32_t> said_;                 // of a session: the newest of its ids that this turn brought
  std::optional<CascadePlan> replaced_plan_;  // of the session, while ids are replayed
  uint64_t replaced_digest_ = 0;
  std::vector<int32_t> feed_;  // what the session's last turn left pending and the prompt; then the id sampled last
  CascadePlan plan_ahead_;
  // In feed_: next_ <= launched_ <= feed_end_.
  size_t next_ = 0;           // first that is not known to be fed
  size_t launched_ = 0;       // first that is not launched
  size_t feed_end_ = 0;       // all of feed_, or all but what stays pending
  size_t replay_end_ = 0;     // those before it are replayed
  size_t hold_at_ = kNoHold;  // no more are launched
  size_t prompt_last_ = 0;    // of a one-shot turn: its prompt's last id
  size_t prompt_feed_ = 0;    // .. and how many ids it feeds before it samples
  DigestTrail digests_;       // of those
  PrefixStart start_;
  int64_t cached_tokens_ = 0;
  bool unknown_launched_ = false;  // and after all of those the row of the id that they give
  bool stopped_feeding_ = false;
  bool paused_ = false;
  bool awaiting_ = false;           // the host has rows
  std::vector<float> host_memory_;  // for the next ones
  int64_t rows_fed_ = 0;
  int64_t completion_tokens_ = 0;
  bool reply_ended_ = false;  // nothing more can be printed
  TurnDelta delta_;
  std::optional<SteadyTime> first_step_;
  std::optional<SteadyTime> first_sampled_;
  SteadyTime last_sampled_;
};

}  // namespace cascade
