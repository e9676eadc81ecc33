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
class Turn {
 public:
  struct Setup {
    explicit Setup(const CascadeGeometry& geometry) : cache(geometry) {}

    TurnKind kind = TurnKind::kGenerate;
    bool asks_for_reply = false;  // the prompt ends where a reply begins
    SessionLease lease;  // not held: one-shot
    SessionCache cache;  // the turn's own copy
    ReplyEnd reply_end = ReplyEnd::kNone;
    std::vector<int32_t> prompt;  // in [0, vocabulary)
    SamplingParams sampling;
    uint64_t seed = 0;
    int64_t max_tokens = 0;         // kGenerate
    std::vector<std::string> stop;  // kGenerate
    SteadyTime deadline = SteadyTime::max();
    SteadyTime arrival;
    std::shared_ptr<TokenStream> stream;
  };
  // `tokenizer` outlives it.
  Turn(Setup setup, const Tokenizer& tokenizer);

  bool one_shot() const { return !setup_.lease.held(); }
  SessionLease& lease() { return setup_.lease; }
  SessionCache& cache() { return setup_.cache; }
  TokenStream& stream() { return *setup_.stream; }
  std::shared_ptr<TokenStream> shared_stream() const { return setup_.stream; }
  const SamplingParams& sampling() const { return setup_.sampling; }
  uint64_t seed() const { return setup_.seed; }
  // Why it must end before its time; kNone: it may go on.
  FinishReason Interruption(SteadyTime now) const;

  // Feeding. Ids that must still be fed before the next one can be sampled; 0: the turn has fed all it will.
  int64_t rows_left() const { return static_cast<int64_t>(feed_end_ - next_); }
  bool decoding() const { return completion_tokens_ > 0; }
  // The next `count` <= rows_left() of them, and what each is scored against (kScore; else empty).
  std::span<const int32_t> Ids(int count) const;
  std::span<const int32_t> Targets(int count) const;
  // Whether the last of the next `count` is sampled from.
  bool SamplesAfter(int count) const { return samples_ && count == rows_left(); }
  // A step with it begins; the first one ends its time in the queue.
  void BeginStep(SteadyTime now);
  // `count` ids were fed. The plan has moved on already.
  void Fed(int count);

  // Results; both collect them in the next delta.
  void AddScores(std::span<const int32_t> ids, std::span<const kernels::TokenScore> scores);
  // kNone: it wants another.
  FinishReason AddSampled(int32_t id, SteadyTime now);
  // What to push after a step.
  TurnDelta TakeDelta();

  // The end. Settles the pending token in cache(), then returns the last delta.
  TurnDelta Finish(FinishReason reason, absl::Status status, const CascadeGeometry& geometry, int64_t cache_bytes,
                   SteadyTime now);
  // After Finish: how the session's last reply ended, for the chat template.
  ReplyEnd reply_end() const { return setup_.reply_end; }

 private:
  void SettlePending(FinishReason reason);
  bool IsEnd(int32_t id) const;

  Setup setup_;
  const Tokenizer& tokenizer_;
  TextDecoder decoder_;
  const bool had_pending_;
  const int64_t start_position_;
  const bool samples_;         // kGenerate with max_tokens > 0
  std::vector<int32_t> feed_;  // what the session's last turn left pending and the prompt; then the id sampled last
  size_t next_ = 0;            // in feed_
  size_t feed_end_ = 0;        // all of feed_, or all but what stays pending
  int64_t rows_fed_ = 0;
  int64_t completion_tokens_ = 0;
  bool reply_ended_ = false;  // nothing more can be printed
  TurnDelta delta_;
  std::optional<SteadyTime> first_step_;
  std::optional<SteadyTime> first_sampled_;
  SteadyTime last_sampled_;
};

}  // namespace cascade
