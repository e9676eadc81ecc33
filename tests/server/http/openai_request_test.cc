// Bodies to turns: every field, and every way to get one wrong.
#include "server/http/openai_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/http/json_fields.h"
#include "server/http/openai_error.h"

namespace cascade {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

absl::StatusOr<OpenAiRequest> Parse(OpenAiKind kind, const std::string& text, const std::string& header = "") {
  const absl::StatusOr<Json> body = ParseJsonObject(text);
  if (!body.ok()) return body.status();
  return ParseOpenAiRequest(kind, *body, header);
}

// A chat's or completion's body with one more member.
std::string With(OpenAiKind kind, const std::string& member) {
  const std::string rest = member.empty() ? "" : ", " + member;
  return kind == OpenAiKind::kChat ? R"({"model": "m", "messages": [{"role": "user", "content": "hi"}])" + rest + "}"
                                   : R"({"model": "m", "prompt": "hi")" + rest + "}";
}
TurnRequest Turn(OpenAiKind kind, const std::string& member) {
  absl::StatusOr<OpenAiRequest> request = Parse(kind, With(kind, member));
  EXPECT_TRUE(request.ok()) << member << ": " << request.status();
  return request.ok() ? request->turns.front() : TurnRequest();
}
TurnRequest ChatTurn(const std::string& member) { return Turn(OpenAiKind::kChat, member); }
TurnRequest CompletionTurn(const std::string& member) { return Turn(OpenAiKind::kCompletion, member); }

TEST(OpenAiRequestTest, DefaultsAreOpenAis) {
  const TurnRequest chat = ChatTurn("");
  EXPECT_EQ(chat.sampling.temperature, 1);
  EXPECT_EQ(chat.sampling.top_p, 1);
  EXPECT_FALSE(chat.max_tokens.has_value());
  EXPECT_FALSE(chat.logprobs.has_value());
  const auto& messages = std::get<std::vector<ChatMessage>>(chat.prompt);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].role, "user");
  EXPECT_EQ(messages[0].content, "hi");
  const TurnRequest completion = CompletionTurn("");
  EXPECT_EQ(completion.max_tokens, 16);
  EXPECT_EQ(std::get<TextPrompt>(completion.prompt).text, "hi");
}

