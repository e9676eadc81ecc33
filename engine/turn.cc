#include "engine/turn.h"

#include <algorithm>
#include <utility>

#include "kernels/base/check.h"

namespace cascade {

Turn::Turn(Setup setup, const Tokenizer& tokenizer)
    : setup_(std::move(setup)),
      tokenizer_(tokenizer),
      decoder_(tokenizer, setup_.stop),
      had_pending_(setup_.cache.pending.has_value()),
      start_position_(setup_.cache.position()),
      samples_(setup_.kind == TurnKind::kGenerate && setup_.max_tokens > 0),
      plan_ahead_(setup_.cache.plan) {
  feed_.reserve(setup_.prompt.size() + 1);
  if (had_pending_) feed_.push_back(*setup_.cache.pending);
  feed_.insert(feed_.end(), setup_.prompt.begin(), setup_.prompt.end());
  if (setup_.journaled) {
    added_ = std::move(setup_.prompt);
  } else {
    std::vector<int32_t>().swap(setup_.prompt);
  }
  CASCADE_CHECK(!feed_.empty());
  feed_end_ = samples_ ? feed_.size() : feed_.size() - 1;
  if (setup_.kind == TurnKind::kScore) delta_.score_total = static_cast<int64_t>(feed_end_);
}

FinishReason Turn::Interruption(SteadyTime now) const {
  if (setup_.stream->cancelled()) return FinishReason::kCancelled;
  if (now >= setup_.deadline) return FinishReason::kDeadline;
  return FinishReason::kNone;
}

void Turn::BeginReplay(const CascadeGeometry& geometry, int64_t tokens_seen, uint64_t digest,
                       std::vector<int32_t> ids) {
  CASCADE_CHECK(launched_ == 0 && tokens_seen + static_cast<int64_t>(ids.size()) == setup_.cache.plan.tokens_seen());
  replaced_plan_ = setup_.cache.plan;
  replaced_digest_ = setup_.cache.digest;
  setup_.cache.plan = CascadePlan(geometry, tokens_seen);
  setup_.cache.digest = digest;
  plan_ahead_ = setup_.cache.plan;
  replay_end_ = ids.size();
  feed_end_ += ids.size();
  ids.insert(ids.end(), feed_.begin(), feed_.end());
  feed_ = std::move(ids);
}

int64_t Turn::rows_left() const {
  if (stopped_feeding_ || paused_) return 0;
  if (launched_ < replay_end_) return static_cast<int64_t>(replay_end_ - launched_);
  if (launched_ < feed_end_) return static_cast<int64_t>(feed_end_ - launched_);
  return MayFeedUnknown() ? 1 : 0;
}

// With all launched: may the row of the id that is being sampled go too? Only if that id can end the turn in no way
// that the device does not see (end ids) and that is not known now (max_tokens).
bool Turn::MayFeedUnknown() const {
  const bool being_sampled = samples_ && in_flight() && !unknown_launched_;
  return being_sampled && setup_.stop.empty() && completion_tokens_ + 1 < setup_.max_tokens;
}

std::span<const int32_t> Turn::Ids(int count) const {
  CASCADE_CHECK(count <= rows_left());
  if (launched_ == feed_end_) return {&kernels::kSampledId, 1};
  return std::span<const int32_t>(feed_).subspan(launched_, static_cast<size_t>(count));
}

std::span<const int32_t> Turn::Targets(int count) const {
  if (setup_.kind != TurnKind::kScore || launched_ < replay_end_) return {};
  return std::span<const int32_t>(feed_).subspan(launched_ + 1, static_cast<size_t>(count));
}

void Turn::BeginStep(SteadyTime now) {
  if (!first_step_.has_value()) first_step_ = now;
}

void Turn::Launched(int count) {
  CASCADE_CHECK(count <= rows_left());
  if (launched_ == feed_end_) {
    unknown_launched_ = true;
  } else {
    launched_ += static_cast<size_t>(count);
  }
}

void Turn::Fed(int count) {
  CASCADE_CHECK(next_ + static_cast<size_t>(count) <= launched_);
  setup_.cache.plan.Follow(count);
  setup_.cache.digest = ExtendTokenDigest(
      setup_.cache.digest, std::span<const int32_t>(feed_).subspan(next_, static_cast<size_t>(count)));
  if (!replaying()) rows_fed_ += count;
  next_ += static_cast<size_t>(count);
}

void Turn::AddScores(std::span<const kernels::TokenScore> scores) {
  CASCADE_CHECK(setup_.kind == TurnKind::kScore && next_ + scores.size() < feed_.size());
  const auto ids = feed_.begin() + static_cast<ptrdiff_t>(next_) + 1;
  delta_.token_ids.insert(delta_.token_ids.end(), ids, ids + static_cast<ptrdiff_t>(scores.size()));
  delta_.scores.insert(delta_.scores.end(), scores.begin(), scores.end());
}

FinishReason Turn::AddSampled(int32_t id, SteadyTime now) {
  CASCADE_CHECK(samples_ && all_fed());
  if (!first_sampled_.has_value()) first_sampled_ = now;
  last_sampled_ = now;
  ++completion_tokens_;
  if (completion_tokens_ == 1) std::vector<int32_t>().swap(feed_);  // a long prompt's memory
  if (setup_.journaled) added_.push_back(id);
  replay_end_ = 0;
  feed_.assign(1, id);
  next_ = 0;
  launched_ = std::exchange(unknown_launched_, false) ? 1 : 0;
  feed_end_ = 1;
  delta_.token_ids.push_back(id);

  if (IsEnd(id)) return FinishReason::kStop;  // not printed
  delta_.text += decoder_.Append(id);
  if (decoder_.stopped()) {
    reply_ended_ = true;
    delta_.stop_sequence = decoder_.matched_stop();
    return FinishReason::kStopSequence;
  }
  return completion_tokens_ >= setup_.max_tokens ? FinishReason::kLength : FinishReason::kNone;
}

TurnDelta Turn::TakeDelta() {
  delta_.seq = completion_tokens_;
  TurnDelta delta = std::exchange(delta_, TurnDelta());
  delta_.score_total = delta.score_total;
  return delta;
}

void Turn::Push(TurnDelta delta) {
  if (setup_.log != nullptr) setup_.log->Add(delta);
  setup_.stream->Push(std::move(delta));
}

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
  if (completion_tokens_ > 0 && !reply_ended_) delta_.text += decoder_.Finish();
  delta_.finished = true;
  delta_.finish_reason = reason;
  delta_.status = std::move(status);

  const SessionCache& cache = setup_.cache;
  const CascadePlan plan(geometry, cache.position());
  Usage& usage = delta_.usage;
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
  if (setup_.cache.position() == start_position_) return;
  if (IsEnd(feed_[next_])) {
    setup_.reply_end = ReplyEnd::kEndToken;
  } else {
    const bool reply_begun = completion_tokens_ > 0 || setup_.asks_for_reply;
    setup_.reply_end = reply_begun ? ReplyEnd::kCut : ReplyEnd::kNone;
  }
}

bool Turn::IsEnd(int32_t id) const {
  const std::vector<int32_t>& ends = tokenizer_.end_ids();
  return std::find(ends.begin(), ends.end(), id) != ends.end();
}

}  // namespace cascade
