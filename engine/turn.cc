#include "engine/turn.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "kernels/base/check.h"

namespace cascade {
namespace {

// Rows of a prompt whose logits are on the host at once.
constexpr int64_t kPromptLogitRows = 16;

}  // namespace

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
  if (setup_.journaled || setup_.leaves_prefix) {
    added_ = std::move(setup_.prompt);
  } else {
    std::vector<int32_t>().swap(setup_.prompt);
  }
  CASCADE_CHECK(!feed_.empty());
  feed_end_ = samples_ ? feed_.size() : feed_.size() - 1;
  prompt_feed_ = feed_end_;
  prompt_last_ = feed_.size() - 1;
  if (setup_.seeks_prefix) digests_ = DigestTrail(std::span<const int32_t>(feed_).first(feed_end_));
  const bool is_kept = setup_.seeks_prefix && static_cast<int64_t>(prompt_last_) >= kMinPrefixTokens;
  if (samples_ && prompt_last_ > 0 && (is_kept || setup_.replies != nullptr)) hold_at_ = prompt_last_;
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

void Turn::BeginAt(const CascadeGeometry& geometry, int64_t tokens, uint64_t digest) {
  CASCADE_CHECK(one_shot() && launched_ == 0 && tokens < static_cast<int64_t>(feed_end_));
  setup_.cache.plan = CascadePlan(geometry, tokens);
  setup_.cache.digest = digest;
  plan_ahead_ = setup_.cache.plan;
  next_ = launched_ = static_cast<size_t>(tokens);
  cached_tokens_ = tokens;
}

Prefix Turn::TakePrefix() {
  Prefix prefix;
  prefix.tenant = setup_.tenant;
  prefix.ids = std::move(added_);
  prefix.ids.resize(static_cast<size_t>(setup_.cache.plan.tokens_seen()));
  prefix.digest = setup_.cache.digest;
  prefix.slot = setup_.cache.slot;
  return prefix;
}

int64_t Turn::rows_left() const {
  if (stopped_feeding_ || paused_ || awaiting_) return 0;
  if (launched_ < replay_end_) return static_cast<int64_t>(replay_end_ - launched_);
  if (launched_ < feed_end_) {
    const auto left = static_cast<int64_t>(std::min(feed_end_, hold_at_) - launched_);
    if (!setup_.prompt_logprobs || decoding()) return left;
    return in_flight() ? 0 : std::min(left, kPromptLogitRows);
  }
  return MayFeedUnknown() ? 1 : 0;
}

// With all launched: may the row of the id that is being sampled go too? Only if the device samples it, and that id can
// end the turn in no way that the device does not see (end ids, after which the row is dead: so they must end it) and
// that is not known now (max_tokens).
bool Turn::MayFeedUnknown() const {
  const bool being_sampled = samples_ && in_flight() && !unknown_launched_ && !host_sampled();
  const bool device_sees_end = setup_.stop.empty() && setup_.stop_token_ids.empty() && !setup_.ignore_eos;
  return being_sampled && device_sees_end && completion_tokens_ + 1 < setup_.max_tokens;
}

bool Turn::SamplesAfter(int count) const {
  if (!samples_ || launched_ < replay_end_) return false;
  return launched_ == feed_end_ || launched_ + static_cast<size_t>(count) == feed_end_;
}

int Turn::FirstLogits(int count) const {
  if (launched_ < replay_end_) return count;
  if (setup_.prompt_logprobs && !decoding()) return 0;
  return SamplesOnHost(count) ? count - 1 : count;
}

int Turn::most_logits() const {
  if (setup_.host == nullptr || launched_ < replay_end_) return 0;
  if (setup_.prompt_logprobs && !decoding()) return static_cast<int>(rows_left());
  return host_sampled() ? 1 : 0;
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
  if (first_step_.has_value()) return;
  first_step_ = now;
  delta_.text = std::exchange(setup_.echo, "");
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
  setup_.cache.digest = ExtendTokenDigest(setup_.cache.digest,
                                          std::span<const int32_t>(feed_).subspan(next_, static_cast<size_t>(count)));
  if (!replaying()) rows_fed_ += count;
  next_ += static_cast<size_t>(count);
}

void Turn::AddScores(std::span<const kernels::TokenScore> scores) {
  CASCADE_CHECK(setup_.kind == TurnKind::kScore && next_ + scores.size() < feed_.size());
  const auto ids = feed_.begin() + static_cast<ptrdiff_t>(next_) + 1;
  delta_.token_ids.insert(delta_.token_ids.end(), ids, ids + static_cast<ptrdiff_t>(scores.size()));
  delta_.scores.insert(delta_.scores.end(), scores.begin(), scores.end());
}

HostRows Turn::BeginHost(int count, bool samples) {
  HostRows rows;
  rows.logits = std::move(host_memory_);
  rows.logits.clear();
  if (setup_.prompt_logprobs && !decoding()) {
    const size_t begin = next_ + 1;
    const size_t end = std::min(feed_.size(), begin + static_cast<size_t>(count));
    rows.targets.assign(feed_.begin() + static_cast<ptrdiff_t>(begin), feed_.begin() + static_cast<ptrdiff_t>(end));
  }
  Fed(count);
  rows.samples = samples;
  rows.position = static_cast<uint64_t>(setup_.cache.plan.tokens_seen());
  awaiting_ = true;
  return rows;
}

void Turn::EndHost(HostResult& result) {
  CASCADE_CHECK(awaiting_);
  awaiting_ = false;
  host_memory_ = std::move(result.memory);
  delta_.prompt_logprobs.insert(delta_.prompt_logprobs.end(), std::make_move_iterator(result.prompt.begin()),
                                std::make_move_iterator(result.prompt.end()));
}

FinishReason Turn::AddSampled(int32_t id, SteadyTime now, std::optional<TokenLogprobs> logprobs) {
  CASCADE_CHECK(samples_ && all_fed() && !awaiting_);
  if (!first_sampled_.has_value()) first_sampled_ = now;
  last_sampled_ = now;
  ++completion_tokens_;
  if (completion_tokens_ == 1) {
    Say(std::span<const int32_t>(feed_).subspan(replay_end_ + (had_pending_ ? 1 : 0)));
    std::vector<int32_t>().swap(feed_);  // a long prompt's memory
  }
  Say({&id, 1});
  // The rows of a prompt were many; and where the device goes on there are no others.
  if (!host_memory_.empty() && (!host_sampled() || (completion_tokens_ == 1 && setup_.prompt_logprobs))) {
    std::vector<float>().swap(host_memory_);
  }
  if (setup_.journaled || setup_.leaves_prefix) added_.push_back(id);
  replay_end_ = 0;
  feed_.assign(1, id);
  next_ = 0;
  launched_ = std::exchange(unknown_launched_, false) ? 1 : 0;
  feed_end_ = 1;
  delta_.token_ids.push_back(id);
  if (logprobs.has_value()) delta_.logprobs.push_back(*std::move(logprobs));

  if (EndsReply(id)) {
    delta_.stop_token_id = id;
    if (setup_.include_stop) delta_.text += TextOfStop(id);
    return FinishReason::kStop;
  }
  delta_.text += decoder_.Append(id);
  if (decoder_.stopped()) {
    reply_ended_ = true;
    delta_.stop_sequence = decoder_.matched_stop();
    if (setup_.include_stop) delta_.text += decoder_.matched_stop();
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

void Turn::Say(std::span<const int32_t> ids) {
  if (one_shot()) return;
  ids = ids.last(std::min(ids.size(), kRecentIds));
  said_.insert(said_.end(), ids.begin(), ids.end());
  if (said_.size() > 2 * kRecentIds) said_.erase(said_.begin(), said_.end() - static_cast<ptrdiff_t>(kRecentIds));
}

// A control token has no bytes, but a name.
std::string Turn::TextOfStop(int32_t id) {
  if (tokenizer_.IsControl(id)) {
    std::string text = decoder_.Finish();
    reply_ended_ = true;
    return text.append(tokenizer_.TokenText(id));
  }
  std::string text = decoder_.Append(id);
  if (decoder_.stopped()) text += decoder_.matched_stop();
  return text;
}

bool Turn::EndsReply(int32_t id) const {
  const std::vector<int32_t>& stops = setup_.stop_token_ids;
  return std::find(stops.begin(), stops.end(), id) != stops.end() || (!setup_.ignore_eos && IsEnd(id));
}

bool Turn::IsEnd(int32_t id) const {
  const std::vector<int32_t>& ends = tokenizer_.end_ids();
  return std::find(ends.begin(), ends.end(), id) != ends.end();
}

}  // namespace cascade
