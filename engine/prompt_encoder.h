// A request's prompt to the ids that it adds to its session.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "engine/turn_request.h"

namespace cascade {

// `position` and `last_reply` are the session's; 0 and kNone for a new or one-shot one. A session's first text or
// messages get the tokenizer's start ids; token ids are taken as they are. Messages need `chat_template` (may be null
// else): the first turn is rendered whole, a later one as what it adds. INVALID_ARGUMENT names the field; an empty
// prompt is one at position 0, and a Score with nothing to score. Any thread; time is linear in the prompt.
absl::StatusOr<std::vector<int32_t>> EncodePrompt(const TurnRequest& request, int64_t position, ReplyEnd last_reply,
                                                  const Tokenizer& tokenizer, const ChatTemplate* chat_template);

}  // namespace cascade
