#include "server/convert.h"

#include <algorithm>
#include <iterator>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/turn_validation.h"

namespace cascade {
namespace {

constexpr size_t kMaxLabel = 64;
constexpr size_t kMaxTurnId = 64;
constexpr int kMaxPageSize = 1000;
constexpr int kDefaultPageSize = 100;

// A number of which the engine's type holds less, or that means something else when it is negative.
absl::StatusOr<std::optional<int>> CheckLogprobs(const char* field, bool has, int32_t value) {
  if (!has) return std::nullopt;
  if (value >= 0 && value <= kMaxLogprobs) return value;
  return absl::InvalidArgumentError(absl::StrCat(field, " must be in [0, ", kMaxLogprobs, "], got ", value));
}

absl::StatusOr<std::string> ToJsonSchema(bool has_format, const v1::ResponseFormat& format) {
  if (!has_format) return "";
  switch (format.kind_case()) {
    case v1::ResponseFormat::kJsonSchema:
      if (!format.json_schema().empty()) return format.json_schema();
      return absl::InvalidArgumentError("response_format.json_schema must not be empty");
    case v1::ResponseFormat::kJsonObject:
      if (format.json_object()) return R"({"type":"object"})";
      return absl::InvalidArgumentError("response_format.json_object must be true where it is set");
    case v1::ResponseFormat::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("response_format must have one of json_schema and json_object");
}

void SetSampling(const v1::SamplingParams& wire, SamplingParams& sampling) {
  if (wire.has_temperature()) sampling.temperature = wire.temperature();
  if (wire.has_top_k()) sampling.top_k = wire.top_k();
  if (wire.has_top_p()) sampling.top_p = wire.top_p();
  if (wire.has_min_p()) sampling.min_p = wire.min_p();
  if (wire.has_seed()) sampling.seed = wire.seed();
  if (wire.has_repetition_penalty()) sampling.repetition_penalty = wire.repetition_penalty();
  if (wire.has_repeat_last_n()) sampling.repeat_last_n = wire.repeat_last_n();
  if (wire.has_frequency_penalty()) sampling.frequency_penalty = wire.frequency_penalty();
  if (wire.has_presence_penalty()) sampling.presence_penalty = wire.presence_penalty();
  sampling.logit_bias.assign(wire.logit_bias().begin(), wire.logit_bias().end());
  std::sort(sampling.logit_bias.begin(), sampling.logit_bias.end());  // a map's order is another in each process
  sampling.allowed_token_ids.assign(wire.allowed_token_ids().begin(), wire.allowed_token_ids().end());
}

absl::Status SetStopping(v1::StopParams& wire, TurnRequest& turn) {
  if (wire.has_max_tokens()) {
    if (wire.max_tokens() < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("stopping.max_tokens must be at least 0, got ", wire.max_tokens()));
    }
    turn.max_tokens = wire.max_tokens();
  }
  auto& stop = *wire.mutable_stop();
  turn.stop.assign(std::make_move_iterator(stop.begin()), std::make_move_iterator(stop.end()));
  turn.min_tokens = wire.min_tokens();
  turn.stop_token_ids.assign(wire.stop_token_ids().begin(), wire.stop_token_ids().end());
  turn.ignore_eos = wire.ignore_eos();
  turn.include_stop = wire.include_stop();
  return absl::OkStatus();
}

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

absl::Status CheckTurnId(const std::string& id) {
  const bool printable = std::all_of(id.begin(), id.end(), [](char c) { return c >= 0x20 && c <= 0x7E; });
  if (printable && id.size() <= kMaxTurnId) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("turn_id must be at most ", kMaxTurnId, " printable ASCII characters"));
}

absl::StatusOr<OnCancel> ToOnCancel(v1::OnCancel wire, TurnKind kind) {
  const bool generates = kind == TurnKind::kGenerate;
  switch (wire) {
    case v1::ON_CANCEL_UNSPECIFIED:
    case v1::ON_CANCEL_KEEP:
      return OnCancel::kKeep;
    case v1::ON_CANCEL_ROLLBACK:
      return OnCancel::kRollback;
    case v1::ON_CANCEL_CONTINUE:
      if (generates) return OnCancel::kContinue;
      break;
    default:
      break;
  }
  return absl::InvalidArgumentError(absl::StrCat("on_cancel must be KEEP",
                                                 generates ? ", ROLLBACK or CONTINUE" : " or ROLLBACK", ", got ",
                                                 static_cast<int>(wire)));
}

// What both kinds of turns say about their session.
template <class Request>
absl::Status SetSessionFields(Request& request, TurnRequest* turn) {
  turn->session_id = std::move(*request.mutable_session_id());
  const auto position = ExpectedPosition(request.has_expected_position(), request.expected_position());
  if (!position.ok()) return position.status();
  turn->expected_position = *position;
  if constexpr (std::is_same_v<Request, v1::GenerateRequest>) {
    if (absl::Status status = CheckTurnId(request.turn_id()); !status.ok()) return status;
    turn->turn_id = std::move(*request.mutable_turn_id());
  }
  const auto on_cancel = ToOnCancel(request.on_cancel(), turn->kind);
  if (!on_cancel.ok()) return on_cancel.status();
  turn->on_cancel = *on_cancel;
  const auto durability = ToDurability("durability", request.durability());
  if (!durability.ok()) return durability.status();
  turn->durability = *durability;
  const std::pair<const char*, bool> given[] = {{"turn_id", !turn->turn_id.empty()},
                                                {"on_cancel", request.on_cancel() != v1::ON_CANCEL_UNSPECIFIED},
                                                {"durability", turn->durability.has_value()}};
  for (const auto& [field, is_given] : given) {
    if (is_given && turn->session_id.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(field, " must not be set without session_id"));
    }
  }
  return absl::OkStatus();
}

