// Turns that end while a row that was launched after their last one is in flight, and how their sessions go on.
#include <algorithm>
#include <atomic>
#include <random>

#include "tests/engine/engine_test_util.h"

namespace cascade {
namespace {

using ::testing::ElementsAreArray;
using ::testing::IsEmpty;

class EngineInFlightTest : public EngineTest {
 protected:
  // Counts launches, and rows whose ids are not known.
  void Count() {
    model_->on_step = [this](const ForwardBatch& batch) {
      ++launches_;
      unknown_rows_ += static_cast<int>(std::count(batch.ids.begin(), batch.ids.end(), kernels::kSampledId));
    };
  }
  bool ahead() const { return steps_in_flight() > 1; }

  std::atomic<int> launches_{0};
  std::atomic<int> unknown_rows_{0};
};

TEST_P(EngineInFlightTest, AnEndIdMakesTheRowBehindItDead) {
  Start(Says("hi"));
  Count();
  const std::string session = NewSession();
  EXPECT_EQ(Finish(TextTurn("1>", 100, session)).text, "hi");
  EXPECT_EQ(Position(session), 5);
  EXPECT_EQ(Finish(TextTurn("2>", 100, session)).text, "hi");
  EXPECT_EQ(Position(session), 10);
  std::vector<int32_t> fed = TextIds("1>hi$2>hi");
  fed[4] = ByteTokenizer::kEnd;  // fed by the second turn, once
  EXPECT_EQ(model_->FedIds(0), fed);
  Finish(TextTurn("x", 1));  // whatever was in flight is over
  EXPECT_EQ(model_->dead_rows(), ahead() ? 2 : 0);
  EXPECT_EQ(unknown_rows_.load(), ahead() ? 6 : 0);  // 'h', 'i' and the end of either turn
}

// The dead row would have been the last of a stride.
TEST_P(EngineInFlightTest, ADeadRowClosesNoStride) {
  Start(Says("hi"));
  const std::string session = NewSession();
  const std::string prompt = "45678901234567>";  // 2 sinks, 13 of 16; with 'h', 'i' and the end it would be full
  EXPECT_EQ(Finish(TextTurn(prompt, 100, session)).text, "hi");
  EXPECT_EQ(engine_->metrics().stride_closes.load(), 0);
  EXPECT_EQ(Position(session), 18);
  EXPECT_EQ(model_->FedIds(0).size(), 17u);
  EXPECT_EQ(Finish(TextTurn("2>", 100, session)).text, "hi");
  EXPECT_EQ(engine_->metrics().stride_closes.load(), 1);
}

TEST_P(EngineInFlightTest, MaxTokensIsKnownBefore) {
  Start(Endless());
  Count();
  const std::string session = NewSession();
  EXPECT_EQ(Finish(TextTurn("ab", 5, session)).text, "aaaaa");
  EXPECT_EQ(launches_.load(), 5);
  EXPECT_EQ(unknown_rows_.load(), ahead() ? 4 : 0);
  EXPECT_EQ(Finish(TextTurn("", 1, session)).text, "a");
  EXPECT_EQ(launches_.load(), 6);
  EXPECT_THAT(model_->FedIds(0), ElementsAreArray(TextIds("abaaaaa")));
  EXPECT_EQ(model_->dead_rows(), 0);
}

TEST_P(EngineInFlightTest, StopStringsWaitForEachId) {
  Start(Says("one, two"));
  Count();
  const std::string session = NewSession();
  TurnRequest request = TextTurn(">", 100, session);
  request.stop = {", t"};
  EXPECT_EQ(Finish(request).text, "one");
  EXPECT_EQ(unknown_rows_.load(), 0);
  EXPECT_EQ(launches_.load(), 6);
  EXPECT_EQ(Position(session), 7);
  EXPECT_EQ(Finish(TextTurn("", 100, session)).text, "wo");
  EXPECT_EQ(model_->dead_rows(), ahead() ? 1 : 0);
}

// Beside one that does not wait for its ids it has a row in every other step.
TEST_P(EngineInFlightTest, StopStringsDoNotStopTheOthers) {
  Start(Endless());
  model_->Hold();
  TurnRequest request = TextTurn("ab", 20);
  request.stop = {"zzz"};
  const auto plain = MustSubmit(TextTurn("ab", 60));
  const auto stopping = MustSubmit(request);
  model_->ReleaseAll();
  EXPECT_EQ(Collect(*stopping).text, std::string(20, 'a'));
  EXPECT_EQ(Collect(*plain).text, std::string(60, 'a'));
  const int64_t together = 20 * steps_in_flight();
  EXPECT_LE(static_cast<int64_t>(model_->steps().size()), 60 + together);
}

TEST_P(EngineInFlightTest, DeltasLeaveWhenTheNextStepIsLaunched) {
  Start(Endless());
  Count();
  model_->Hold();
  const auto stream = MustSubmit(TextTurn("ab", 50));
  std::atomic<int> launched{0};
  stream->NotifyWhenReady([&] { launched = launches_.load(); });
  model_->WaitUntilHeld();
  model_->Release(1);
  model_->WaitForSteps(1);
  model_->WaitUntilHeld();
  EXPECT_EQ(launched.load(), steps_in_flight());
  model_->ReleaseAll();
  Collect(*stream);
}

TEST_P(EngineInFlightTest, ACancelledTurnThatEndsByItself) {
  Start(Says("abc"));
  const std::string session = NewSession();
  model_->Hold();
  const auto stream = MustSubmit(TextTurn(">", 100, session));
  model_->WaitUntilHeld();
  model_->Release(4 - steps_in_flight());  // what is in flight ends with the end token
  model_->WaitForSteps(4 - steps_in_flight());
  model_->WaitUntilHeld();
  stream->Cancel();
  model_->ReleaseAll();
  const TurnDelta delta = Collect(*stream);
  EXPECT_EQ(delta.finish_reason, FinishReason::kStop);
  EXPECT_EQ(delta.text, "abc");
  EXPECT_EQ(Position(session), 5);
}

// Turns of all kinds that end in all ways: what a slot was fed is what the session says that it holds, and it goes on
// like one that was given all ids at once, one step at a time.
TEST_P(EngineInFlightTest, WhateverEndsATurnTheSessionIsItsIds) {
  options_.num_slots = 6;
  Start();
  FakeModel slow(options_.geometry, ByteTokenizer::kVocabulary, options_.max_num_batched_tokens);
  FakeRandom random_of_slow;
  auto one_at_a_time = Engine::Create(options_, slow, tokenizer_, nullptr, clock_, random_of_slow).value();
  std::mt19937 random(7);
  int reasons[7] = {};
  for (int round = 0; round < 150; ++round) {
    const std::string session = NewSession();
    std::vector<int32_t> history;
    std::vector<std::shared_ptr<TokenStream>> neighbours;
    for (unsigned i = 0; i < random() % 3; ++i) neighbours.push_back(MustSubmit(TextTurn("neighbour", 200)));
    for (unsigned turn = 0; turn < 1 + random() % 4; ++turn) {
      std::vector<int32_t> prompt(1 + random() % 60);
      for (int32_t& id : prompt) id = static_cast<int32_t>(random() % 250);
      TurnRequest request = IdsTurn(prompt, static_cast<int64_t>(random() % 80), session);
      request.sampling.temperature = random() % 2 ? 2.0f : 0.0f;
      if (random() % 3 == 0) request.stop = {std::string(1, static_cast<char>('a' + random() % 26)), "e"};
      if (random() % 3 == 0) request.deadline = clock_.Now() + std::chrono::seconds(1);
      const auto stream = MustSubmit(request);
      std::vector<int32_t> sampled;
      TurnDelta delta;
      const unsigned patience = random() % 40;
      for (unsigned pops = 0; !delta.finished; ++pops) {
        if (pops == patience) random() % 2 ? stream->Cancel() : clock_.Advance(std::chrono::seconds(1));
        delta = stream->Pop();
        sampled.insert(sampled.end(), delta.token_ids.begin(), delta.token_ids.end());
      }
      ++reasons[static_cast<size_t>(delta.finish_reason)];
      ASSERT_NE(delta.finish_reason, FinishReason::kError) << delta.status;
      ASSERT_EQ(static_cast<int64_t>(sampled.size()), delta.usage.completion_tokens);
      history.insert(history.end(), prompt.begin(), prompt.begin() + delta.usage.prompt_tokens);
      history.insert(history.end(), sampled.begin(), sampled.end());
      ASSERT_EQ(Position(session), static_cast<int64_t>(history.size()));
    }
    if (!history.empty()) {
      const std::string same = one_at_a_time->CreateSession("", std::nullopt)->id;
      const auto fed = one_at_a_time->Submit(IdsTurn(history, 12, same)).value();
      EXPECT_EQ(Finish(IdsTurn({}, 12, session)).token_ids, Collect(*fed).token_ids) << "round " << round;
      EXPECT_TRUE(one_at_a_time->DeleteSession(same).ok());
    }
    for (const auto& neighbour : neighbours) {
      neighbour->Cancel();
      Collect(*neighbour);
    }
    EXPECT_TRUE(engine_->DeleteSession(session).ok());
  }
  for (const FinishReason reason : {FinishReason::kStop, FinishReason::kStopSequence, FinishReason::kLength,
                                    FinishReason::kCancelled, FinishReason::kDeadline}) {
    EXPECT_GT(reasons[static_cast<size_t>(reason)], 3) << static_cast<int>(reason);
  }
  EXPECT_EQ(model_->dead_rows() > 0, ahead());
  one_at_a_time.reset();
  EXPECT_THAT(slow.violations(), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(StepsInFlight, EngineInFlightTest, ::testing::Values(1, 2));

}  // namespace
}  // namespace cascade
