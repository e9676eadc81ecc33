#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <string_view>

#include "server/convert.h"

namespace cascade {
namespace {

// What one message carries at most; far below gRPC's default limit of 4 MiB for a client.
constexpr size_t kPieceTextBytes = 256 << 10;
constexpr size_t kPieceTokens = 16 << 10;
// .. of log-probabilities, each with up to 20 more.
constexpr size_t kPieceLogprobs = 2 << 10;

// `size` bytes of `text` from `from` on, or a few less so that no character is cut.
std::string_view WholeCharacters(std::string_view text, size_t from, size_t size) {
  size_t end = std::min(text.size(), from + size);
  while (end < text.size() && end > from && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(from, end - from);
}

const char* Name(kernels::Selection selection) {
  switch (selection) {
    case kernels::Selection::kBoth:
      return "both";
    case kernels::Selection::kAttention:
      return "attention";
    case kernels::Selection::kDistinctness:
      return "distinctness";
  }
  return "";
}

google::protobuf::Duration ToDuration(std::chrono::nanoseconds time) {
  return google::protobuf::util::TimeUtil::NanosecondsToDuration(time.count());
}

google::protobuf::Timestamp ToTimestamp(std::chrono::system_clock::time_point time) {
  return google::protobuf::util::TimeUtil::NanosecondsToTimestamp(
      std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count());
}

v1::SessionState ToWire(SessionState state) {
  switch (state) {
    case SessionState::kResident:
      return v1::SESSION_STATE_RESIDENT;
    case SessionState::kParkedHost:
      return v1::SESSION_STATE_PARKED_HOST;
    case SessionState::kParkedDisk:
      return v1::SESSION_STATE_PARKED_DISK;
    case SessionState::kBusy:
      return v1::SESSION_STATE_BUSY;
  }
  return v1::SESSION_STATE_UNSPECIFIED;
}

v1::Acknowledgement ToWire(const Acknowledgement& acknowledgement) {
  v1::Acknowledgement wire;
  wire.set_turn(acknowledgement.turn);
  wire.set_digest(acknowledgement.digest);
  wire.set_durability(ToWire(acknowledgement.durability));
  return wire;
}

void ToWire(int32_t id, const TokenLogprobs& logprobs, v1::TokenLogprobs* wire) {
  wire->set_token_id(id);
  wire->set_logprob(logprobs.logprob);
  for (const TokenLogprob& top : logprobs.top) {
    v1::TokenLogprob& added = *wire->add_top();
    added.set_token_id(top.id);
    added.set_logprob(top.logprob);
  }
}

}  // namespace

bool NextPiece(const TurnDelta& delta, DeltaPosition* position, v1::GenerateResponse* response) {
  response->Clear();
  response->set_index(position->index);
  const size_t prompt = std::min(kPieceLogprobs, delta.prompt_logprobs.size() - position->prompt);
  for (size_t i = position->prompt; i < position->prompt + prompt; ++i) {
    ToWire(delta.prompt_logprobs[i].first, delta.prompt_logprobs[i].second, response->add_prompt_logprobs());
  }
  position->prompt += prompt;
  const std::string_view text = WholeCharacters(delta.text, position->text, kPieceTextBytes);
  const size_t most = delta.logprobs.empty() ? kPieceTokens : kPieceLogprobs - prompt;
  const size_t tokens = std::min(most, delta.token_ids.size() - position->tokens);
  const int32_t* ids = delta.token_ids.data() + position->tokens;
  response->set_text(text.data(), text.size());
  response->mutable_token_ids()->Add(ids, ids + tokens);
  for (size_t i = position->tokens; i < position->tokens + tokens && !delta.logprobs.empty(); ++i) {
    ToWire(delta.token_ids[i], delta.logprobs[i], response->add_logprobs());
  }
  position->text += text.size();
  position->tokens += tokens;
  if (position->text < delta.text.size() || position->tokens < delta.token_ids.size() ||
      position->prompt < delta.prompt_logprobs.size()) {
    // Text and ids of a piece end in different places: who has this much only has all that came before the delta.
    response->set_seq(std::max<int64_t>(0, delta.seq - static_cast<int64_t>(delta.token_ids.size())));
    return false;
  }
  response->set_seq(delta.seq);
  if (delta.finished) {
    response->set_finish_reason(ToWire(delta.finish_reason));
    response->set_stop_sequence(delta.stop_sequence);
    if (delta.stop_token_id.has_value()) response->set_stop_token_id(*delta.stop_token_id);
    *response->mutable_usage() = ToWire(delta.usage);
    if (delta.acknowledgement.has_value()) *response->mutable_acknowledgement() = ToWire(*delta.acknowledgement);
  }
  return true;
}

bool NextPiece(const TurnDelta& delta, DeltaPosition* position, v1::ScoreResponse* response) {
  response->Clear();
  const size_t tokens = std::min(kPieceTokens, delta.token_ids.size() - position->tokens);
  for (size_t i = position->tokens; i < position->tokens + tokens; ++i) {
    response->add_token_ids(delta.token_ids[i]);
    response->add_logprobs(delta.scores[i].logprob);
    response->add_top_ids(delta.scores[i].top_id);
    response->add_top_margins(delta.scores[i].top_margin);
  }
  response->set_tokens_total(delta.score_total);
  position->tokens += tokens;
  if (position->tokens < delta.token_ids.size()) return false;
  if (delta.finished) {
    *response->mutable_usage() = ToWire(delta.usage);
    if (delta.acknowledgement.has_value()) *response->mutable_acknowledgement() = ToWire(*delta.acknowledgement);
  }
  return true;
}

v1::Usage ToWire(const Usage& usage) {
  v1::Usage wire;
  wire.set_prompt_tokens(usage.prompt_tokens);
  wire.set_completion_tokens(usage.completion_tokens);
  wire.set_cached_tokens(usage.cached_tokens);
  wire.set_session_tokens_seen(usage.session_tokens_seen);
  wire.set_tokens_resident(usage.tokens_resident);
  wire.set_tokens_evicted(usage.tokens_evicted);
  wire.set_cache_bytes(usage.cache_bytes);
  wire.set_position(usage.session_tokens_seen);
  *wire.mutable_queue_time() = ToDuration(usage.queue_time);
  *wire.mutable_prefill_time() = ToDuration(usage.prefill_time);
  *wire.mutable_decode_time() = ToDuration(usage.decode_time);
  return wire;
}

v1::FinishReason ToWire(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone:
      return v1::FINISH_REASON_UNSPECIFIED;
    case FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case FinishReason::kStopSequence:
      return v1::FINISH_REASON_STOP_SEQUENCE;
    case FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
    case FinishReason::kCancelled:
      return v1::FINISH_REASON_CANCELLED;
    case FinishReason::kDeadline:
      return v1::FINISH_REASON_DEADLINE;
    case FinishReason::kError:
      return v1::FINISH_REASON_ERROR;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

v1::Durability ToWire(Durability durability) {
  switch (durability) {
    case Durability::kNone:
      return v1::DURABILITY_NONE;
    case Durability::kJournal:
      return v1::DURABILITY_JOURNAL;
    case Durability::kImage:
      return v1::DURABILITY_IMAGE;
  }
  return v1::DURABILITY_UNSPECIFIED;
}

v1::CacheGeometry ToWire(const CascadeGeometry& geometry) {
  v1::CacheGeometry wire;
  wire.set_num_sinks(geometry.num_sinks);
  for (const int tokens : geometry.sub_cache_tokens) wire.add_sub_cache_tokens(tokens);
  wire.set_stride(geometry.stride);
  wire.set_selection_group(geometry.selection_group);
  wire.set_selection(Name(geometry.selection));
  wire.set_ema_decay(geometry.ema_decay);
  wire.set_score_reduction(geometry.score_reduction == kernels::ScoreReduction::kMean ? "mean" : "max");
  return wire;
}

v1::Session ToWire(const SessionInfo& session, const EngineOptions& options) {
  v1::Session wire;
  wire.set_session_id(session.id);
  wire.set_label(session.label);
  wire.set_state(ToWire(session.state));
  *wire.mutable_geometry() = ToWire(options.geometry);
  wire.set_position(session.position);
  wire.set_tokens_resident(session.tokens_resident);
  wire.set_tokens_evicted(session.tokens_evicted);
  wire.set_turns(session.turns);
  *wire.mutable_created() = ToTimestamp(session.created);
  *wire.mutable_last_used() = ToTimestamp(session.last_used);
  if (session.expires.has_value()) *wire.mutable_expires() = ToTimestamp(*session.expires);
  wire.set_cache_bytes(static_cast<int64_t>(options.cache_bytes_per_slot));
  wire.set_last_finish_reason(ToWire(session.last_finish));
  wire.set_durability(ToWire(session.durability));
  wire.set_digest(session.digest);
  wire.set_journal_bytes(session.journal_bytes);
  return wire;
}

v1::InspectSessionResponse ToWire(const HeadView& head, int64_t position) {
  v1::InspectSessionResponse wire;
  wire.set_layer(head.layer);
  wire.set_kv_head(head.kv_head);
  const int size = static_cast<int>(head.tokens.size());
  wire.mutable_token_indices()->Reserve(size);
  wire.mutable_sub_caches()->Reserve(size);
  wire.mutable_scores()->Reserve(size);
  wire.mutable_distinctness()->Reserve(size);
  for (const HeldToken& token : head.tokens) {
    wire.add_token_indices(token.token);
    wire.add_sub_caches(token.sub_cache);
    wire.add_scores(token.score);
    wire.add_distinctness(token.distinctness);
  }
  wire.set_position(position);
  return wire;
}

}  // namespace cascade