TEST(OpenAiRequestTest, Sampling) {
  const SamplingParams sampling =
      ChatTurn(R"("temperature": 0.5, "top_p": 0.25, "top_k": 7, "min_p": 0.125, "seed": -2, "repetition_penalty": 1.5,
                  "frequency_penalty": 0.75, "presence_penalty": -1, "logit_bias": {"3": 2, "1": -100},
                  "allowed_token_ids": [1, 2.0])")
          .sampling;
  EXPECT_EQ(sampling.temperature, 0.5f);
  EXPECT_EQ(sampling.top_p, 0.25f);
  EXPECT_EQ(sampling.top_k, 7);
  EXPECT_EQ(sampling.min_p, 0.125f);
  EXPECT_EQ(sampling.seed, static_cast<uint64_t>(-2));
  EXPECT_EQ(sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(sampling.frequency_penalty, 0.75f);
  EXPECT_EQ(sampling.presence_penalty, -1);
  EXPECT_THAT(sampling.logit_bias, ElementsAre(Pair(1, -100), Pair(3, 2)));
  EXPECT_THAT(sampling.allowed_token_ids, ElementsAre(1, 2));
  EXPECT_EQ(ChatTurn(R"("top_k": -1)").sampling.top_k, 0);  // vLLM's "all"
}

TEST(OpenAiRequestTest, Stopping) {
  const TurnRequest turn = ChatTurn(R"("stop": "END", "stop_token_ids": [5], "ignore_eos": true, "min_tokens": 2,
                                       "include_stop_str_in_output": true, "max_completion_tokens": 9)");
  EXPECT_THAT(turn.stop, ElementsAre("END"));
  EXPECT_THAT(turn.stop_token_ids, ElementsAre(5));
  EXPECT_TRUE(turn.ignore_eos);
  EXPECT_TRUE(turn.include_stop);
  EXPECT_EQ(turn.min_tokens, 2);
  EXPECT_EQ(turn.max_tokens, 9);
  EXPECT_THAT(CompletionTurn(R"("stop": ["a", "b"], "max_tokens": 0)").stop, ElementsAre("a", "b"));
}

TEST(OpenAiRequestTest, Logprobs) {
  EXPECT_EQ(ChatTurn(R"("logprobs": true)").logprobs, 0);
  EXPECT_EQ(ChatTurn(R"("logprobs": true, "top_logprobs": 3)").logprobs, 3);
  EXPECT_FALSE(ChatTurn(R"("logprobs": false)").logprobs.has_value());
  EXPECT_EQ(CompletionTurn(R"("logprobs": 0)").logprobs, 0);
  EXPECT_EQ(CompletionTurn(R"("prompt_logprobs": 2)").prompt_logprobs, 2);
  const TurnRequest echoed = CompletionTurn(R"("logprobs": 4, "echo": true)");
  EXPECT_TRUE(echoed.echo);
  EXPECT_EQ(echoed.prompt_logprobs, 4);
}

TEST(OpenAiRequestTest, ResponseFormats) {
  EXPECT_EQ(ChatTurn(R"("response_format": {"type": "text"})").json_schema, "");
  EXPECT_EQ(ChatTurn(R"("response_format": {"type": "json_object"})").json_schema, R"({"type":"object"})");
  // Members keep their order: a reply has them so.
  EXPECT_EQ(ChatTurn(R"("response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": true,
                        "schema": {"type": "object", "properties": {"z": {}, "a": {}}}}})")
                .json_schema,
            R"({"type":"object","properties":{"z":{},"a":{}}})");
}

TEST(OpenAiRequestTest, Sessions) {
  const TurnRequest turn = ChatTurn(R"("session_id": "s", "turn_id": "t", "expected_position": 5,
                                       "on_cancel": "rollback", "durability": "image")");
  EXPECT_EQ(turn.session_id, "s");
  EXPECT_EQ(turn.turn_id, "t");
  EXPECT_EQ(turn.expected_position, 5);
  EXPECT_EQ(turn.on_cancel, OnCancel::kRollback);
  EXPECT_EQ(turn.durability, Durability::kImage);
  EXPECT_EQ(Parse(OpenAiKind::kChat, With(OpenAiKind::kChat, ""), "h")->turns[0].session_id, "h");
  EXPECT_TRUE(Parse(OpenAiKind::kChat, With(OpenAiKind::kChat, R"("session_id": "h")"), "h").ok());
  EXPECT_FALSE(Parse(OpenAiKind::kChat, With(OpenAiKind::kChat, R"("session_id": "s")"), "h").ok());
}

TEST(OpenAiRequestTest, Messages) {
  const TurnRequest turn =
      *&Parse(OpenAiKind::kChat, R"({"model": "m", "messages": [{"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c", "refusal": null, "tool_calls": [], "annotations": null}]})")
            ->turns[0];
  const auto& messages = std::get<std::vector<ChatMessage>>(turn.prompt);
  ASSERT_EQ(messages.size(), 3u);
  EXPECT_EQ(messages[0].role, "system");
  EXPECT_EQ(messages[1].content, "a\nb");
  EXPECT_EQ(messages[2].content, "c");
}

