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
