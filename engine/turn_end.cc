// How a turn ends: its last delta, its record, and what it leaves of its session.
#include <algorithm>
#include <utility>

#include "engine/turn.h"

namespace cascade {

TurnRecord Turn::Record(FinishReason reason, const std::string& stop_sequence, int64_t ended_ms) {
  TurnRecord record;
  record.position = start_position_;
  record.turn_id = setup_.turn_id;
  record.kind = setup_.kind;
  record.seed = setup_.seed;
  record.ids = std::move(added_);
  record.ids.resize(static_cast<size_t>(added_tokens()));  // what was not fed when it was cut
  record.prompt_tokens = added_tokens() - completion_tokens_;
  record.finish = reason;
  record.reply_end = setup_.reply_end;
  record.stop_sequence = stop_sequence;
  record.ended_ms = ended_ms;
  return record;
}

TurnDelta Turn::Refuse(absl::Status status, SteadyTime now) {
  delta_.finished = true;
  delta_.finish_reason = FinishReason::kError;
  delta_.status = std::move(status);
  delta_.usage.session_tokens_seen = start_position_;
  delta_.usage.queue_time = now - setup_.arrival;
  return TakeDelta();
}

TurnDelta Turn::Finish(FinishReason reason, absl::Status status, const CascadeGeometry& geometry, int64_t cache_bytes,
                       SteadyTime now) {
  if (replaying()) {  // the session is what it was
    setup_.cache.plan = *replaced_plan_;
    setup_.cache.digest = replaced_digest_;
  } else {
    SettlePending(reason);
  }
  // One that needed no step has not said it yet.
  if (reason == FinishReason::kLength) delta_.text += std::exchange(setup_.echo, "");
  if (completion_tokens_ > 0 && !reply_ended_) delta_.text += decoder_.Finish();
  delta_.finished = true;
  delta_.finish_reason = reason;
  delta_.status = std::move(status);

  const SessionCache& cache = setup_.cache;
  const CascadePlan plan(geometry, cache.position());
  Usage& usage = delta_.usage;
  usage.cached_tokens = cached_tokens_;
  usage.completion_tokens = completion_tokens_;
  usage.prompt_tokens = cache.position() - start_position_ - completion_tokens_;
  usage.session_tokens_seen = cache.position();
  usage.tokens_resident = plan.tokens_resident();
  usage.tokens_evicted = plan.tokens_evicted();
  usage.cache_bytes = cache_bytes;
  const SteadyTime started = first_step_.value_or(now);
  const SteadyTime sampled = first_sampled_.value_or(now);
  usage.queue_time = started - setup_.arrival;
  usage.prefill_time = sampled - started;
  if (first_sampled_.has_value()) usage.decode_time = last_sampled_ - sampled;
  return TakeDelta();
}

// Which id of those not fed belongs to the session already: the one sampled last; the prompt's last one; and when the
// turn was cut while it read its prompt, the one that would have been next. A turn that was cut before it fed anything
// leaves the session as it was.
void Turn::SettlePending(FinishReason reason) {
  const bool cut = reason == FinishReason::kCancelled || reason == FinishReason::kDeadline;
  if (cut && rows_fed_ == 0) return;
  if (next_ >= feed_.size()) {  // all was fed and nothing sampled from it: an error, which ends the session
    setup_.cache.pending.reset();
    return;
  }
  setup_.cache.pending = feed_[next_];
  if (completion_tokens_ == 0) {
    const size_t begin = replay_end_ + (had_pending_ ? 1 : 0);
    if (next_ >= begin) Say(std::span<const int32_t>(feed_).subspan(begin, next_ + 1 - begin));
  }
  setup_.cache.recent = ExtendRecent(setup_.cache.recent, said_);
  if (setup_.cache.position() == start_position_) return;
  if (IsEnd(feed_[next_])) {
    setup_.reply_end = ReplyEnd::kEndToken;
  } else {
    const bool reply_begun = completion_tokens_ > 0 || setup_.asks_for_reply;
    setup_.reply_end = reply_begun ? ReplyEnd::kCut : ReplyEnd::kNone;
  }
}

}  // namespace cascade