TEST(OpenAiRequestTest, PromptsOfAllKinds) {
  const auto prompts = [](const std::string& prompt) {
    const auto request = Parse(OpenAiKind::kCompletion, R"({"model": "m", "n": 2, "prompt": )" + prompt + "}");
    EXPECT_TRUE(request.ok()) << request.status();
    return request.ok() ? request->turns : std::vector<TurnRequest>();
  };
  EXPECT_EQ(prompts(R"("a")").size(), 1u);
  EXPECT_EQ(prompts(R"(["a", "b"])").size(), 2u);
  EXPECT_THAT(std::get<std::vector<int32_t>>(prompts("[1, 2]")[0].prompt), ElementsAre(1, 2));
  EXPECT_THAT(std::get<std::vector<int32_t>>(prompts("[[1], [2, 3]]")[1].prompt), ElementsAre(2, 3));
  EXPECT_TRUE(std::get<TextPrompt>(prompts(R"("a")")[0].prompt).parse_special);
  EXPECT_FALSE(std::get<TextPrompt>(CompletionTurn(R"("parse_special": false)").prompt).parse_special);
}

TEST(OpenAiRequestTest, WhatChangesNothingIsAccepted) {
  for (const char* member :
       {R"("user": "u")", R"("metadata": {"a": "b"})", R"("store": true)", R"("service_tier": "auto")",
        R"("tools": null)", R"("tools": [])", R"("tool_choice": "none")", R"("suffix": null)",
        R"("modalities": ["text"])", R"("n": 1)", R"("stream": false)", R"("unheard_of": null)",
        R"("skip_special_tokens": true)",
        R"("stop": null, "seed": null, "temperature": null, "logit_bias": null, "response_format": null)"}) {
    EXPECT_TRUE(Parse(OpenAiKind::kChat, With(OpenAiKind::kChat, member)).ok()) << member;
  }
  EXPECT_TRUE(Parse(OpenAiKind::kCompletion, With(OpenAiKind::kCompletion, R"("best_of": 1, "suffix": "")")).ok());
}

struct BadCase {
  OpenAiKind kind;
  const char* member;
  const char* param;
};

