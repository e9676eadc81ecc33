#include "server/convert.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

namespace cascade {
namespace {

// What one message carries at most; far below gRPC's default limit of 4 MiB for a client.
constexpr size_t kPieceTextBytes = 256 << 10;
constexpr size_t kPieceTokens = 16 << 10;

constexpr size_t kMaxLabel = 64;
constexpr int kMaxPageSize = 1000;
constexpr int kDefaultPageSize = 100;

absl::StatusOr<Prompt> ToPrompt(bool has_prompt, v1::Prompt* prompt, bool allow_messages) {
  switch (has_prompt ? prompt->kind_case() : v1::Prompt::KIND_NOT_SET) {
    case v1::Prompt::kText:
      return TextPrompt{std::move(*prompt->mutable_text()), prompt->parse_special()};
    case v1::Prompt::kTokenIds:
      if (prompt->parse_special())
        return absl::InvalidArgumentError("prompt.parse_special must not be set without prompt.text");
      return std::vector<int32_t>(prompt->token_ids().ids().begin(), prompt->token_ids().ids().end());
    case v1::Prompt::kMessages:
      if (prompt->parse_special())
        return absl::InvalidArgumentError("prompt.parse_special must not be set without prompt.text");
      if (!allow_messages) {
        return absl::InvalidArgumentError("prompt.messages must not be set: what is scored is text or token_ids");
      }
      return ToChatMessages(prompt->mutable_messages()->mutable_messages());
    case v1::Prompt::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError(allow_messages ? "prompt must have one of text, token_ids and messages"
                                                   : "prompt must have one of text and token_ids");
}

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

}  // namespace

absl::StatusOr<TurnRequest> ToTurnRequest(v1::GenerateRequest request, SteadyTime deadline) {
  TurnRequest turn;
  turn.kind = TurnKind::kGenerate;
  turn.deadline = deadline;
  turn.session_id = std::move(*request.mutable_session_id());
  absl::StatusOr<Prompt> prompt = ToPrompt(request.has_prompt(), request.mutable_prompt(), true);
  if (!prompt.ok()) return prompt.status();
  turn.prompt = *std::move(prompt);
  const v1::SamplingParams& sampling = request.sampling();
  if (sampling.has_temperature()) turn.sampling.temperature = sampling.temperature();
  if (sampling.has_top_k()) turn.sampling.top_k = sampling.top_k();
  if (sampling.has_top_p()) turn.sampling.top_p = sampling.top_p();
  if (sampling.has_min_p()) turn.sampling.min_p = sampling.min_p();
  if (sampling.has_seed()) turn.sampling.seed = sampling.seed();
  if (request.stopping().has_max_tokens()) {
    const int64_t max_tokens = request.stopping().max_tokens();
    if (max_tokens < 0)
      return absl::InvalidArgumentError(absl::StrCat("stopping.max_tokens must be at least 0, got ", max_tokens));
    turn.max_tokens = max_tokens;
  }
  auto& stop = *request.mutable_stopping()->mutable_stop();
  turn.stop.assign(std::make_move_iterator(stop.begin()), std::make_move_iterator(stop.end()));
  const auto position = ExpectedPosition(request.has_expected_position(), request.expected_position());
  if (!position.ok()) return position.status();
  turn.expected_position = *position;
  return turn;
}

absl::StatusOr<TurnRequest> ToTurnRequest(v1::ScoreRequest request, SteadyTime deadline) {
  TurnRequest turn;
  turn.kind = TurnKind::kScore;
  turn.deadline = deadline;
  turn.session_id = std::move(*request.mutable_session_id());
  absl::StatusOr<Prompt> prompt = ToPrompt(request.has_prompt(), request.mutable_prompt(), false);
  if (!prompt.ok()) return prompt.status();
  turn.prompt = *std::move(prompt);
  turn.max_tokens = 0;  // only fed
  const auto position = ExpectedPosition(request.has_expected_position(), request.expected_position());
  if (!position.ok()) return position.status();
  turn.expected_position = *position;
  return turn;
}

absl::StatusOr<std::optional<int64_t>> ExpectedPosition(bool has, int64_t value) {
  if (!has) return std::nullopt;
  if (value < 0) return absl::InvalidArgumentError(absl::StrCat("expected_position must be at least 0, got ", value));
  return value;
}

absl::Status CheckLabel(const std::string& label) {
  const bool known = std::all_of(label.begin(), label.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
  if (known && label.size() <= kMaxLabel) return absl::OkStatus();
  return absl::InvalidArgumentError("label must be at most 64 of A-Z, a-z, 0-9, _ and -");
}

absl::StatusOr<int> PageSize(const v1::ListSessionsRequest& request) {
  if (!request.has_page_size()) return kDefaultPageSize;
  if (request.page_size() >= 1 && request.page_size() <= kMaxPageSize) return request.page_size();
  return absl::InvalidArgumentError(
      absl::StrCat("page_size must be in [1, ", kMaxPageSize, "], got ", request.page_size()));
}

absl::StatusOr<std::vector<int>> CheckIndices(const std::string& field,
                                              const google::protobuf::RepeatedField<int32_t>& values, int limit) {
  std::vector<int> indices;
  std::vector<bool> seen(static_cast<size_t>(limit), false);
  for (int i = 0; i < values.size(); ++i) {
    const int value = values.Get(i);
    if (value < 0 || value >= limit) {
      return absl::InvalidArgumentError(absl::StrCat(field, "[", i, "] must be in [0, ", limit, "), got ", value));
    }
    if (!seen[static_cast<size_t>(value)]) indices.push_back(value);
    seen[static_cast<size_t>(value)] = true;
  }
  return indices;
}

std::vector<ChatMessage> ToChatMessages(google::protobuf::RepeatedPtrField<v1::Message>* messages) {
  std::vector<ChatMessage> result;
  result.reserve(static_cast<size_t>(messages->size()));
  for (v1::Message& message : *messages) {
    result.push_back({std::move(*message.mutable_role()), std::move(*message.mutable_content())});
  }
  return result;
}

absl::Status CheckSessionId(const std::string& id) {
  return id.empty() ? absl::InvalidArgumentError("session_id must be set") : absl::OkStatus();
}

bool NextPiece(const TurnDelta& delta, DeltaPosition* position, v1::GenerateResponse* response) {
  response->Clear();
  const std::string_view text = WholeCharacters(delta.text, position->text, kPieceTextBytes);
  const size_t tokens = std::min(kPieceTokens, delta.token_ids.size() - position->tokens);
  const int32_t* ids = delta.token_ids.data() + position->tokens;
  response->set_text(text.data(), text.size());
  response->mutable_token_ids()->Add(ids, ids + tokens);
  position->text += text.size();
  position->tokens += tokens;
  if (position->text < delta.text.size() || position->tokens < delta.token_ids.size()) return false;
  if (delta.finished) {
    response->set_finish_reason(ToWire(delta.finish_reason));
    response->set_stop_sequence(delta.stop_sequence);
    *response->mutable_usage() = ToWire(delta.usage);
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
  if (delta.finished) *response->mutable_usage() = ToWire(delta.usage);
  return true;
}

v1::Usage ToWire(const Usage& usage) {
  v1::Usage wire;
  wire.set_prompt_tokens(usage.prompt_tokens);
  wire.set_completion_tokens(usage.completion_tokens);
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
  wire.set_state(session.state == SessionState::kBusy ? v1::SESSION_STATE_BUSY : v1::SESSION_STATE_RESIDENT);
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
