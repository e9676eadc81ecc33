#include "server/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>

#include "server/grpc_status.h"

namespace cascade {
namespace {

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TEST(ToTurnRequest, WhatIsUnsetKeepsItsDefault) {
  v1::GenerateRequest wire;
  wire.mutable_prompt()->set_text("hello");
  const auto turn = ToTurnRequest(wire, SteadyTime::max());
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ(std::get<TextPrompt>(turn->prompt).text, "hello");
  EXPECT_FALSE(std::get<TextPrompt>(turn->prompt).parse_special);
  EXPECT_EQ(turn->session_id, "");
  EXPECT_EQ(turn->sampling.temperature, 1.0f);
  EXPECT_EQ(turn->sampling.top_k, 0);
  EXPECT_EQ(turn->sampling.top_p, 1.0f);
  EXPECT_EQ(turn->sampling.min_p, 0.0f);
  EXPECT_FALSE(turn->sampling.seed.has_value());
  EXPECT_FALSE(turn->max_tokens.has_value());
  EXPECT_FALSE(turn->expected_position.has_value());
  EXPECT_EQ(turn->deadline, SteadyTime::max());
}

TEST(ToTurnRequest, ZeroIsNotUnset) {
  v1::GenerateRequest wire;
  wire.set_session_id("s");
  auto* ids = wire.mutable_prompt()->mutable_token_ids();
  ids->add_ids(4);
  ids->add_ids(5);
  wire.mutable_sampling()->set_temperature(0);
  wire.mutable_sampling()->set_top_k(0);
  wire.mutable_sampling()->set_top_p(0);
  wire.mutable_sampling()->set_seed(0);
  wire.mutable_stopping()->set_max_tokens(0);
  wire.mutable_stopping()->add_stop("END");
  wire.set_expected_position(0);
  const auto turn = ToTurnRequest(wire, SteadyTime());
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_THAT(std::get<std::vector<int32_t>>(turn->prompt), testing::ElementsAre(4, 5));
  EXPECT_EQ(turn->session_id, "s");
  EXPECT_EQ(turn->sampling.temperature, 0.0f);
  EXPECT_EQ(turn->sampling.top_p, 0.0f);  // refused by the engine, not replaced by a default
  EXPECT_EQ(turn->sampling.seed, 0u);
  EXPECT_EQ(turn->max_tokens, 0);
  EXPECT_EQ(turn->expected_position, 0);
  EXPECT_THAT(turn->stop, testing::ElementsAre("END"));
  EXPECT_EQ(turn->deadline, SteadyTime());
}

TEST(ToTurnRequest, EveryFieldOfSamplingAndOutput) {
  v1::GenerateRequest wire;
  wire.mutable_prompt()->set_text("hello");
  const auto plain = ToTurnRequest(wire, SteadyTime::max());
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(plain->sampling.repetition_penalty, 1.0f);
  EXPECT_EQ(plain->sampling.repeat_last_n, 64);
  EXPECT_FALSE(plain->logprobs.has_value());
  EXPECT_FALSE(plain->prompt_logprobs.has_value());
  EXPECT_EQ(plain->json_schema, "");
  EXPECT_EQ(plain->priority, 0);
  EXPECT_EQ(*Replies(wire), 1);

  v1::SamplingParams& sampling = *wire.mutable_sampling();
  sampling.set_min_p(0.25f);
  sampling.set_repetition_penalty(1.5f);
  sampling.set_repeat_last_n(0);
  sampling.set_frequency_penalty(-1);
  sampling.set_presence_penalty(2);
  (*sampling.mutable_logit_bias())[7] = -100;
  (*sampling.mutable_logit_bias())[3] = 5;
  sampling.add_allowed_token_ids(9);
  sampling.add_allowed_token_ids(8);
  v1::StopParams& stopping = *wire.mutable_stopping();
  stopping.set_min_tokens(2);
  stopping.add_stop_token_ids(11);
  stopping.set_ignore_eos(true);
  stopping.set_include_stop(true);
  wire.set_logprobs(0);
  wire.set_prompt_logprobs(20);
  wire.set_echo(true);
  wire.set_priority(-5);
  wire.set_n(16);
  wire.mutable_response_format()->set_json_object(true);
  const auto turn = ToTurnRequest(wire, SteadyTime::max());
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ(turn->sampling.min_p, 0.25f);
  EXPECT_EQ(turn->sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(turn->sampling.repeat_last_n, 0);
  EXPECT_EQ(turn->sampling.frequency_penalty, -1.0f);
  EXPECT_EQ(turn->sampling.presence_penalty, 2.0f);
  EXPECT_THAT(turn->sampling.logit_bias, testing::ElementsAre(testing::Pair(3, 5.0f), testing::Pair(7, -100.0f)));
  EXPECT_THAT(turn->sampling.allowed_token_ids, testing::ElementsAre(9, 8));
  EXPECT_EQ(turn->min_tokens, 2);
  EXPECT_THAT(turn->stop_token_ids, testing::ElementsAre(11));
  EXPECT_TRUE(turn->ignore_eos);
  EXPECT_TRUE(turn->include_stop);
  EXPECT_EQ(turn->logprobs, 0);
  EXPECT_EQ(turn->prompt_logprobs, 20);
  EXPECT_TRUE(turn->echo);
  EXPECT_EQ(turn->priority, -5);
  EXPECT_EQ(turn->json_schema, R"({"type":"object"})");
  EXPECT_EQ(*Replies(wire), 16);
  wire.mutable_response_format()->set_json_schema("true");
  EXPECT_EQ(ToTurnRequest(wire, SteadyTime::max())->json_schema, "true");
}

TEST(Replies, Table) {
  v1::GenerateRequest wire;
  for (const int bad : {0, -1, 17, std::numeric_limits<int>::min()}) {
    wire.set_n(bad);
    EXPECT_EQ(FieldOfMessage(Message(Replies(wire).status())), "n") << bad;
  }
  wire.set_session_id("s");
  wire.set_n(1);
  EXPECT_EQ(*Replies(wire), 1);
  wire.set_n(2);
  EXPECT_EQ(FieldOfMessage(Message(Replies(wire).status())), "n");
}

TEST(ToTurnRequest, MessagesInOrder) {
  v1::GenerateRequest wire;
  for (const char* role : {"system", "user"}) {
    auto* message = wire.mutable_prompt()->mutable_messages()->add_messages();
    message->set_role(role);
    message->set_content(std::string(role) + " says");
  }
  const auto turn = ToTurnRequest(wire, SteadyTime::max());
  ASSERT_TRUE(turn.ok()) << turn.status();
  const auto& messages = std::get<std::vector<ChatMessage>>(turn->prompt);
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[0].role, "system");
  EXPECT_EQ(messages[1].content, "user says");
}

struct BadGenerate {
  const char* field;
  std::function<void(v1::GenerateRequest*)> spoil;
};

TEST(ToTurnRequest, BadFieldsAreNamed) {
  const BadGenerate rows[] = {
      {"prompt", [](auto* wire) { wire->clear_prompt(); }},
      {"prompt", [](auto* wire) { wire->mutable_prompt()->clear_kind(); }},
      {"prompt.parse_special",
       [](auto* wire) {
         wire->mutable_prompt()->mutable_token_ids();
         wire->mutable_prompt()->set_parse_special(true);
       }},
      {"prompt.parse_special",
       [](auto* wire) {
         wire->mutable_prompt()->mutable_messages();
         wire->mutable_prompt()->set_parse_special(true);
       }},
      {"expected_position", [](auto* wire) { wire->set_expected_position(-1); }},
      {"expected_position", [](auto* wire) { wire->set_expected_position(std::numeric_limits<int64_t>::min()); }},
      {"stopping.max_tokens", [](auto* wire) { wire->mutable_stopping()->set_max_tokens(-1); }},
      {"stopping.max_tokens",
       [](auto* wire) { wire->mutable_stopping()->set_max_tokens(std::numeric_limits<int32_t>::min()); }},
      {"logprobs", [](auto* wire) { wire->set_logprobs(-1); }},
      {"logprobs", [](auto* wire) { wire->set_logprobs(21); }},
      {"prompt_logprobs", [](auto* wire) { wire->set_prompt_logprobs(-1); }},
      {"prompt_logprobs", [](auto* wire) { wire->set_prompt_logprobs(21); }},
      {"response_format", [](auto* wire) { wire->mutable_response_format(); }},
      {"response_format.json_schema", [](auto* wire) { wire->mutable_response_format()->set_json_schema(""); }},
      {"response_format.json_object", [](auto* wire) { wire->mutable_response_format()->set_json_object(false); }},
  };
  for (const BadGenerate& row : rows) {
    v1::GenerateRequest wire;
    wire.mutable_prompt()->set_text("hello");
    row.spoil(&wire);
    const auto turn = ToTurnRequest(wire, SteadyTime::max());
    ASSERT_TRUE(absl::IsInvalidArgument(turn.status())) << row.field;
    EXPECT_EQ(FieldOfMessage(Message(turn.status())), row.field);
  }
}

TEST(ToTurnRequest, ScoreTakesTextAndIdsOnly) {
  v1::ScoreRequest wire;
  EXPECT_EQ(FieldOfMessage(Message(ToTurnRequest(wire, SteadyTime::max()).status())), "prompt");
  wire.mutable_prompt()->mutable_messages();
  EXPECT_EQ(FieldOfMessage(Message(ToTurnRequest(wire, SteadyTime::max()).status())), "prompt.messages");
  wire.mutable_prompt()->set_text("it was");
  wire.set_expected_position(-3);
  EXPECT_EQ(FieldOfMessage(Message(ToTurnRequest(wire, SteadyTime::max()).status())), "expected_position");
  wire.set_expected_position(3);
  const auto turn = ToTurnRequest(wire, SteadyTime::max());
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ(turn->kind, TurnKind::kScore);
  EXPECT_EQ(turn->max_tokens, 0);
  EXPECT_EQ(turn->expected_position, 3);
}

TEST(CheckLabel, Table) {
  for (const std::string& good : {std::string(), std::string("a-Z_0"), std::string(64, 'x')}) {
    EXPECT_TRUE(CheckLabel(good).ok()) << good;
  }
  for (const std::string& bad :
       {std::string(65, 'x'), std::string("a b"), std::string("ä"), std::string("a/b"), std::string(1, '\0')}) {
    EXPECT_EQ(FieldOfMessage(Message(CheckLabel(bad))), "label") << bad;
  }
}

TEST(PageSize, Table) {
  v1::ListSessionsRequest wire;
  EXPECT_EQ(*PageSize(wire), 100);
  for (const int good : {1, 1000}) {
    wire.set_page_size(good);
    EXPECT_EQ(*PageSize(wire), good);
  }
  for (const int bad : {0, -1, 1001, std::numeric_limits<int>::max()}) {
    wire.set_page_size(bad);
    EXPECT_EQ(FieldOfMessage(Message(PageSize(wire).status())), "page_size") << bad;
  }
}

TEST(CheckIndices, RangeAndDoubles) {
  v1::InspectSessionRequest wire;
  EXPECT_TRUE(CheckIndices("layers", wire.layers(), 3)->empty());
  for (const int value : {2, 0, 2}) wire.add_layers(value);
  EXPECT_THAT(*CheckIndices("layers", wire.layers(), 3), testing::ElementsAre(2, 0));
  EXPECT_EQ(FieldOfMessage(Message(CheckIndices("layers", wire.layers(), 2).status())), "layers[0]");
  wire.add_layers(-1);
  EXPECT_EQ(FieldOfMessage(Message(CheckIndices("layers", wire.layers(), 3).status())), "layers[3]");
}

TEST(NextPiece, FinishingFieldsComeLastOnly) {
  TurnDelta delta;
  delta.text = "text";
  delta.token_ids = {1, 2};
  DeltaPosition position;
  v1::GenerateResponse response;
  EXPECT_TRUE(NextPiece(delta, &position, &response));
  EXPECT_EQ(response.text(), "text");
  EXPECT_FALSE(response.has_usage());
  EXPECT_EQ(response.finish_reason(), v1::FINISH_REASON_UNSPECIFIED);

  delta.finished = true;
  delta.finish_reason = FinishReason::kStopSequence;
  delta.stop_sequence = "END";
  delta.usage.session_tokens_seen = 12;
  delta.usage.queue_time = std::chrono::milliseconds(1500);
  position = {};
  EXPECT_TRUE(NextPiece(delta, &position, &response));
  EXPECT_EQ(response.finish_reason(), v1::FINISH_REASON_STOP_SEQUENCE);
  EXPECT_EQ(response.stop_sequence(), "END");
  EXPECT_EQ(response.usage().position(), 12);
  EXPECT_EQ(response.usage().queue_time().seconds(), 1);
  EXPECT_EQ(response.usage().queue_time().nanos(), 500'000'000);
}

// What a slow reader left unread has any size; messages have not.
TEST(NextPiece, LargeTextIsCutBetweenCharacters) {
  TurnDelta delta;
  delta.finished = true;
  delta.text = "x";
  while (delta.text.size() < (1 << 20)) delta.text += "€";
  delta.token_ids.assign(100'000, 7);
  DeltaPosition position;
  v1::GenerateResponse response;
  std::string text;
  int tokens = 0;
  bool last = false;
  while (!last) {
    last = NextPiece(delta, &position, &response);
    EXPECT_LT(response.ByteSizeLong(), 1u << 20);
    EXPECT_EQ((text.size() + response.text().size() - 1) % 3, 0u);  // whole characters
    EXPECT_EQ(response.has_usage(), last);
    text += response.text();
    tokens += response.token_ids_size();
  }
  EXPECT_EQ(text, delta.text);
  EXPECT_EQ(tokens, 100'000);
}

TEST(NextPiece, LogprobsStayParallelAndThePromptsComeFirst) {
  TurnDelta delta;
  delta.finished = true;
  delta.stop_token_id = 0;
  delta.usage.cached_tokens = 17;
  const auto of = [](int i) {
    return TokenLogprobs{.logprob = -0.25f * static_cast<float>(i % 5),
                         .top = std::vector<TokenLogprob>(20, {.id = i + 1, .logprob = -1})};
  };
  for (int i = 0; i < 5000; ++i) delta.prompt_logprobs.emplace_back(i, of(i));
  for (int i = 0; i < 3000; ++i) {
    delta.token_ids.push_back(i);
    delta.logprobs.push_back(of(i));
  }
  DeltaPosition position{.index = 3};
  v1::GenerateResponse response;
  int prompt = 0, next = 0;
  bool last = false;
  while (!last) {
    last = NextPiece(delta, &position, &response);
    EXPECT_LT(response.ByteSizeLong(), 1u << 20);
    EXPECT_EQ(response.index(), 3);
    EXPECT_EQ(response.has_stop_token_id(), last);
    for (const v1::TokenLogprobs& logprobs : response.prompt_logprobs()) {
      EXPECT_EQ(next, 0);
      ASSERT_EQ(logprobs.token_id(), prompt++);
      ASSERT_EQ(logprobs.top_size(), 20);
    }
    ASSERT_EQ(response.logprobs_size(), response.token_ids_size());
    for (int i = 0; i < response.token_ids_size(); ++i, ++next) {
      ASSERT_EQ(response.token_ids(i), next);
      ASSERT_EQ(response.logprobs(i).token_id(), next);
      ASSERT_EQ(response.logprobs(i).logprob(), -0.25f * static_cast<float>(next % 5));
      ASSERT_EQ(response.logprobs(i).top(0).token_id(), next + 1);
    }
  }
  EXPECT_EQ(prompt, 5000);
  EXPECT_EQ(next, 3000);
  EXPECT_EQ(response.stop_token_id(), 0);
  EXPECT_EQ(response.usage().cached_tokens(), 17);
}

TEST(NextPiece, ScoresStayParallel) {
  TurnDelta delta;
  delta.finished = true;
  delta.score_total = 50'000;
  for (int i = 0; i < 50'000; ++i) {
    delta.token_ids.push_back(i);
    delta.scores.push_back({-0.5f * static_cast<float>(i % 7), i + 1, 2.0f});
  }
  DeltaPosition position;
  v1::ScoreResponse response;
  int next = 0;
  bool last = false;
  while (!last) {
    last = NextPiece(delta, &position, &response);
    EXPECT_EQ(response.tokens_total(), 50'000);
    EXPECT_EQ(response.has_usage(), last);
    ASSERT_EQ(response.logprobs_size(), response.token_ids_size());
    for (int i = 0; i < response.token_ids_size(); ++i, ++next) {
      ASSERT_EQ(response.token_ids(i), next);
      ASSERT_EQ(response.top_ids(i), next + 1);
      ASSERT_EQ(response.logprobs(i), -0.5f * static_cast<float>(next % 7));
    }
  }
  EXPECT_EQ(next, 50'000);
}

TEST(ToWire, Session) {
  EngineOptions options;
  options.cache_bytes_per_slot = 4096;
  options.geometry.sub_cache_tokens = {64, 32};
  options.geometry.stride = 16;
  SessionInfo session;
  session.id = "id";
  session.label = "label";
  session.state = SessionState::kBusy;
  session.position = 5;
  session.created = std::chrono::system_clock::time_point(std::chrono::milliseconds(1500));
  session.last_finish = FinishReason::kDeadline;
  const v1::Session wire = ToWire(session, options);
  EXPECT_EQ(wire.session_id(), "id");
  EXPECT_EQ(wire.state(), v1::SESSION_STATE_BUSY);
  EXPECT_EQ(wire.geometry().sub_cache_tokens(1), 32);
  EXPECT_EQ(wire.geometry().selection(), "both");
  EXPECT_EQ(wire.geometry().score_reduction(), "mean");
  EXPECT_EQ(wire.created().seconds(), 1);
  EXPECT_FALSE(wire.has_expires());
  EXPECT_EQ(wire.cache_bytes(), 4096);
  EXPECT_EQ(wire.last_finish_reason(), v1::FINISH_REASON_DEADLINE);
}

}  // namespace
}  // namespace cascade