TEST(OpenAiRequestTest, BadFieldsAreNamed) {
  constexpr OpenAiKind kChat = OpenAiKind::kChat, kCompletion = OpenAiKind::kCompletion;
  const BadCase cases[] = {
      {kChat, R"("temperature": "hot")", "temperature"},
      {kChat, R"("temperature": true)", "temperature"},
      {kChat, R"("top_k": 1.5)", "top_k"},
      {kChat, R"("top_k": -2)", "top_k"},
      {kChat, R"("top_k": 99999999999)", "top_k"},
      {kChat, R"("seed": 1e30)", "seed"},
      {kChat, R"("seed": "1")", "seed"},
      {kChat, R"("max_tokens": -1)", "max_tokens"},
      {kChat, R"("max_tokens": 1, "max_completion_tokens": 2)", "max_tokens"},
      {kChat, R"("stop": 3)", "stop"},
      {kChat, R"("stop": ["a", 3])", "stop[1]"},
      {kChat, R"("stop_token_ids": [1, -1])", "stop_token_ids[1]"},
      {kChat, R"("stop_token_ids": "1")", "stop_token_ids"},
      {kChat, R"("logit_bias": [1])", "logit_bias"},
      {kChat, R"("logit_bias": {"x": 1})", "logit_bias"},
      {kChat, R"("logit_bias": {"1": "x"})", "logit_bias"},
      {kChat, R"("logit_bias": {"1": 1, "01": 2})", "logit_bias"},
      {kChat, R"("allowed_token_ids": [])", "allowed_token_ids"},
      {kChat, R"("logprobs": 3)", "logprobs"},
      {kChat, R"("top_logprobs": 3)", "top_logprobs"},
      {kChat, R"("logprobs": true, "top_logprobs": 21)", "top_logprobs"},
      {kCompletion, R"("logprobs": true)", "logprobs"},
      {kCompletion, R"("logprobs": 21)", "logprobs"},
      {kChat, R"("n": 0)", "n"},
      {kChat, R"("n": 65)", "n"},
      {kChat, R"("n": 1.5)", "n"},
      {kChat, R"("stream": "yes")", "stream"},
      {kChat, R"("stream_options": {"include_usage": true})", "stream_options"},
      {kChat, R"("stream": true, "stream_options": {"x": 1})", "stream_options.x"},
      {kChat, R"("stream": true, "prompt_logprobs": 1)", "prompt_logprobs"},
      {kChat, R"("priority": 101)", "priority"},
      {kChat, R"("echo": true)", "echo"},
      {kChat, R"("response_format": "json")", "response_format"},
      {kChat, R"("response_format": {"type": "xml"})", "response_format.type"},
      {kChat, R"("response_format": {"type": "json_schema"})", "response_format.json_schema"},
      {kChat, R"("response_format": {"type": "json_schema", "json_schema": {"name": "x"}})",
       "response_format.json_schema.schema"},
      {kChat, R"("tools": [{"type": "function"}])", "tools"},
      {kChat, R"("tool_choice": "auto")", "tool_choice"},
      {kChat, R"("functions": [{}])", "functions"},
      {kChat, R"("audio": {"voice": "x"})", "audio"},
      {kChat, R"("modalities": ["text", "audio"])", "modalities"},
      {kCompletion, R"("suffix": "x")", "suffix"},
      {kCompletion, R"("best_of": 2)", "best_of"},
      {kChat, R"("skip_special_tokens": false)", "skip_special_tokens"},
      {kChat, R"("unheard_of": 1)", "unheard_of"},
      {kChat, R"("prompt": "x")", "prompt"},
      {kCompletion, R"("messages": [])", "messages"},
      {kCompletion, R"("max_completion_tokens": 1)", "max_completion_tokens"},
      {kChat, R"("turn_id": "t")", "turn_id"},
      {kChat, R"("on_cancel": "keep")", "on_cancel"},
      {kChat, R"("durability": "journal")", "durability"},
      {kChat, R"("expected_position": 3)", "expected_position"},
      {kChat, R"("session_id": 5)", "session_id"},
      {kChat, R"("session_id": "s", "on_cancel": "stop")", "on_cancel"},
      {kChat, R"("session_id": "s", "durability": "gold")", "durability"},
      {kChat, R"("session_id": "s", "turn_id": "\n")", "turn_id"},
      {kCompletion, R"("session_id": "s", "echo": true, "logprobs": 1)", "echo"},
  };
  for (const BadCase& bad : cases) {
    const absl::Status status = Parse(bad.kind, With(bad.kind, bad.member)).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << bad.member;
    EXPECT_EQ(ToOpenAiError(status).param, bad.param) << bad.member << ": " << status;
  }
}

TEST(OpenAiRequestTest, BadMessagesAndPromptsAreNamed) {
  const std::pair<const char*, const char*> messages[] = {
      {"null", "messages"},
      {R"("hi")", "messages"},
      {R"(["hi"])", "messages[0]"},
      {R"([{"content": "x"}])", "messages[0].role"},
      {R"([{"role": 1, "content": "x"}])", "messages[0].role"},
      {R"([{"role": "user"}])", "messages[0].content"},
      {R"([{"role": "user", "content": 1}])", "messages[0].content"},
      {R"([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])",
       "messages[0].content[0]"},
      {R"([{"role": "user", "content": "x"}, {"role": "user", "content": ["x"]}])", "messages[1].content[0]"},
      {R"([{"role": "user", "content": "x", "name": "bob"}])", "messages[0].name"},
      {R"([{"role": "assistant", "content": null, "tool_calls": [{}]}])", "messages[0].tool_calls"},
  };
  for (const auto& [text, param] : messages) {
    const absl::Status status =
        Parse(OpenAiKind::kChat, std::string(R"({"model": "m", "messages": )") + text + "}").status();
    EXPECT_EQ(ToOpenAiError(status).param, param) << text << ": " << status;
  }
  const std::pair<const char*, const char*> prompts[] = {
      {"null", "prompt"},
      {"5", "prompt"},
      {"{}", "prompt"},
      {R"(["a", 1])", "prompt[1]"},
      {R"([1, "a"])", "prompt[1]"},
      {"[[1], 2]", "prompt[1]"},
      {"[[1], [-2]]", "prompt[1]"},
      {R"(["","","","","","","","","","","","","","","","",""])", "prompt"},
  };
  for (const auto& [text, param] : prompts) {
    const absl::Status status =
        Parse(OpenAiKind::kCompletion, std::string(R"({"model": "m", "prompt": )") + text + "}").status();
    EXPECT_EQ(ToOpenAiError(status).param, param) << text << ": " << status;
  }
}

