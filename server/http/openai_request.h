// Bodies of /v1/chat/completions and /v1/completions to turns. Here is everything about a request that depends on JSON:
// types, presence, names. Ranges that the engine knows are its own.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/turn_request.h"
#include "server/http/json_text.h"

namespace cascade {

enum class OpenAiKind : uint8_t { kChat, kCompletion };

constexpr int kMaxPrompts = 16;  // of one request
constexpr int kMaxChoices = 64;  // of all its prompts together
constexpr int kDefaultCompletionTokens = 16;

struct OpenAiRequest {
  OpenAiKind kind = OpenAiKind::kChat;
  std::string model;
  std::vector<TurnRequest> turns;  // one per prompt
  int n = 1;                       // replies to each
  bool stream = false;
  bool include_usage = false;    // of a stream
  bool logprobs = false;         // in the answer, of the reply
  bool prompt_logprobs = false;  // in the answer, in vLLM's form
  bool echo = false;

  // Whether the prompt's logprobs go before the reply's.
  bool echo_logprobs() const { return echo && logprobs; }
};

// INVALID_ARGUMENT names the field, also one that is not known or not supported. `session_header`: the header
// cascade-session-id, which may stand for the field; "": none.
absl::StatusOr<OpenAiRequest> ParseOpenAiRequest(OpenAiKind kind, const Json& body, const std::string& session_header);

// "none", "journal", "image"; nothing for another name.
std::optional<Durability> DurabilityNamed(const std::string& name);
const char* DurabilityName(Durability durability);

// messages: of a chat, also of /tokenize.
absl::StatusOr<std::vector<ChatMessage>> ParseMessages(const Json& messages);

// Whether the body asks for JSON of a schema, which takes time to compile.
bool AsksForSchema(const OpenAiRequest& request);

}  // namespace cascade