// Of a field that counts turns.
absl::Status CheckTurns(const char* field, int64_t value, int64_t low) {
  if (value >= low) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, " must be at least ", low, ", got ", value));
}

}  // namespace

absl::StatusOr<TurnRequest> ToTurnRequest(v1::GenerateRequest request, SteadyTime deadline) {
  TurnRequest turn;
  turn.kind = TurnKind::kGenerate;
  turn.deadline = deadline;
  if (absl::Status status = SetSessionFields(request, &turn); !status.ok()) return status;
  absl::StatusOr<Prompt> prompt = ToPrompt(request.has_prompt(), request.mutable_prompt(), true);
  if (!prompt.ok()) return prompt.status();
  turn.prompt = *std::move(prompt);
  SetSampling(request.sampling(), turn.sampling);
  if (absl::Status status = SetStopping(*request.mutable_stopping(), turn); !status.ok()) return status;
  const auto logprobs = CheckLogprobs("logprobs", request.has_logprobs(), request.logprobs());
  if (!logprobs.ok()) return logprobs.status();
  turn.logprobs = *logprobs;
  const auto prompt_logprobs =
      CheckLogprobs("prompt_logprobs", request.has_prompt_logprobs(), request.prompt_logprobs());
  if (!prompt_logprobs.ok()) return prompt_logprobs.status();
  turn.prompt_logprobs = *prompt_logprobs;
  turn.echo = request.echo();
  absl::StatusOr<std::string> schema = ToJsonSchema(request.has_response_format(), request.response_format());
  if (!schema.ok()) return schema.status();
  turn.json_schema = *std::move(schema);
  turn.priority = request.priority();
  return turn;
}

