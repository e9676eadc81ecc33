#include "engine/turn_validation.h"

#include "absl/strings/str_cat.h"

namespace cascade {
namespace {

absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

// Comparisons are written so that NaN fails them.
absl::Status ValidateSampling(const SamplingParams& sampling, int64_t vocabulary) {
  if (!(sampling.temperature >= 0.0f && sampling.temperature <= 2.0f)) {
    return Invalid(absl::StrCat("sampling.temperature must be in [0, 2], got ", sampling.temperature));
  }
  if (sampling.top_k < 0 || sampling.top_k > vocabulary) {
    return Invalid(absl::StrCat("sampling.top_k must be in [0, ", vocabulary, "], got ", sampling.top_k));
  }
  if (!(sampling.top_p > 0.0f && sampling.top_p <= 1.0f)) {
    return Invalid(absl::StrCat("sampling.top_p must be in (0, 1], got ", sampling.top_p));
  }
  if (!(sampling.min_p >= 0.0f && sampling.min_p <= 1.0f)) {
    return Invalid(absl::StrCat("sampling.min_p must be in [0, 1], got ", sampling.min_p));
  }
  return absl::OkStatus();
}

absl::Status ValidateStopping(const TurnRequest& request) {
  if (request.max_tokens.has_value() && *request.max_tokens < 0) {
    return Invalid(absl::StrCat("stopping.max_tokens must be at least 0, got ", *request.max_tokens));
  }
  if (request.stop.size() > kMaxStopStrings) {
    return Invalid(
        absl::StrCat("stopping.stop must have at most ", kMaxStopStrings, " strings, got ", request.stop.size()));
  }
  for (size_t i = 0; i < request.stop.size(); ++i) {
    if (request.stop[i].empty() || request.stop[i].size() > kMaxStopBytes) {
      return Invalid(absl::StrCat("stopping.stop[", i, "] must have 1 to ", kMaxStopBytes, " bytes, got ",
                                  request.stop[i].size()));
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateSize(const char* field, int64_t bytes, int64_t max_prompt_bytes) {
  if (bytes <= max_prompt_bytes) return absl::OkStatus();
  return Invalid(absl::StrCat(field, " must be at most max_prompt_bytes = ", max_prompt_bytes, " bytes, got ", bytes));
}

absl::Status ValidateIds(const std::vector<int32_t>& ids, const TurnLimits& limits) {
  const auto bytes = static_cast<int64_t>(ids.size() * sizeof(int32_t));
  if (absl::Status status = ValidateSize("prompt.token_ids", bytes, limits.max_prompt_bytes); !status.ok()) {
    return status;
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= limits.vocabulary) {
      return Invalid(absl::StrCat("prompt.token_ids.ids[", i, "] must be in [0, ", limits.vocabulary, ")"));
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateMessages(const std::vector<ChatMessage>& messages, TurnKind kind, const TurnLimits& limits) {
  if (kind == TurnKind::kScore) return Invalid("prompt.messages must not be set: what is scored is text or token_ids");
  if (!limits.has_chat_template) return Invalid("prompt.messages must not be set: the server has no chat template");
  int64_t bytes = 0;
  for (const ChatMessage& message : messages)
    bytes += static_cast<int64_t>(message.role.size() + message.content.size());
  return ValidateSize("prompt.messages", bytes, limits.max_prompt_bytes);
}

absl::Status ValidatePrompt(const TurnRequest& request, const TurnLimits& limits) {
  if (const auto* text = std::get_if<TextPrompt>(&request.prompt)) {
    return ValidateSize("prompt.text", static_cast<int64_t>(text->text.size()), limits.max_prompt_bytes);
  }
  if (const auto* ids = std::get_if<std::vector<int32_t>>(&request.prompt)) return ValidateIds(*ids, limits);
  return ValidateMessages(std::get<std::vector<ChatMessage>>(request.prompt), request.kind, limits);
}

}  // namespace

absl::Status ValidateTurn(const TurnRequest& request, const TurnLimits& limits) {
  if (request.expected_position.has_value()) {
    if (*request.expected_position < 0) {
      return Invalid(absl::StrCat("expected_position must be at least 0, got ", *request.expected_position));
    }
    if (request.session_id.empty()) return Invalid("expected_position must not be set without session_id");
  }
  if (absl::Status status = ValidatePrompt(request, limits); !status.ok()) return status;
  if (request.kind == TurnKind::kScore) return absl::OkStatus();  // neither samples nor stops
  if (absl::Status status = ValidateSampling(request.sampling, limits.vocabulary); !status.ok()) return status;
  return ValidateStopping(request);
}

}  // namespace cascade
