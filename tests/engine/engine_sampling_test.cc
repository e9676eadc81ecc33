// What a turn says about sampling, stops and output, through the whole engine.
#include <algorithm>
#include <atomic>

#include "tests/engine/engine_sampling_fixture.h"

namespace cascade {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_P(EngineSamplingTest, TheHostPicksWhatTheDevicePicks) {
  Start();
  for (uint64_t seed = 0; seed < 30; ++seed) {
    TurnRequest request = Random("some text", 20, seed);
    if (seed % 3 == 1) request.sampling.top_k = 5;
    if (seed % 3 == 2) request.sampling.top_p = 0.7f;
    const TurnDelta device = Finish(request);
    const TurnDelta host = Finish(OnHost(request));
    EXPECT_EQ(host.token_ids, device.token_ids);
    EXPECT_EQ(host.text, device.text);
    EXPECT_EQ(host.finish_reason, device.finish_reason);
    EXPECT_THAT(host.logprobs, SizeIs(host.token_ids.size()));
  }
}

TEST_P(EngineSamplingTest, StopTokensEndTheReply) {
  Start(Says("hello, you"));
  TurnRequest request = TextTurn(">", 100);
  request.stop_token_ids = {'x', 'o'};
  TurnDelta turn = Finish(request);
  EXPECT_EQ(turn.text, "hell");
  EXPECT_THAT(turn.token_ids, ElementsAre('h', 'e', 'l', 'l', 'o'));
  EXPECT_EQ(turn.finish_reason, FinishReason::kStop);
  EXPECT_EQ(turn.stop_token_id, 'o');
  request.include_stop = true;
  turn = Finish(request);
  EXPECT_EQ(turn.text, "hello");
  EXPECT_EQ(turn.stop_token_id, 'o');
}

TEST_P(EngineSamplingTest, EndTokensAreReportedAndPrintedByName) {
  Start(Says("hi"));
  TurnRequest request = TextTurn(">", 100);
  TurnDelta turn = Finish(request);
  EXPECT_EQ(turn.text, "hi");
  EXPECT_EQ(turn.stop_token_id, ByteTokenizer::kEnd);
  request.include_stop = true;
  EXPECT_EQ(Finish(request).text, "hi<e>");
  request.stop = {"i"};
  turn = Finish(request);
  EXPECT_EQ(turn.text, "hi");
  EXPECT_EQ(turn.finish_reason, FinishReason::kStopSequence);
  EXPECT_EQ(turn.stop_sequence, "i");
  EXPECT_FALSE(turn.stop_token_id.has_value());
}

// A stop string that never came is printed before the stop token.
TEST_P(EngineSamplingTest, WhatWasHeldBackIsPrintedAtTheStop) {
  Start(Says("ab!c"));
  TurnRequest request = TextTurn(">", 100);
  request.stop = {"b?"};
  request.stop_token_ids = {'!'};
  EXPECT_EQ(Finish(request).text, "ab");
  request.include_stop = true;
  EXPECT_EQ(Finish(request).text, "ab!");
}

TEST_P(EngineSamplingTest, IgnoredEndTokensAreOrdinary) {
  Start([](std::span<const int32_t> ids, std::span<float> logits) {
    std::fill(logits.begin(), logits.end(), 0.0f);
    logits[ids.back() == ByteTokenizer::kEnd ? 'a' : ByteTokenizer::kEnd] = 5;
  });
  TurnRequest request = TextTurn("x", 5);
  EXPECT_THAT(Finish(request).token_ids, ElementsAre(ByteTokenizer::kEnd));
  request.ignore_eos = true;
  const TurnDelta turn = Finish(request);
  EXPECT_THAT(turn.token_ids, ElementsAre(ByteTokenizer::kEnd, 'a', ByteTokenizer::kEnd, 'a', ByteTokenizer::kEnd));
  EXPECT_EQ(turn.finish_reason, FinishReason::kLength);
  EXPECT_FALSE(turn.stop_token_id.has_value());
  EXPECT_EQ(model_->dead_rows(), steps_in_flight() - 1);  // of the first turn
}

TEST_P(EngineSamplingTest, MinTokensKeepTheEndAway) {
  Start([](std::span<const int32_t>, std::span<float> logits) {
    std::fill(logits.begin(), logits.end(), 0.0f);
    logits[ByteTokenizer::kEnd] = 5;
    logits['s'] = 4;
    logits['a'] = 3;
  });
  TurnRequest request = TextTurn("x", 100);
  request.stop_token_ids = {'s'};
  request.min_tokens = 3;
  const TurnDelta turn = Finish(request);
  EXPECT_THAT(turn.token_ids, ElementsAre('a', 'a', 'a', ByteTokenizer::kEnd));
  EXPECT_EQ(turn.finish_reason, FinishReason::kStop);
}

// After min_tokens a turn with no other rule is the device's again.
TEST_P(EngineSamplingTest, AfterMinTokensStepsOverlapAgain) {
  Start(Endless());
  std::atomic<int> unknown{0};
  model_->on_step = [&](const ForwardBatch& batch) {
    unknown += static_cast<int>(std::count(batch.ids.begin(), batch.ids.end(), kernels::kSampledId));
  };
  TurnRequest request = TextTurn("x", 20);
  request.min_tokens = 5;
  EXPECT_EQ(Finish(request).text, std::string(20, 'a'));
  EXPECT_EQ(unknown.load(), steps_in_flight() > 1 ? 14 : 0);
}

TEST_P(EngineSamplingTest, BiasAndAllowedIds) {
  Start(Endless());
  TurnRequest request = TextTurn("x", 3);
  request.sampling.logit_bias = {{'a', -100.0f}, {'b', 1.0f}};
  EXPECT_EQ(Finish(request).text, "bbb");
  request.sampling.allowed_token_ids = {'a', 'c', 'd'};
  EXPECT_EQ(Finish(request).text, "ccc");
}

TEST_P(EngineSamplingTest, PenaltiesCountThisReply) {
  Start([](std::span<const int32_t>, std::span<float> logits) {
    std::fill(logits.begin(), logits.end(), 0.0f);
    for (const char c : {'c', 'b', 'a'}) logits[static_cast<size_t>(c)] = static_cast<float>(5 + ('c' - c));
  });
  TurnRequest request = TextTurn("aaaa", 4);
  request.sampling.presence_penalty = 1.5f;
  EXPECT_EQ(Finish(request).text, "abaa");  // 7 6 5; 5.5 6 5; 5.5 4.5 5; the same
  request.sampling.presence_penalty = 0;
  request.sampling.frequency_penalty = 2;
  EXPECT_EQ(Finish(request).text, "abac");  // 7 6 5; 5 6 5; 5 4 5; 3 4 5
}

TEST_P(EngineSamplingTest, RepetitionLooksBackOverTurns) {
  Start([](std::span<const int32_t>, std::span<float> logits) {
    std::fill(logits.begin(), logits.end(), 0.0f);
    logits['a'] = 4, logits['b'] = 3.5f, logits['c'] = 3;
  });
  const std::string session = NewSession();
  EXPECT_EQ(Finish(TextTurn("xy", 2, session)).text, "aa");
  TurnRequest request = TextTurn("zb", 1, session);
  request.sampling.repetition_penalty = 2;
  request.sampling.repeat_last_n = 3;  // a z b
  EXPECT_EQ(Finish(request).text, "c");
  request = TextTurn("", 1, session);  // .. a z b c
  request.sampling.repetition_penalty = 2;
  request.sampling.repeat_last_n = 3;
  EXPECT_EQ(Finish(request).text, "a");
}

TEST_P(EngineSamplingTest, LogprobsComeWithTheirTokens) {
  Start();
  TurnRequest request = Random("some text", 12, 3);
  request.logprobs = 4;
  request.sampling.logit_bias = {{'x', 30.0f}};
  const auto stream = MustSubmit(request);
  size_t tokens = 0;
  while (true) {
    const TurnDelta delta = stream->Pop();
    ASSERT_EQ(delta.logprobs.size(), delta.token_ids.size());
    tokens += delta.token_ids.size();
    for (const TokenLogprobs& logprobs : delta.logprobs) {
      EXPECT_LT(logprobs.logprob, 0);
      EXPECT_THAT(logprobs.top, SizeIs(4));
      EXPECT_GE(logprobs.top[0].logprob, logprobs.logprob);
    }
    if (delta.finished) break;
  }
  EXPECT_GT(tokens, 0u);
}

TEST_P(EngineSamplingTest, ResumedTurnsHaveTheirLogprobs) {
  Start();
  const std::string session = NewSession();
  TurnRequest request = Random("some text", 12, 3, session);
  request.logprobs = 2;
  request.prompt_logprobs = 1;
  request.ignore_eos = true;
  const TurnDelta whole = Finish(request);
  ASSERT_EQ(whole.token_ids.size(), 12u);
  ASSERT_EQ(whole.prompt_logprobs.size(), 8u);
  for (const int64_t from : {0, 5, 12}) {
    const auto stream = engine_->ResumeTurn(session, from);
    ASSERT_TRUE(stream.ok()) << stream.status();
    const TurnDelta rest = Collect(**stream);
    ASSERT_EQ(rest.logprobs.size(), 12u - static_cast<size_t>(from));
    for (size_t i = 0; i < rest.logprobs.size(); ++i) {
      EXPECT_EQ(rest.logprobs[i].logprob, whole.logprobs[i + static_cast<size_t>(from)].logprob);
    }
    EXPECT_EQ(rest.prompt_logprobs.size(), from == 0 ? 8u : 0u);
  }
}

// Random logits say nothing of JSON; the schema does.
TEST_P(EngineSamplingTest, RepliesThatASchemaAccepts) {
  Start();
  for (uint64_t seed = 0; seed < 20; ++seed) {
    TurnRequest request = Random("json", 200, seed);
    request.json_schema = R"({"type":"object","properties":{"a":{"enum":[1,"x",null]}},"required":["a"],
                              "additionalProperties":false})";
    const TurnDelta turn = Finish(request);
    ASSERT_TRUE(turn.status.ok()) << turn.status;
    if (turn.finish_reason == FinishReason::kLength) continue;  // white space may go on and on
    EXPECT_EQ(turn.finish_reason, FinishReason::kStop);
    std::string bare;
    for (const char c : turn.text) {
      if (c != ' ' && c != '\n' && c != '\t' && c != '\r') bare += c;
    }
    EXPECT_THAT(bare, ::testing::AnyOf(R"({"a":1})", R"({"a":"x"})", R"({"a":null})"));
  }
  TurnRequest bad = Random("json", 20, 1);
  bad.json_schema = R"({"type":"objekt"})";
  const absl::Status status = engine_->Submit(bad).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("response_format"));
}