TEST(OpenAiRequestTest, BodiesThatAreNoObject) {
  const std::pair<std::string, const char*> cases[] = {
      {"", "byte"},
      {"{", "byte 2"},
      {R"({"a": 1,})", "byte 9"},
      {"[]", "got an array"},
      {"\"\xff\"", "byte 2"},
      {"{\"a\": 1e999}", "byte"},
      {std::string(65, '[') + std::string(65, ']'), "64 deep"},
      {std::string(1'000'000, '['), "64 deep"},
  };
  for (const auto& [text, words] : cases) {
    const absl::Status status = ParseJsonObject(text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text.substr(0, 20);
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
  }
  std::string many = "{";
  for (int i = 0; i < 1025; ++i) many += (i > 0 ? ",\"k" : "\"k") + std::to_string(i) + "\":0";
  EXPECT_THAT(std::string(ParseJsonObject(many + "}").status().message()), HasSubstr("1024 members"));
  EXPECT_TRUE(ParseJsonObject(R"({"a": "[[[:::"})").ok());  // in quotes nothing counts
}

TEST(OpenAiErrorTest, FieldsOfTheEngineHaveTheirNamesHere) {
  const std::pair<const char*, const char*> cases[] = {
      {"sampling.top_p must be in (0, 1], got 7", "top_p must be in (0, 1], got 7"},
      {"stopping.stop[2] must have 1 to 256 bytes", "stop[2] must have 1 to 256 bytes"},
      {"stopping.include_stop must not ..", "include_stop_str_in_output must not .."},
      {"prompt.token_ids.ids[3] must be in [0, 5)", "prompt[3] must be in [0, 5)"},
      {"prompt.messages must not be set: ..", "messages must not be set: .."},
      {"messages[2].role: unknown", "messages[2].role: unknown"},
      {"the server is draining", "the server is draining"},
  };
  for (const auto& [from, to] : cases) EXPECT_EQ(WithOpenAiField(from), to);
}

TEST(OpenAiErrorTest, EachCodeHasItsStatus) {
  const std::pair<absl::Status, int> cases[] = {
      {absl::InvalidArgumentError("x"), 400},   {absl::FailedPreconditionError("x"), 400},
      {absl::UnauthenticatedError("x"), 401},   {absl::PermissionDeniedError("x"), 403},
      {absl::NotFoundError("x"), 404},          {absl::AbortedError("x"), 409},
      {absl::ResourceExhaustedError("x"), 429}, {absl::UnavailableError("x"), 503},
      {absl::DeadlineExceededError("x"), 504},  {absl::InternalError("x"), 500},
      {absl::DataLossError("x"), 500},
  };
  for (const auto& [status, http] : cases) {
    const HttpResponse response = ErrorResponse(status);
    EXPECT_EQ(response.status, http) << status;
    EXPECT_EQ(response.headers.empty(), http != 429 && http != 503) << status;
  }
  EXPECT_THAT(ErrorResponse(absl::InternalError("secret")).body, testing::Not(HasSubstr("secret")));
  EXPECT_EQ(ErrorResponse(absl::NotFoundError("no \"such\" thing")).body,
            R"({"error":{"message":"no \"such\" thing","type":"not_found_error","param":null,"code":"not_found"}})");
}

}  // namespace
}  // namespace cascade
