#include "engine/turn_validation.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/session/recent_ids.h"

namespace cascade {
namespace {

static_assert(kMaxRepeatLastN <= kRecentIds);

absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

template <class T>
absl::Status CheckRange(const char* field, T value, T low, T high) {
  if (value >= low && value <= high) return absl::OkStatus();  // NaN is not
  return Invalid(absl::StrCat(field, " must be in [", low, ", ", high, "], got ", value));
}

// No id twice.
absl::Status CheckIds(const char* field, const std::vector<int32_t>& ids, int most, int64_t vocabulary) {
  if (ids.size() > static_cast<size_t>(most)) {
    return Invalid(absl::StrCat(field, " must have at most ", most, " ids, got ", ids.size()));
  }
  std::vector<bool> seen(static_cast<size_t>(vocabulary));
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocabulary) {
      return Invalid(absl::StrCat(field, "[", i, "] must be in [0, ", vocabulary, ")"));
    }
    if (seen[static_cast<size_t>(ids[i])]) return Invalid(absl::StrCat(field, "[", i, "] must not be there twice"));
    seen[static_cast<size_t>(ids[i])] = true;
  }
  return absl::OkStatus();
}

absl::Status ValidateLogitRules(const SamplingParams& sampling, int64_t vocabulary) {
  if (!(sampling.repetition_penalty > 0.0f && sampling.repetition_penalty <= 2.0f)) {
    return Invalid(absl::StrCat("sampling.repetition_penalty must be in (0, 2], got ", sampling.repetition_penalty));
  }
  absl::Status status = CheckRange("sampling.repeat_last_n", sampling.repeat_last_n, 0, kMaxRepeatLastN);
  if (status.ok()) status = CheckRange("sampling.frequency_penalty", sampling.frequency_penalty, -2.0f, 2.0f);
  if (status.ok()) status = CheckRange("sampling.presence_penalty", sampling.presence_penalty, -2.0f, 2.0f);
  if (!status.ok()) return status;
  if (sampling.logit_bias.size() > static_cast<size_t>(kMaxLogitBias)) {
    return Invalid(absl::StrCat("sampling.logit_bias must have at most ", kMaxLogitBias, " ids, got ",
                                sampling.logit_bias.size()));
  }
  std::vector<int32_t> biased;
  for (const auto& [id, bias] : sampling.logit_bias) {
    if (id < 0 || id >= vocabulary) {
      return Invalid(absl::StrCat("sampling.logit_bias must have ids in [0, ", vocabulary, ")"));
    }
    if (!(bias >= -100.0f && bias <= 100.0f)) {
      return Invalid(absl::StrCat("sampling.logit_bias must have values in [-100, 100], got ", bias));
    }
    biased.push_back(id);
  }
  std::sort(biased.begin(), biased.end());
  if (std::adjacent_find(biased.begin(), biased.end()) != biased.end()) {
    return Invalid("sampling.logit_bias must have no id twice");
  }
  return CheckIds("sampling.allowed_token_ids", sampling.allowed_token_ids, kMaxAllowedTokens, vocabulary);
}

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
  return ValidateLogitRules(sampling, vocabulary);
}

absl::Status ValidateStopping(const TurnRequest& request, const TurnLimits& limits) {
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
  absl::Status status = CheckIds("stopping.stop_token_ids", request.stop_token_ids, kMaxStopTokens, limits.vocabulary);
  if (!status.ok()) return status;
  const int64_t max_tokens = request.max_tokens.value_or(limits.default_max_tokens);
  if (request.min_tokens >= 0 && request.min_tokens <= max_tokens) return absl::OkStatus();
  return Invalid(
      absl::StrCat("stopping.min_tokens must be in [0, max_tokens = ", max_tokens, "], got ", request.min_tokens));
}

absl::Status ValidateOutput(const TurnRequest& request) {
  absl::Status status = CheckRange("logprobs", request.logprobs.value_or(0), 0, kMaxLogprobs);
  if (status.ok()) status = CheckRange("prompt_logprobs", request.prompt_logprobs.value_or(0), 0, kMaxLogprobs);
  if (status.ok()) status = CheckRange("priority", request.priority, -kMaxPriority, kMaxPriority);
  if (!status.ok()) return status;
  if (request.echo && std::holds_alternative<std::vector<ChatMessage>>(request.prompt)) {
    return Invalid("echo must not be set with prompt.messages");
  }
  if (request.json_schema.size() > static_cast<size_t>(kMaxSchemaBytes)) {
    return Invalid(absl::StrCat("response_format must have at most ", kMaxSchemaBytes, " bytes, got ",
                                request.json_schema.size()));
  }
  if (!request.json_schema.empty() && request.ignore_eos) {
    return Invalid("stopping.ignore_eos must not be set with response_format: the reply ends with its document");
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
  if (absl::Status status = ValidateStopping(request, limits); !status.ok()) return status;
  return ValidateOutput(request);
}

}  // namespace cascade
