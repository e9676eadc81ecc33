// Chat and completions over the wire: shapes, streaming, errors, clients that leave or do not read.
#include <vector>

#include "tests/server/http/http_fixture.h"

namespace cascade {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

class OpenAiCallTest : public HttpFixture {
 protected:
  static std::string Chat(const std::string& members = "") {
    return R"({"model": "fake", "messages": [{"role": "user", "content": "hi"}])" + members + "}";
  }
  static std::string Completion(const std::string& members = "") {
    return R"({"model": "fake", "prompt": "hi")" + members + "}";
  }
  void SendChat(HttpClient& client, const std::string& members = "") {
    client.Send(HttpClient::Request("POST", "/v1/chat/completions", Chat(members)));
  }
  // All events of a stream but "[DONE]", which must be the last one.
  static std::vector<json> Events(HttpClient& client) {
    EXPECT_EQ(client.ReadHead().status, 200);
    std::vector<json> events;
    for (std::string event = client.ReadEvent(); !event.empty(); event = client.ReadEvent()) {
      if (event == "[DONE]") {
        EXPECT_EQ(client.ReadEvent(), "");
        return events;
      }
      events.push_back(json::parse(event));
    }
    ADD_FAILURE() << "no [DONE]";
    return events;
  }
  static TurnDelta WithLogprobs(const std::string& text, const std::vector<int32_t>& ids) {
    TurnDelta delta = TextDelta(text, ids);
    for (const int32_t id : ids) delta.logprobs.push_back({-0.5f, {{id, -0.5f}, {98, -1.25f}}});
    return delta;
  }
};

TEST_F(OpenAiCallTest, AWholeChat) {
  HttpClient client(endpoint_->port());
  SendChat(client, R"(, "max_tokens": 5)");
  const FakeTurn turn = engine_.NextTurn();
  EXPECT_EQ(turn.request.max_tokens, 5);
  turn.stream->Push(TextDelta("Hel", {1}));
  turn.stream->Push(TextDelta("lo \"you\"\n", {2}));
  turn.stream->Push(FinishedDelta(FinishReason::kStop));
  const ClientResponse response = client.Read();
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.headers.at("content-type"), "application/json");
  const json body = response.json();
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["model"], "fake");
  EXPECT_EQ(body["system_fingerprint"], "fp_1");
  EXPECT_EQ(body["id"].get<std::string>().substr(0, 9), "chatcmpl-");
  EXPECT_EQ(body["choices"].size(), 1u);
  const json& choice = body["choices"][0];
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_EQ(choice["message"]["content"], "Hello \"you\"\n");
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_TRUE(choice["logprobs"].is_null());
  const json& usage = body["usage"];
  EXPECT_EQ(usage["total_tokens"], usage["prompt_tokens"].get<int>() + usage["completion_tokens"].get<int>());
  EXPECT_EQ(usage["prompt_tokens_details"]["cached_tokens"], 0);
  EXPECT_EQ(usage["cascade"]["position"], 8);
  EXPECT_EQ(body.count("cascade"), 0u);
}

TEST_F(OpenAiCallTest, AStreamedChat) {
  HttpClient client(endpoint_->port());
  SendChat(client, R"(, "stream": true, "stream_options": {"include_usage": true})");
  const FakeTurn turn = engine_.NextTurn();
  const ClientResponse head = client.ReadHead();
  EXPECT_EQ(head.status, 200);
  EXPECT_THAT(head.headers.at("content-type"), HasSubstr("text/event-stream"));
  std::vector<json> chunks;
  for (int i = 0; i < 3; ++i) {
    turn.stream->Push(TextDelta(std::to_string(i), {i}));
    chunks.push_back(json::parse(client.ReadEvent()));  // each at once
    EXPECT_EQ(chunks.back()["choices"][0]["delta"]["content"], std::to_string(i));
    EXPECT_EQ(chunks.back()["choices"][0]["delta"].count("role"), i == 0 ? 1u : 0u);
    EXPECT_TRUE(chunks.back()["usage"].is_null());
    EXPECT_EQ(chunks.back()["id"], chunks[0]["id"]);
    EXPECT_EQ(chunks.back()["object"], "chat.completion.chunk");
  }
  turn.stream->Push(FinishedDelta(FinishReason::kLength));
  const json last = json::parse(client.ReadEvent());
  EXPECT_EQ(last["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(last["choices"][0]["delta"], json::object());
  const json usage = json::parse(client.ReadEvent());
  EXPECT_EQ(usage["choices"], json::array());
  EXPECT_GT(usage["usage"]["total_tokens"], 0);
  EXPECT_EQ(client.ReadEvent(), "[DONE]");
  EXPECT_EQ(client.ReadEvent(), "");
  EXPECT_EQ(client.Call("GET", "/health").status, 200);  // the connection goes on
}

TEST_F(OpenAiCallTest, AnEmptyReplyHasItsRole) {
  HttpClient client(endpoint_->port());
  SendChat(client, R"(, "stream": true)");
  engine_.NextTurn().stream->Push(FinishedDelta(FinishReason::kStop));
  const std::vector<json> events = Events(client);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0]["choices"][0]["delta"]["role"], "assistant");
  EXPECT_EQ(events[1]["choices"][0]["finish_reason"], "stop");
}

