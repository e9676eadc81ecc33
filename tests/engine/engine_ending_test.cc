// Turns that end before their time: cancels, deadlines, deleted sessions, errors, the server's stop.
#include <cmath>
#include <thread>

#include "tests/engine/engine_test_util.h"

namespace cascade {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Message(const absl::Status& status) {
  return std::string(status.message().data(), status.message().size());
}

class EngineEndingTest : public EngineTest {
 protected:
  // Lets one held step go and counts those that follow until the turn has ended.
  int StepsUntilEnd(TokenStream& stream) {
    const auto before = static_cast<int>(model_->steps().size());
    model_->ReleaseAll();
    last_ = Collect(stream);
    return static_cast<int>(model_->steps().size()) - before;
  }
  TurnDelta last_;
};

TEST_P(EngineEndingTest, CancelWhileDecoding) {
  Start(Endless());
  const std::string session = NewSession();
  model_->Hold();
  const auto stream = MustSubmit(TextTurn("ab", 100000, session));
  model_->Release(3);
  model_->WaitForSteps(3);
  model_->WaitUntilHeld();
  stream->Cancel();
  EXPECT_LE(StepsUntilEnd(*stream), 2);
  EXPECT_EQ(last_.finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(last_.status.code(), absl::StatusCode::kCancelled);
  // What was made belongs to the session: that of the steps in flight too.
  EXPECT_EQ(last_.text, std::string(3 + static_cast<size_t>(steps_in_flight()), 'a'));
  EXPECT_EQ(Position(session), 2 + 3 + steps_in_flight());
  EXPECT_EQ(engine_->GetSession(session)->last_finish, FinishReason::kCancelled);
  EXPECT_TRUE(Finish(TextTurn("c", 1, session)).status.ok());
}

TEST_P(EngineEndingTest, CancelWhileReading) {
  Start(Endless());
  const std::string session = NewSession();
  std::vector<int32_t> prompt;
  for (int i = 0; i < 200; ++i) prompt.push_back(i);
  model_->Hold();
  const auto stream = MustSubmit(IdsTurn(prompt, 10, session));
  model_->Release(2);
  model_->WaitForSteps(2);
  model_->WaitUntilHeld();
  stream->Cancel();
  EXPECT_LE(StepsUntilEnd(*stream), 2);
  EXPECT_EQ(last_.finish_reason, FinishReason::kCancelled);
  EXPECT_TRUE(last_.token_ids.empty());
  // Sinks, a slice and those in flight are fed, and the next id is pending.
  const int64_t position = 2 + 16 + 16 * steps_in_flight() + 1;
  EXPECT_EQ(Position(session), position);
  EXPECT_EQ(last_.usage.prompt_tokens, position);
  // The session goes on as one that was given just those ids.
  Finish(IdsTurn({}, 1, session));
  EXPECT_EQ(model_->FedIds(0), std::vector<int32_t>(prompt.begin(), prompt.begin() + position));
}

TEST_P(EngineEndingTest, CancelWhileWaitingTouchesNothing) {
  options_.max_num_seqs = 1;
  Start(Endless());
  const std::string session = NewSession();
  Finish(TextTurn("ab", 1, session));
  model_->Hold();
  const auto running = MustSubmit(TextTurn("x", 1000));
  model_->WaitUntilHeld();
  const auto waiting = MustSubmit(TextTurn("y", 1000, session));
  const auto one_shot = MustSubmit(TextTurn("z", 1000));
  waiting->Cancel();
  one_shot->Cancel();
  model_->Release(1);
  model_->WaitForSteps(2);
  model_->WaitUntilHeld();  // in the next step, after the round that dropped them
  const std::optional<TurnDelta> dropped = waiting->TryPop();
  ASSERT_TRUE(dropped.has_value() && dropped->finished);
  EXPECT_EQ(dropped->status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(dropped->usage.prompt_tokens, 0);
  EXPECT_EQ(Position(session), 3);
  EXPECT_EQ(Collect(*one_shot).finish_reason, FinishReason::kCancelled);
  running->Cancel();
  model_->ReleaseAll();
  Collect(*running);
  EXPECT_EQ(engine_->SlotsFree(), 3);
}

TEST_P(EngineEndingTest, DeadlinesOfRunningAndWaitingTurns) {
  options_.max_num_seqs = 1;
  Start(Endless());
  model_->Hold();
  TurnRequest request = TextTurn("x", 1000);
  request.deadline = clock_.Now() + seconds(5);
  const auto running = MustSubmit(request);
  model_->WaitUntilHeld();
  const auto waiting = MustSubmit(request);
  clock_.Advance(seconds(5));
  EXPECT_LE(StepsUntilEnd(*running), 2);
  EXPECT_EQ(last_.finish_reason, FinishReason::kDeadline);
  EXPECT_EQ(last_.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(last_.usage.completion_tokens, steps_in_flight());
  const TurnDelta never_ran = Collect(*waiting);
  EXPECT_EQ(never_ran.finish_reason, FinishReason::kDeadline);
  EXPECT_EQ(never_ran.usage.completion_tokens, 0);
  EXPECT_EQ(never_ran.usage.queue_time, seconds(5));
  EXPECT_EQ(model_->steps().size(), static_cast<size_t>(steps_in_flight()));
}

TEST_P(EngineEndingTest, ADeadlineInThePastNeverReachesTheModel) {
  Start(Endless());
  TurnRequest request = TextTurn("x", 1000);
  request.deadline = clock_.Now();
  EXPECT_EQ(Finish(request).status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(model_->steps().size(), 0u);
}

TEST_P(EngineEndingTest, DeletingABusySessionCancelsItsTurn) {
  options_.num_slots = 2;
  Start(Endless());
  const std::string session = NewSession();
  const auto stream = MustSubmit(TextTurn("x", 100000, session));
  EXPECT_TRUE(engine_->DeleteSession(session).ok());
  EXPECT_EQ(Collect(*stream).finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(SubmitCode(TextTurn("x", 1, session)), absl::StatusCode::kNotFound);
  EXPECT_EQ(engine_->SlotsFree(), 2);
  EXPECT_EQ(engine_->metrics().sessions.load(), 0);
  EXPECT_EQ(engine_->DeleteSession(session).code(), absl::StatusCode::kNotFound);
}

TEST_P(EngineEndingTest, AnErrorEndsTheTurnsOfItsStepAndNoOthers) {
  Start(Says("hello"));
  const std::string hit = NewSession();
  const std::string spared = NewSession();
  Finish(TextTurn(">", 1, spared));
  model_->Hold();
  const auto session_turn = MustSubmit(TextTurn(">>>>", 100, hit));
  const auto one_shot = MustSubmit(TextTurn(">", 100));
  model_->WaitUntilHeld();
  model_->Release(1);
  model_->WaitForSteps(2);  // one is spared's; now both may run together
  model_->WaitUntilHeld();
  model_->FailNextStep(absl::UnavailableError("device fell off"));
  model_->ReleaseAll();
  for (const auto& stream : {session_turn, one_shot}) {
    const TurnDelta delta = Collect(*stream);
    EXPECT_EQ(delta.finish_reason, FinishReason::kError);
    EXPECT_EQ(delta.status.code(), absl::StatusCode::kInternal);
    EXPECT_THAT(Message(delta.status), HasSubstr("device fell off"));
    EXPECT_EQ(Message(delta.status).find("the session is lost") != std::string::npos, stream == session_turn);
  }
  EXPECT_EQ(engine_->GetSession(hit).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Finish(TextTurn("", 100, spared)).text, "ello");
  EXPECT_EQ(Finish(TextTurn(">", 100)).text, "hello");
  EXPECT_EQ(engine_->metrics().turns_failed.load(), 2);
  EXPECT_EQ(engine_->SlotsFree(), 3);
  NewSession();  // the lost session's slot serves again
}

TEST_P(EngineEndingTest, NanLogitsEndTheirTurnOnly) {
  Start([](std::span<const int32_t> ids, std::span<float> logits) {
    std::fill(logits.begin(), logits.end(), 0.0f);
    logits['a'] = ids[0] == 'n' && ids.size() > 5 ? NAN : 1.0f;
  });
  model_->Hold();
  const auto sick = MustSubmit(TextTurn("nan", 20));
  const auto well = MustSubmit(TextTurn("xyz", 20));
  model_->ReleaseAll();
  const TurnDelta failed = Collect(*sick);
  EXPECT_EQ(failed.status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(failed.text, "aaa");
  EXPECT_EQ(Collect(*well).text, std::string(20, 'a'));
}

TEST_P(EngineEndingTest, NanScoresEndTheirTurn) {
  Start([](std::span<const int32_t> ids, std::span<float> logits) {
    std::fill(logits.begin(), logits.end(), ids.size() > 5 ? NAN : 1.0f);
  });
  const std::string session = NewSession();
  EXPECT_TRUE(Finish(ScoreTurn({1, 2, 3}, session)).status.ok());
  const TurnDelta failed = Finish(ScoreTurn({4, 5, 6, 7, 8}, session));
  EXPECT_EQ(failed.status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(failed.token_ids, ::testing::Each(::testing::Lt(8)));
  EXPECT_EQ(SubmitCode(TextTurn("x", 1, session)), absl::StatusCode::kNotFound);
  EXPECT_EQ(engine_->SlotsFree(), 4);
}

TEST_P(EngineEndingTest, AfterStopAdmissionNothingNewComesInAndDrainWaits) {
  Start(Endless());
  const std::string session = NewSession();
  const auto stream = MustSubmit(TextTurn("x", 50, session));
  engine_->StopAdmission();
  EXPECT_EQ(SubmitCode(TextTurn("y", 1)), absl::StatusCode::kUnavailable);
  EXPECT_EQ(engine_->CreateSession("", std::nullopt).status().code(), absl::StatusCode::kUnavailable);
  engine_->Drain(SteadyTime::max());
  const std::optional<TurnDelta> delta = stream->TryPop();
  ASSERT_TRUE(delta.has_value());
  EXPECT_TRUE(delta->finished);
  EXPECT_EQ(delta->finish_reason, FinishReason::kLength);
}

TEST_P(EngineEndingTest, DrainCutsAtItsDeadline) {
  Start(Endless());
  const auto stream = MustSubmit(TextTurn("x", 1000000));
  engine_->StopAdmission();
  engine_->Drain(clock_.Now());
  const std::optional<TurnDelta> delta = stream->TryPop();
  ASSERT_TRUE(delta.has_value());
  EXPECT_EQ(delta->finish_reason, FinishReason::kCancelled);
}

TEST_P(EngineEndingTest, TheDestructorCancelsWhatRunsAndWaits) {
  options_.max_num_seqs = 1;
  Start(Endless());
  const auto running = MustSubmit(TextTurn("x", 1000000));
  const auto waiting = MustSubmit(TextTurn("y", 1000000));
  engine_.reset();
  EXPECT_EQ(Collect(*running).finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(Collect(*waiting).finish_reason, FinishReason::kCancelled);
}

TEST_P(EngineEndingTest, ExpiredSessionsAreNotFound) {
  options_.session_ttl = seconds(10);
  Start(Endless());
  const std::string session = NewSession();
  clock_.Advance(seconds(9));
  EXPECT_TRUE(Finish(TextTurn("x", 1, session)).status.ok());
  clock_.Advance(seconds(9));
  EXPECT_TRUE(engine_->GetSession(session).ok());
  clock_.Advance(seconds(1));
  EXPECT_EQ(SubmitCode(TextTurn("x", 1, session)), absl::StatusCode::kNotFound);
  EXPECT_EQ(engine_->SlotsFree(), 4);
}

INSTANTIATE_TEST_SUITE_P(StepsInFlight, EngineEndingTest, ::testing::Values(1, 2));

}  // namespace
}  // namespace cascade
