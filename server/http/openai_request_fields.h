// The fields that chats and completions have in common, each group into its part of a turn. What is wrong stays in
// `fields`.
#pragma once

#include <string>

#include "server/http/json_fields.h"
#include "server/http/openai_request.h"

namespace cascade {

void ReadSampling(JsonFields& fields, SamplingParams* sampling);
void ReadStop(JsonFields& fields, TurnRequest* turn);
void ReadMaxTokens(JsonFields& fields, OpenAiKind kind, TurnRequest* turn);
// Also those of the prompt, which an echo with logprobs needs.
void ReadLogprobs(JsonFields& fields, OpenAiRequest* request, TurnRequest* turn);
void ReadResponseFormat(JsonFields& fields, TurnRequest* turn);
// `header`: cascade-session-id; "": none.
void ReadSession(JsonFields& fields, const std::string& header, TurnRequest* turn);
void ReadStreaming(JsonFields& fields, OpenAiRequest* request);
// What is accepted without effect, and what is refused by its name.
void ReadUnsupported(JsonFields& fields, OpenAiKind kind);

}  // namespace cascade
