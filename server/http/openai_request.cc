#include "server/http/openai_request.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/http/json_fields.h"
#include "server/http/openai_request_fields.h"

namespace cascade {
namespace {

constexpr int kMaxPriority = 100;

// The prompts of /v1/completions: text, texts, ids or lists of ids.
void ReadPrompts(JsonFields& fields, bool parse_special, std::vector<Prompt>* prompts) {
  const Json* prompt = fields.Find("prompt");
  const char* kinds = "must be a string, an array of strings, of token ids, or of arrays of token ids";
  if (prompt == nullptr) return fields.Fail("prompt", kinds);
  if (prompt->is_string()) return prompts->push_back(TextPrompt{prompt->get<std::string>(), parse_special});
  if (!prompt->is_array()) return fields.Fail("prompt", absl::StrCat(kinds, ", got ", JsonTypeName(*prompt)));
  if (prompt->empty() || prompt->front().is_number()) {
    if (auto ids = fields.Ids("prompt"); ids.has_value()) prompts->push_back(*std::move(ids));
    return;
  }
  if (prompt->size() > kMaxPrompts) {
    return fields.Fail("prompt", absl::StrCat("must have at most ", kMaxPrompts, " prompts, got ", prompt->size()));
  }
  const bool texts = prompt->front().is_string();
  for (size_t i = 0; i < prompt->size(); ++i) {
    const Json& one = (*prompt)[i];
    if (texts ? !one.is_string() : !one.is_array()) return fields.Fail(absl::StrCat("prompt[", i, "]"), kinds);
    if (texts) {
      prompts->push_back(TextPrompt{one.get<std::string>(), parse_special});
      continue;
    }
    const Json wrapped = {{"ids", one}};
    JsonFields inner(wrapped);
    auto ids = inner.Ids("ids");
    if (!ids.has_value()) return fields.Fail(absl::StrCat("prompt[", i, "]"), "must be an array of token ids");
    prompts->push_back(*std::move(ids));
  }
}

}  // namespace

absl::StatusOr<std::vector<ChatMessage>> ParseMessages(const Json& messages) {
  const auto invalid = [](auto... words) { return absl::InvalidArgumentError(absl::StrCat(words...)); };
  if (!messages.is_array()) return invalid("messages must be an array, got ", JsonTypeName(messages));
  std::vector<ChatMessage> result;
  for (const Json& message : messages) {
    const std::string place = absl::StrCat("messages[", result.size(), "]");
    if (!message.is_object()) return invalid(place, " must be an object, got ", JsonTypeName(message));
    JsonFields fields(message, absl::StrCat(place, "."));
    const auto role = fields.String("role");
    if (!role.has_value()) fields.Fail("role", "must be a string");
    // What a client sends back of an answer.
    for (const char* name : {"refusal", "annotations", "audio", "tool_calls", "function_call", "tool_call_id",
                             "reasoning_content", "reasoning", "name"}) {
      fields.Unsupported(name);
    }
    std::string text;
    const Json* content = fields.Find("content");
    if (content == nullptr) {
      fields.Fail("content", "must be a string or an array of text parts");
    } else if (content->is_string()) {
      text = content->get<std::string>();
    } else if (content->is_array()) {
      for (size_t i = 0; i < content->size(); ++i) {
        const Json& part = (*content)[i];
        const bool is_text = part.is_object() && part.value("type", Json()) == Json("text") && part.contains("text") &&
                             part["text"].is_string();
        if (!is_text) {
          fields.Fail(absl::StrCat("content[", i, "]"), R"(must be {"type": "text", "text": ".."})");
          break;
        }
        if (i > 0) text += '\n';
        text += part["text"].get<std::string>();
      }
    } else {
      fields.Fail("content", absl::StrCat("must be a string or an array of text parts, got ", JsonTypeName(*content)));
    }
    if (absl::Status status = fields.Finish(); !status.ok()) return status;
    // OpenAI's newer name; templates know the older one.
    result.push_back({*role == "developer" ? "system" : *role, std::move(text)});
  }
  return result;
}

absl::StatusOr<OpenAiRequest> ParseOpenAiRequest(OpenAiKind kind, const Json& body, const std::string& session_header) {
  JsonFields fields(body);
  OpenAiRequest request;
  request.kind = kind;
  const auto model = fields.String("model");
  if (!model.has_value()) fields.Fail("model", "must be a string");
  request.model = model.value_or("");
  TurnRequest turn;
  if (kind == OpenAiKind::kCompletion) request.echo = turn.echo = fields.Bool("echo").value_or(false);
  ReadSampling(fields, &turn.sampling);
  ReadStop(fields, &turn);
  ReadMaxTokens(fields, kind, &turn);
  ReadLogprobs(fields, &request, &turn);
  ReadResponseFormat(fields, &turn);
  ReadSession(fields, session_header, &turn);
  ReadStreaming(fields, &request);
  // vLLM's: lower ones start first.
  turn.priority = -static_cast<int>(fields.Int("priority", -kMaxPriority, kMaxPriority).value_or(0));
  request.n = static_cast<int>(fields.Int("n", 1, std::numeric_limits<int32_t>::max()).value_or(1));
  ReadUnsupported(fields, kind);

  std::vector<Prompt> prompts;
  if (kind == OpenAiKind::kChat) {
    const Json* messages = fields.Find("messages");
    absl::StatusOr<std::vector<ChatMessage>> parsed = ParseMessages(messages == nullptr ? Json() : *messages);
    if (!parsed.ok()) {
      fields.Fail("", std::string(parsed.status().message()));
    } else {
      prompts.emplace_back(*std::move(parsed));
    }
  } else {
    ReadPrompts(fields, fields.Bool("parse_special").value_or(true), &prompts);
  }
  if (absl::Status status = fields.Finish(); !status.ok()) return status;
  if (request.stream && request.prompt_logprobs) {
    return absl::InvalidArgumentError("prompt_logprobs must not be set with stream");
  }
  if (request.echo_logprobs() && !turn.session_id.empty()) {
    return absl::InvalidArgumentError("echo must not be set with logprobs and session_id: the session began earlier");
  }
  if (prompts.size() > 1 && !turn.session_id.empty()) {
    return absl::InvalidArgumentError("prompt must be one prompt with session_id: a session has one reply at a time");
  }
  if (static_cast<int64_t>(request.n) * static_cast<int64_t>(prompts.size()) > kMaxChoices) {
    return absl::InvalidArgumentError(
        absl::StrCat("n must be so that there are at most ", kMaxChoices, " choices in all"));
  }
  request.turns.assign(prompts.size(), turn);
  for (size_t i = 0; i < prompts.size(); ++i) request.turns[i].prompt = std::move(prompts[i]);
  return request;
}

bool AsksForSchema(const OpenAiRequest& request) {
  return !request.turns.empty() && !request.turns.front().json_schema.empty();
}

}  // namespace cascade