absl::StatusOr<int> Replies(const v1::GenerateRequest& request) {
  if (!request.has_n()) return 1;
  if (request.n() < 1 || request.n() > Engine::kMaxReplies) {
    return absl::InvalidArgumentError(absl::StrCat("n must be in [1, ", Engine::kMaxReplies, "], got ", request.n()));
  }
  if (request.n() > 1 && !request.session_id().empty()) {
    return absl::InvalidArgumentError("n must be 1 with session_id: a session has one reply");
  }
  return request.n();
}

absl::StatusOr<TurnRequest> ToTurnRequest(v1::ScoreRequest request, SteadyTime deadline) {
  TurnRequest turn;
  turn.kind = TurnKind::kScore;
  turn.deadline = deadline;
  if (absl::Status status = SetSessionFields(request, &turn); !status.ok()) return status;
  absl::StatusOr<Prompt> prompt = ToPrompt(request.has_prompt(), request.mutable_prompt(), false);
  if (!prompt.ok()) return prompt.status();
  turn.prompt = *std::move(prompt);
  turn.max_tokens = 0;  // only fed
  return turn;
}

absl::StatusOr<std::optional<int64_t>> ExpectedPosition(bool has, int64_t value) {
  if (!has) return std::nullopt;
  if (value < 0) return absl::InvalidArgumentError(absl::StrCat("expected_position must be at least 0, got ", value));
  return value;
}

absl::StatusOr<std::optional<Durability>> ToDurability(const std::string& field, v1::Durability wire) {
  switch (wire) {
    case v1::DURABILITY_UNSPECIFIED:
      return std::nullopt;
    case v1::DURABILITY_NONE:
      return Durability::kNone;
    case v1::DURABILITY_JOURNAL:
      return Durability::kJournal;
    case v1::DURABILITY_IMAGE:
      return Durability::kImage;
    default:
      break;
  }
  return absl::InvalidArgumentError(
      absl::StrCat(field, " must be NONE, JOURNAL or IMAGE, got ", static_cast<int>(wire)));
}

absl::StatusOr<ParkTarget> ToParkTarget(v1::ParkTarget wire) {
  switch (wire) {
    case v1::PARK_TARGET_UNSPECIFIED:
      return ParkTarget::kAny;
    case v1::PARK_TARGET_HOST:
      return ParkTarget::kHost;
    case v1::PARK_TARGET_DISK:
      return ParkTarget::kDisk;
    default:
      break;
  }
  return absl::InvalidArgumentError(absl::StrCat("target must be HOST or DISK, got ", static_cast<int>(wire)));
}

absl::StatusOr<RewindRequest> ToRewindRequest(const v1::RewindSessionRequest& request) {
  RewindRequest rewind;
  absl::Status status = CheckSessionId(request.session_id());
  if (!status.ok()) return status;
  rewind.session_id = request.session_id();
  if (request.has_to_turn() && request.has_take_back()) {
    return absl::InvalidArgumentError("take_back must not be set with to_turn");
  }
  if (request.has_to_turn()) {
    status = CheckTurns("to_turn", request.to_turn(), 0);
    rewind.to_turn = request.to_turn();
  } else {
    rewind.take_back = request.has_take_back() ? request.take_back() : 1;
    status = CheckTurns("take_back", *rewind.take_back, 1);
  }
  if (!status.ok()) return status;
  const auto position = ExpectedPosition(request.has_expected_position(), request.expected_position());
  if (!position.ok()) return position.status();
  rewind.expected_position = *position;
  rewind.allow_replay = request.allow_replay();
  return rewind;
}

absl::StatusOr<int64_t> FromSeq(const v1::ResumeTurnRequest& request) {
  if (request.from_seq() >= 0) return request.from_seq();
  return absl::InvalidArgumentError(absl::StrCat("from_seq must be at least 0, got ", request.from_seq()));
}

absl::Status CheckLabel(const std::string& label, const std::string& field) {
  const bool known = std::all_of(label.begin(), label.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
  if (known && label.size() <= kMaxLabel) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, " must be at most 64 of A-Z, a-z, 0-9, _ and -"));
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

}  // namespace cascade