TEST_F(OpenAiCallTest, SeveralRepliesAndPrompts) {
  HttpClient client(endpoint_->port());
  client.Send(
      HttpClient::Request("POST", "/v1/completions", R"({"model": "fake", "prompt": ["a", "b"], "n": 2, "seed": 5})"));
  for (int i = 0; i < 4; ++i) {
    const FakeTurn turn = engine_.NextTurn();
    EXPECT_EQ(std::get<TextPrompt>(turn.request.prompt).text, i < 2 ? "a" : "b");
    EXPECT_EQ(turn.request.sampling.seed, 5u);
    turn.stream->Push(TextDelta(std::to_string(i), {i}));
    TurnDelta last = FinishedDelta(FinishReason::kStop);
    last.usage.prompt_tokens = 10;
    last.usage.completion_tokens = 1;
    turn.stream->Push(last);
  }
  const json body = client.Read().json();
  EXPECT_EQ(body["object"], "text_completion");
  ASSERT_EQ(body["choices"].size(), 4u);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(body["choices"][i]["index"], i);
    EXPECT_EQ(body["choices"][i]["text"], std::to_string(i));
  }
  EXPECT_EQ(body["usage"]["prompt_tokens"], 20);  // each prompt once
  EXPECT_EQ(body["usage"]["completion_tokens"], 4);
}

TEST_F(OpenAiCallTest, StreamedRepliesHaveTheirIndex) {
  HttpClient client(endpoint_->port());
  SendChat(client, R"(, "stream": true, "n": 2)");
  const FakeTurn first = engine_.NextTurn();
  const FakeTurn second = engine_.NextTurn();
  second.stream->Push(TextDelta("two", {2}));
  second.stream->Push(FinishedDelta(FinishReason::kStop));
  first.stream->Push(TextDelta("one", {1}));
  first.stream->Push(FinishedDelta(FinishReason::kLength));
  std::map<int, std::string> texts, reasons;
  for (const json& event : Events(client)) {
    const json& choice = event["choices"][0];
    texts[choice["index"]] += choice["delta"].value("content", "");
    if (!choice["finish_reason"].is_null()) reasons[choice["index"]] = choice["finish_reason"];
  }
  EXPECT_EQ(texts[0], "one");
  EXPECT_EQ(texts[1], "two");
  EXPECT_EQ(reasons[0], "length");
  EXPECT_EQ(reasons[1], "stop");
}

