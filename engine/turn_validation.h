// What may be said of a request without looking at sessions, text or the model's state: pure.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "engine/turn_request.h"

namespace cascade {

struct TurnLimits {
  int64_t vocabulary = 0;
  int64_t max_prompt_bytes = 0;  // of text and messages; token ids count 4 bytes each
  int64_t default_max_tokens = 1024;
  bool has_chat_template = false;
};

constexpr int kMaxStopStrings = 16;
constexpr int kMaxStopBytes = 256;
constexpr int kMaxStopTokens = 16;
constexpr int kMaxRepeatLastN = 1024;  // not more than sessions remember (engine/session/recent_ids.h)
constexpr int kMaxLogitBias = 1024;
constexpr int kMaxAllowedTokens = 65536;
constexpr int kMaxLogprobs = 20;
constexpr int kMaxPriority = 100;  // and its negative
constexpr int kMaxSchemaBytes = 64 << 10;

// INVALID_ARGUMENT: "FIELD must ..", where FIELD is the name on the wire and comes first. Holds nothing of the prompt.
absl::Status ValidateTurn(const TurnRequest& request, const TurnLimits& limits);

}  // namespace cascade
