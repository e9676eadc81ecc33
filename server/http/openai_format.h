// What turns have produced, in OpenAI's shapes. Pure; one of them per call.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/text/tokenizer.h"
#include "engine/turn_request.h"
#include "server/http/http_context.h"
#include "server/http/openai_request.h"

namespace cascade {

// One reply while it is made.
struct OpenAiChoice {
  TurnDelta result = {};  // a whole answer: all so far. A stream: its end
  bool begun = false;     // its first chunk is out
  bool finished = false;
  bool prompt_begun = false;                              // of echoed logprobs: the first token is out
  int64_t characters = 0;                                 // before the next token, for text_offset
  std::optional<int32_t> first_prompt_id = std::nullopt;  // has no logprob
};

class OpenAiFormat {
 public:
  // `request`: its prompts are not looked at. `tokenizer` and `model` outlive it.
  OpenAiFormat(const OpenAiRequest& request, const std::vector<int32_t>& stop_token_ids, const std::string& session_id,
               const std::string& id, int64_t created, const ServedModel& model, const Tokenizer& tokenizer);

  // `data: ..` events, each with its empty line: what `delta` adds to a choice; nothing where it adds nothing that is
  // seen. Much at once is cut into several.
  void AppendChunks(int index, const TurnDelta& delta, OpenAiChoice* choice, std::string* out) const;
  // After the last choice: the usage, if it was asked for, and the end.
  void AppendEnd(const std::vector<OpenAiChoice>& choices, std::string* out) const;
  static void AppendErrorAndEnd(const absl::Status& status, std::string* out);

  // A whole answer.
  std::string Whole(const std::vector<OpenAiChoice>& choices) const;
  // Roughly its bytes: more than a little is not for the I/O thread.
  static size_t WholeBytes(const std::vector<OpenAiChoice>& choices);

  // OK for a turn that has ended as a reply may.
  static absl::Status FinalStatus(const TurnDelta& delta);

 private:
  void AppendTokenText(int32_t id, std::string* out) const;
  void AppendTokenBytes(int32_t id, std::string* out) const;
  void AppendChatLogprobs(const TurnDelta& delta, size_t from, size_t count, std::string* out) const;
  void AppendCompletionLogprobs(const TurnDelta& delta, size_t from, size_t count, OpenAiChoice* choice,
                                std::string* out) const;
  void AppendPromptLogprobs(const OpenAiChoice& choice, std::string* out) const;
  void AppendLogprobs(const TurnDelta& delta, size_t from, size_t count, OpenAiChoice* choice, std::string* out) const;
  void AppendFinish(const TurnDelta& delta, std::string* out) const;
  void AppendTurn(const TurnDelta& delta, std::string* out) const;
  void AppendUsage(const std::vector<OpenAiChoice>& choices, std::string* out) const;

  const OpenAiKind kind_;
  const int n_;
  const bool include_usage_, logprobs_, prompt_logprobs_, echo_logprobs_;
  const std::vector<int32_t> stop_token_ids_;
  const std::string session_id_;
  const Tokenizer& tokenizer_;
  std::string head_;   // {"id":..,"object":..,..,"choices":[
  std::string chunk_;  // the same of a stream's
};

}  // namespace cascade