TEST_F(OpenAiCallTest, LogprobsOfAChat) {
  HttpClient client(endpoint_->port());
  SendChat(client, R"(, "logprobs": true, "top_logprobs": 2)");
  const FakeTurn turn = engine_.NextTurn();
  EXPECT_EQ(turn.request.logprobs, 2);
  turn.stream->Push(WithLogprobs("a", {97}));
  TurnDelta last = WithLogprobs("", {ByteTokenizer::kEnd});
  last.logprobs[0].logprob = -std::numeric_limits<float>::infinity();  // which JSON has not
  last.finished = true;
  last.finish_reason = FinishReason::kStop;
  turn.stream->Push(last);
  const json content = client.Read().json()["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 2u);
  EXPECT_EQ(content[0]["token"], "a");
  EXPECT_EQ(content[0]["logprob"], -0.5);
  EXPECT_EQ(content[0]["bytes"], json::array({97}));
  EXPECT_EQ(content[0]["top_logprobs"][1]["token"], "b");
  EXPECT_EQ(content[0]["top_logprobs"][1]["logprob"], -1.25);
  EXPECT_EQ(content[1]["token"], "<e>");
  EXPECT_EQ(content[1]["logprob"], -9999);
}

TEST_F(OpenAiCallTest, LogprobsOfACompletionWithItsPrompt) {
  HttpClient client(endpoint_->port());
  client.Send(
      HttpClient::Request("POST", "/v1/completions", Completion(R"(, "logprobs": 1, "echo": true, "max_tokens": 1)")));
  const FakeTurn turn = engine_.NextTurn();
  EXPECT_EQ(turn.request.prompt_logprobs, 1);
  EXPECT_TRUE(turn.request.echo);
  TurnDelta prompt = TextDelta("hi", {});
  prompt.prompt_logprobs = {{'i', {-0.25f, {{'i', -0.25f}}}}};
  turn.stream->Push(prompt);
  turn.stream->Push(WithLogprobs("a", {97}));
  turn.stream->Push(FinishedDelta(FinishReason::kLength));
  const json choice = client.Read().json()["choices"][0];
  EXPECT_EQ(choice["text"], "hia");
  const json& logprobs = choice["logprobs"];
  EXPECT_EQ(logprobs["tokens"], json::array({"h", "i", "a"}));
  EXPECT_EQ(logprobs["token_logprobs"], json::array({nullptr, -0.25, -0.5}));
  EXPECT_EQ(logprobs["text_offset"], json::array({0, 1, 2}));
  EXPECT_EQ(logprobs["top_logprobs"][2], (json{{"a", -0.5}, {"b", -1.25}}));
}

TEST_F(OpenAiCallTest, PromptLogprobsInVllmsForm) {
  HttpClient client(endpoint_->port());
  client.Send(HttpClient::Request("POST", "/v1/completions", Completion(R"(, "prompt_logprobs": 1)")));
  const FakeTurn turn = engine_.NextTurn();
  TurnDelta prompt = TextDelta("", {});
  prompt.prompt_logprobs = {{'i', {-2.0f, {{'x', -0.25f}}}}};
  turn.stream->Push(prompt);
  turn.stream->Push(FinishedDelta(FinishReason::kLength));
  const json list = client.Read().json()["choices"][0]["prompt_logprobs"];
  EXPECT_TRUE(list[0].is_null());
  EXPECT_EQ(list[1]["120"], (json{{"logprob", -0.25}, {"rank", 1}, {"decoded_token", "x"}}));
  EXPECT_EQ(list[1]["105"], (json{{"logprob", -2.0}, {"decoded_token", "i"}}));
}

TEST_F(OpenAiCallTest, WhatStoppedTheReply) {
  HttpClient client(endpoint_->port());
  SendChat(client, R"(, "stop": "END")");
  TurnDelta last = FinishedDelta(FinishReason::kStopSequence);
  last.stop_sequence = "END";
  engine_.NextTurn().stream->Push(last);
  const json choice = client.Read().json()["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_EQ(choice["stop_reason"], "END");
}

TEST_F(OpenAiCallTest, ATurnOfASession) {
  HttpClient client(endpoint_->port());
  client.Send(
      HttpClient::Request("POST", "/v1/chat/completions", Chat(R"(, "stream": true)"), "cascade-session-id: s1\r\n"));
  const FakeTurn turn = engine_.NextTurn();
  EXPECT_EQ(turn.request.session_id, "s1");
  TurnDelta delta = TextDelta("x", {1});
  delta.seq = 1;
  turn.stream->Push(delta);
  client.ReadHead();
  EXPECT_EQ(json::parse(client.ReadEvent())["cascade"], (json{{"session_id", "s1"}, {"seq", 1}}));
  TurnDelta last = FinishedDelta(FinishReason::kStop);
  last.seq = 2;
  last.acknowledgement = Acknowledgement{3, 0xABC, Durability::kJournal};
  turn.stream->Push(last);
  EXPECT_EQ(json::parse(client.ReadEvent())["cascade"], (json{{"session_id", "s1"},
                                                              {"seq", 2},
                                                              {"position", 8},
                                                              {"turn", 3},
                                                              {"digest", "0000000000000abc"},
                                                              {"durability", "journal"}}));
}

TEST_F(OpenAiCallTest, ErrorsHaveOpenAisShape) {
  const struct {
    absl::Status status;
    int http;
    const char* param;
  } cases[] = {
      {absl::InvalidArgumentError("sampling.temperature must be in [0, 2], got 3"), 400, "temperature"},
      {absl::NotFoundError("no such session"), 404, "null"},
      {absl::AbortedError("the session is busy"), 409, "null"},
      {absl::ResourceExhaustedError("too many turns wait"), 429, "null"},
      {absl::UnavailableError("the server is draining"), 503, "null"},
  };
  for (const auto& bad : cases) {
    engine_.FailWith(bad.status);
    for (const char* stream : {"", R"(, "stream": true)"}) {
      const ClientResponse response = Call("POST", "/v1/chat/completions", Chat(stream));
      EXPECT_EQ(response.status, bad.http);
      EXPECT_EQ(ErrorOf(response, "param"), bad.param) << response.body;
    }
  }
  engine_.FailWith(absl::OkStatus());
  const ClientResponse model = Call("POST", "/v1/completions", R"({"model": "other", "prompt": "x"})");
  EXPECT_EQ(model.status, 404);
  EXPECT_EQ(ErrorOf(model, "code"), "model_not_found");
  EXPECT_EQ(Call("POST", "/v1/completions", "{").status, 400);
  EXPECT_EQ(Call("POST", "/v1/completions", "").status, 400);
}

TEST_F(OpenAiCallTest, AnErrorInMidStream) {
  HttpClient client(endpoint_->port());
  SendChat(client, R"(, "stream": true, "n": 2)");
  const FakeTurn first = engine_.NextTurn();
  const FakeTurn second = engine_.NextTurn();
  first.stream->Push(TextDelta("x", {1}));
  client.ReadHead();
  client.ReadEvent();
  first.stream->Push(FinishedDelta(FinishReason::kError, absl::InvalidArgumentError("logit_bias must leave a token")));
  const json error = json::parse(client.ReadEvent());
  EXPECT_EQ(error["error"]["param"], "logit_bias");
  EXPECT_EQ(client.ReadEvent(), "[DONE]");
  EXPECT_TRUE(second.stream->cancelled());
}

TEST_F(OpenAiCallTest, TurnsThatTheServerCutAreErrors) {
  HttpClient client(endpoint_->port());
  SendChat(client);
  engine_.NextTurn().stream->Push(FinishedDelta(FinishReason::kCancelled, absl::CancelledError("draining")));
  EXPECT_EQ(client.Read().status, 503);
}

TEST_F(OpenAiCallTest, AClientThatLeavesCancels) {
  for (const char* stream : {"", R"(, "stream": true)"}) {
    HttpClient client(endpoint_->port());
    SendChat(client, stream);
    const FakeTurn turn = engine_.NextTurn();
    turn.stream->Push(TextDelta("x", {1}));
    EXPECT_FALSE(turn.stream->cancelled());
    client.Close();
    WaitUntil([&] { return turn.stream->cancelled(); });
    turn.stream->Push(FinishedDelta(FinishReason::kCancelled));  // nobody is told
  }
}

TEST_F(OpenAiCallTest, ATurnThatContinuesOutlivesItsClient) {
  HttpClient client(endpoint_->port());
  SendChat(client, R"(, "session_id": "s", "on_cancel": "continue", "stream": true)");
  const FakeTurn turn = engine_.NextTurn();
  client.ReadHead();
  client.Close();
  WaitUntil([&] {
    return endpoint_->port() > 0 &&
           Call("GET", "/metrics").body.find("cascade_http_connections 1\n") != std::string::npos;
  });
  EXPECT_FALSE(turn.stream->cancelled());
  turn.stream->Push(FinishedDelta(FinishReason::kStop));
}

TEST_F(OpenAiCallTest, AClientThatLeavesWhileTheSessionIsReadSubmitsNothing) {
  engine_.SubmitWaitsFromNowOn();
  HttpClient client(endpoint_->port());
  SendChat(client, R"(, "session_id": "s")");
  const FakeTurn turn = engine_.NextTurn();
  client.Close();
  WaitUntil([&] { return turn.stream->cancelled(); });
  turn.stream->Push(FinishedDelta(FinishReason::kCancelled));
}

// What is unread merges; all of it arrives, in fewer and bounded events.
TEST_F(OpenAiCallTest, ASlowReaderCostsTheEngineNothingAndLosesNothing) {
  HttpClient client(endpoint_->port(), 4096);
  SendChat(client, R"(, "stream": true)");
  const FakeTurn turn = engine_.NextTurn();
  std::string sent;
  constexpr int kDeltas = 20'000;
  for (int i = 0; i < kDeltas; ++i) {
    sent += std::string(200, static_cast<char>('a' + i % 26));
    turn.stream->Push(TextDelta(std::string(200, static_cast<char>('a' + i % 26)), {i}));
  }
  turn.stream->Push(FinishedDelta(FinishReason::kStop));
  std::string received;
  const std::vector<json> events = Events(client);
  for (const json& event : events) {
    const std::string text = event["choices"][0]["delta"].value("content", "");
    EXPECT_LE(text.size(), size_t{64} << 10);
    received += text;
  }
  EXPECT_EQ(received, sent);
  EXPECT_LT(events.size(), static_cast<size_t>(kDeltas));
}

TEST_F(OpenAiCallTest, OthersStreamWhileManyDoNotRead) {
  std::vector<std::unique_ptr<HttpClient>> stalled;
  std::vector<FakeTurn> turns;
  for (int i = 0; i < 100; ++i) {
    stalled.push_back(std::make_unique<HttpClient>(endpoint_->port(), 4096));
    SendChat(*stalled.back(), R"(, "stream": true)");
    turns.push_back(engine_.NextTurn());
    for (int j = 0; j < 20; ++j) turns.back().stream->Push(TextDelta(std::string(100'000, 'x'), {j}));
  }
  for (int i = 0; i < 20; ++i) {
    HttpClient client(endpoint_->port());
    SendChat(client, R"(, "stream": true)");
    const FakeTurn turn = engine_.NextTurn();
    turn.stream->Push(TextDelta("y", {1}));
    client.ReadHead();
    ASSERT_EQ(json::parse(client.ReadEvent())["choices"][0]["delta"]["content"], "y");
    turn.stream->Push(FinishedDelta(FinishReason::kStop));
  }
  for (const FakeTurn& turn : turns) turn.stream->Push(FinishedDelta(FinishReason::kStop));
}

TEST_F(OpenAiCallTest, AClientThatTakesNothingIsCutInTheEnd) {
  HttpLimits limits;
  limits.stall = std::chrono::milliseconds(100);
  Restart(limits);
  HttpClient client(endpoint_->port(), 4096);
  SendChat(client, R"(, "stream": true)");
  const FakeTurn turn = engine_.NextTurn();
  for (int i = 0; i < 200; ++i) turn.stream->Push(TextDelta(std::string(100'000, 'x'), {i}));
  WaitUntil([&] { return turn.stream->cancelled(); });
}

TEST_F(OpenAiCallTest, ManyStreamsAtOnce) {
  constexpr int kStreams = 200;
  constexpr int kTokens = 50;
  std::vector<std::unique_ptr<HttpClient>> clients;
  std::vector<FakeTurn> turns;
  for (int i = 0; i < kStreams; ++i) {
    clients.push_back(std::make_unique<HttpClient>(endpoint_->port()));
    SendChat(*clients.back(), R"(, "stream": true)");
    turns.push_back(engine_.NextTurn());
  }
  std::thread engine([&] {
    for (int token = 0; token < kTokens; ++token) {
      for (int i = 0; i < kStreams; ++i) turns[i].stream->Push(TextDelta(std::to_string(i) + ";", {token}));
    }
    for (const FakeTurn& turn : turns) turn.stream->Push(FinishedDelta(FinishReason::kStop));
  });
  for (int i = 0; i < kStreams; ++i) {
    std::string text;
    for (const json& event : Events(*clients[i])) text += event["choices"][0]["delta"].value("content", "");
    std::string expected;
    for (int token = 0; token < kTokens; ++token) expected += std::to_string(i) + ";";
    EXPECT_EQ(text, expected);
  }
  engine.join();
}

TEST_F(OpenAiCallTest, StopLetsRunningCallsFinish) {
  HttpClient client(endpoint_->port());
  SendChat(client, R"(, "stream": true)");
  const FakeTurn turn = engine_.NextTurn();
  turn.stream->Push(TextDelta("x", {1}));
  client.ReadHead();
  client.ReadEvent();
  std::thread stop([&] { endpoint_->Stop(std::chrono::hours(1)); });
  turn.stream->Push(TextDelta("y", {2}));
  turn.stream->Push(FinishedDelta(FinishReason::kStop));
  EXPECT_THAT(client.ReadEvent(), HasSubstr("\"y\""));
  EXPECT_THAT(client.ReadEvent(), HasSubstr("\"stop\""));
  EXPECT_EQ(client.ReadEvent(), "[DONE]");
  stop.join();
}

TEST_F(OpenAiCallTest, StopCutsWhatTakesLonger) {
  HttpClient client(endpoint_->port());
  SendChat(client, R"(, "stream": true)");
  const FakeTurn turn = engine_.NextTurn();
  endpoint_->Stop(std::chrono::milliseconds(10));
  EXPECT_TRUE(turn.stream->cancelled());
  EXPECT_EQ(client.Read().status, 200);
  turn.stream->Push(FinishedDelta(FinishReason::kCancelled));
}

TEST_F(OpenAiCallTest, LongPromptsAndAnswers) {
  HttpClient client(endpoint_->port());
  const std::string text(500'000, 'x');
  client.Send(HttpClient::Request("POST", "/v1/completions", R"({"model": "fake", "prompt": ")" + text + "\"}"));
  const FakeTurn turn = engine_.NextTurn();
  EXPECT_EQ(std::get<TextPrompt>(turn.request.prompt).text, text);
  turn.stream->Push(TextDelta(text, {1}));
  turn.stream->Push(FinishedDelta(FinishReason::kStop));
  EXPECT_EQ(client.Read().json()["choices"][0]["text"], text);
}

TEST_F(OpenAiCallTest, Models) {
  const json models = Call("GET", "/v1/models").json();
  EXPECT_EQ(models["object"], "list");
  EXPECT_EQ(models["data"][0]["id"], "fake");
  EXPECT_EQ(models["data"][0]["max_model_len"], 4096);
  EXPECT_EQ(Call("GET", "/v1/models/fake").json(), models["data"][0]);
  EXPECT_EQ(Call("GET", "/v1/models/a%2Fb").status, 404);
  EXPECT_EQ(ErrorOf(Call("GET", "/v1/models/a/b"), "code"), "model_not_found");
}

TEST_F(OpenAiCallTest, TokenizeAndDetokenize) {
  json answer = Call("POST", "/tokenize", R"({"model": "fake", "prompt": "a<s>", "return_token_strs": true})").json();
  EXPECT_EQ(answer, (json{{"count", 2}, {"max_model_len", 4096}, {"tokens", {97, 256}}, {"token_strs", {"a", "<s>"}}}));
  EXPECT_EQ(Call("POST", "/tokenize", R"({"prompt": "<s>", "parse_special": false})").json()["count"], 3);
  const std::string messages = R"({"messages": [{"role": "user", "content": "hi"}]})";
  EXPECT_GT(Call("POST", "/tokenize", messages).json()["count"], 2);
  EXPECT_EQ(Call("POST", "/detokenize", R"({"tokens": [104, 105]})").json(), (json{{"prompt", "hi"}}));
  const std::pair<const char*, const char*> bad[] = {
      {R"({})", "prompt"},
      {R"({"prompt": "x", "messages": []})", "prompt"},
      {R"({"prompt": 1})", "prompt"},
      {R"({"prompt": "x", "add_generation_prompt": true})", "add_generation_prompt"},
      {R"({"prompt": "x", "y": 1})", "y"},
      {R"({"messages": [1]})", "messages[0]"},
  };
  for (const auto& [body, param] : bad) {
    const ClientResponse response = Call("POST", "/tokenize", body);
    EXPECT_EQ(response.status, 400) << body;
    EXPECT_EQ(ErrorOf(response, "param"), param) << response.body;
  }
  EXPECT_EQ(ErrorOf(Call("POST", "/detokenize", R"({"tokens": [258]})"), "param"), "tokens[0]");
  EXPECT_EQ(ErrorOf(Call("POST", "/detokenize", R"({"tokens": ["a"]})"), "param"), "tokens[0]");
  EXPECT_EQ(Call("POST", "/tokenize", R"({"model": "x", "prompt": "a"})").status, 404);
}

}  // namespace
}  // namespace cascade