// The rules leave nothing in the middle of a reply: the turn ends with that error, and a session is what it was.
TEST_P(EngineSamplingTest, RulesThatLeaveNothingOnTheWay) {
  Start();
  const std::string session = NewSession();
  Finish(TextTurn("before", 2, session));
  const int64_t position = Position(session);
  TurnRequest request = TextTurn("json", 50, session);
  request.json_schema = R"({"const":"ab"})";
  request.sampling.logit_bias = {{'b', -100.0f}};
  const TurnDelta turn = Finish(request);
  EXPECT_EQ(turn.status.code(), absl::StatusCode::kInvalidArgument) << turn.status;
  EXPECT_THAT(std::string(turn.status.message()), HasSubstr("sampling.logit_bias"));
  EXPECT_THAT(std::string(turn.status.message()), HasSubstr("the session is as before"));
  EXPECT_EQ(turn.finish_reason, FinishReason::kError);
  EXPECT_EQ(Position(session), position);
  EXPECT_TRUE(Finish(TextTurn("", 3, session)).status.ok());
  request.session_id = "";
  EXPECT_EQ(Finish(request).status.code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(EngineSamplingTest, PromptLogprobsAreThoseOfScore) {
  options_.max_num_batched_tokens = 64;
  Start();
  for (const size_t length : {2u, 17u, 100u}) {
    std::vector<int32_t> ids(length);
    for (size_t i = 0; i < length; ++i) ids[i] = static_cast<int32_t>((i * 37 + length) % 250);
    for (const bool with_session : {false, true}) {
      const std::string scored = with_session ? NewSession() : "", generated = with_session ? NewSession() : "";
      if (with_session) {
        Finish(TextTurn("before", 0, scored));
        Finish(TextTurn("before", 0, generated));
      }
      const TurnDelta score = Finish(ScoreTurn(ids, scored));
      for (const int64_t max_tokens : {0, 5}) {
        TurnRequest request = IdsTurn(ids, max_tokens, max_tokens == 0 ? "" : generated);
        if (with_session && max_tokens == 0) continue;
        request.prompt_logprobs = 3;
        const TurnDelta turn = Finish(request);
        ASSERT_TRUE(turn.status.ok()) << turn.status;
        ASSERT_EQ(turn.prompt_logprobs.size(), score.scores.size());
        double sum = 0, score_sum = 0;
        for (size_t i = 0; i < score.scores.size(); ++i) {
          EXPECT_EQ(turn.prompt_logprobs[i].first, score.token_ids[i]);
          EXPECT_EQ(turn.prompt_logprobs[i].second.top.at(0).id, score.scores[i].top_id);
          sum += turn.prompt_logprobs[i].second.logprob;
          score_sum += score.scores[i].logprob;
        }
        EXPECT_NEAR(sum, score_sum, 1e-5 * static_cast<double>(length));
        EXPECT_THAT(turn.logprobs, IsEmpty());
        if (!with_session) {
          EXPECT_EQ(turn.token_ids, Finish(IdsTurn(ids, max_tokens)).token_ids);
        }
      }
      if (with_session) {
        engine_->DeleteSession(scored).IgnoreError();
        engine_->DeleteSession(generated).IgnoreError();
      }
    }
  }
}

TEST_P(EngineSamplingTest, EchoBeginsWithThePrompt) {
  Start(Says("hi"));
  TurnRequest request = TextTurn("say>", 10);
  request.echo = true;
  EXPECT_EQ(Finish(request).text, "say>hi");
  request.max_tokens = 0;
  EXPECT_EQ(Finish(request).text, "say>");
  TurnRequest ids = IdsTurn(TextIds("x>"), 10);
  ids.echo = true;
  EXPECT_EQ(Finish(ids).text, "x>hi");
  TurnRequest one = IdsTurn({'x'}, 0);  // needs no step
  one.echo = true;
  EXPECT_EQ(Finish(one).text, "x");
}

TEST_P(EngineSamplingTest, RulesThatLeaveNothingAreRefused) {
  Start(Endless());
  TurnRequest request = TextTurn("x", 5);
  request.sampling.allowed_token_ids = {ByteTokenizer::kEnd};
  request.min_tokens = 1;
  const auto stream = engine_->Submit(request);
  EXPECT_EQ(stream.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(stream.status().message()), HasSubstr("stopping.min_tokens"));
  const std::string session = NewSession();
  request.session_id = session;
  EXPECT_FALSE(engine_->Submit(request).ok());
  EXPECT_EQ(Finish(TextTurn("x", 1, session)).text, "a");  // it is not busy
}

INSTANTIATE_TEST_SUITE_P(StepsInFlight, EngineSamplingTest, ::testing::Values(1, 2));

}  // namespace
}  // namespace cascade
