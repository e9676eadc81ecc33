// A request's prompt to the ids that it adds to its session.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "engine/turn_request.h"

namespace cascade {

// Where a session stands; as it is here for a new or one-shot one.
struct PromptPlace {
  int64_t position = 0;
  ReplyEnd last_reply = ReplyEnd::kNone;
  int32_t last_id = -1;  // the session's last token; -1 at position 0
};

// Puts the tokenizer's start ids (BOS) before `ids`, unless they begin with them: a template, or a text with special tokens,
// may have written them.
void AddStart(const Tokenizer& tokenizer, std::vector<int32_t>* ids);

// Whether the request's messages end with the generation prompt. Those that only feed a conversation up to a reply
// (max_tokens 0, the last role `assistant`) do not.
bool AsksForReply(const TurnRequest& request);

// A session's first text or messages get the start ids (AddStart); token ids are taken as they are. Messages need `chat_template` (may be null else): the first turn is rendered whole, a later
// one as what it adds. INVALID_ARGUMENT names the field; an empty prompt is one at position 0, and a Score with nothing
// to score. FAILED_PRECONDITION: the template does not allow these messages on a session. Any thread; time is linear in
// the prompt.
absl::StatusOr<std::vector<int32_t>> EncodePrompt(const TurnRequest& request, const PromptPlace& place,
                                                  const Tokenizer& tokenizer, const ChatTemplate* chat_template);

}  // namespace cascade
