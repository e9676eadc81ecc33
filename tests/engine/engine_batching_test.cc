// Many turns at once: batches, bounds, waiting.
#include <atomic>
#include <thread>

#include "tests/engine/engine_test_util.h"

namespace cascade {
namespace {

using ::testing::ElementsAreArray;

class EngineBatchingTest : public EngineTest {};

// While 20,000 tokens are read, a running turn has a token in every step.
TEST_P(EngineBatchingTest, ALongPromptDoesNotStallARunningTurn) {
  Start(Endless());
  const std::string writer = NewSession();
  const std::string reader = NewSession();
  model_->Hold();
  const auto written = MustSubmit(TextTurn("ab", 100000, writer));
  model_->WaitUntilHeld();
  model_->Release(3);
  model_->WaitForSteps(3);
  const auto read = MustSubmit(IdsTurn(std::vector<int32_t>(20000, 1), 1, reader));
  model_->ReleaseAll();
  EXPECT_TRUE(Collect(*read).status.ok());
  written->Cancel();
  Collect(*written);

  int both = 0;
  for (const FakeModel::StepRecord& step : model_->steps()) {
    bool writes = false;
    bool reads = false;
    for (const FakeModel::SliceRecord& slice : step.slices) {
      writes |= slice.slot == 0;
      reads |= slice.slot == 1;
    }
    if (reads) {
      EXPECT_TRUE(writes);
      ++both;
    }
  }
  EXPECT_GE(both, 20000 / 15);
  EXPECT_LE(both, 2 * 20000 / 15);  // slices end at strides of 16, so half of them may be short
}

TEST_P(EngineBatchingTest, AShortPromptBehindLongOnesGetsThrough) {
  options_.max_num_batched_tokens = 64;
  options_.geometry.stride = 32;
  Start(Endless());
  model_->Hold();
  std::vector<std::shared_ptr<TokenStream>> streams;
  for (int i = 0; i < 3; ++i) streams.push_back(MustSubmit(IdsTurn(std::vector<int32_t>(5000, 1), 1, NewSession())));
  model_->WaitUntilHeld();
  model_->Release(2);
  model_->WaitForSteps(2);
  const size_t before = model_->steps().size();
  const auto quick = MustSubmit(IdsTurn(std::vector<int32_t>(20, 2), 1));
  const int steps = steps_in_flight() + 3;  // those in flight, sinks, 16 rows, the rest
  const int64_t last_step = static_cast<int64_t>(before) + steps;
  model_->Release(steps);
  EXPECT_TRUE(Collect(*quick).status.ok());
  EXPECT_LE(static_cast<int64_t>(model_->steps().size()), last_step);
  model_->ReleaseAll();
  for (const auto& stream : streams) Collect(*stream);
}

TEST_P(EngineBatchingTest, AtMostMaxNumSeqsRunAndTheRestIsServedInOrder) {
  options_.num_slots = 9;
  options_.max_num_seqs = 3;
  Start(Endless());
  model_->Hold();
  std::vector<std::shared_ptr<TokenStream>> streams;
  for (int i = 0; i < 8; ++i) streams.push_back(MustSubmit(IdsTurn({i, i}, 5, NewSession())));
  model_->ReleaseAll();
  for (const auto& stream : streams) EXPECT_TRUE(Collect(*stream).status.ok());
  std::vector<int> order;
  for (const FakeModel::StepRecord& step : model_->steps()) {
    EXPECT_LE(step.slices.size(), 3u);
    EXPECT_LE(step.rows, options_.max_num_batched_tokens);
    for (const FakeModel::SliceRecord& slice : step.slices) {
      if (slice.first_token == 0) order.push_back(slice.slot);
    }
  }
  ASSERT_EQ(order.size(), 8u);
  // Three start, and end, together; a step's slices are in no order.
  for (int i = 0; i < 8; i += 3) std::sort(order.begin() + i, order.begin() + std::min(i + 3, 8));
  EXPECT_THAT(order, ElementsAreArray({0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST_P(EngineBatchingTest, OneShotTurnsWaitForASlotAndSessionsPassThem) {
  options_.num_slots = 2;
  Start(Endless());
  const std::string session = NewSession();
  model_->Hold();
  const auto first = MustSubmit(TextTurn("first", 10000));
  model_->WaitUntilHeld();
  const auto second = MustSubmit(TextTurn("second", 2));
  const auto third = MustSubmit(TextTurn("third", 2));
  const auto turn = MustSubmit(TextTurn("turn", 2, session));
  model_->ReleaseAll();
  EXPECT_TRUE(Collect(*turn).status.ok());  // although two wait before it
  EXPECT_FALSE(second->TryPop().has_value());
  first->Cancel();
  Collect(*first);
  EXPECT_TRUE(Collect(*second).status.ok());
  EXPECT_TRUE(Collect(*third).status.ok());
  EXPECT_EQ(engine_->SlotsFree(), 1);
}

// The engine once slept on the turn behind some that ended without a step: they had taken the seat, or the slot, that
// it wanted.
TEST_P(EngineBatchingTest, TurnsWithoutAStepDoNotHoldUpTheNext) {
  options_.max_num_seqs = 1;
  options_.num_slots = 1;
  Start(Endless());
  model_->Hold();
  std::vector<std::shared_ptr<TokenStream>> streams;
  streams.push_back(MustSubmit(TextTurn("first", 1)));
  model_->WaitUntilHeld();
  for (int i = 0; i < 3; ++i) streams.push_back(MustSubmit(IdsTurn({7}, 0)));
  streams.push_back(MustSubmit(TextTurn("last", 1)));
  model_->ReleaseAll();
  for (const auto& stream : streams) EXPECT_TRUE(Collect(*stream).status.ok());
  EXPECT_EQ(engine_->SlotsFree(), 1);
}

TEST_P(EngineBatchingTest, AFullQueueRefuses) {
  options_.max_num_seqs = 1;
  options_.max_num_queued_requests = 2;
  Start(Endless());
  const std::string session = NewSession();
  model_->Hold();
  const auto running = MustSubmit(TextTurn("x", 100000));
  model_->WaitUntilHeld();
  const auto a = MustSubmit(TextTurn("a", 1));
  const auto b = MustSubmit(TextTurn("b", 1));
  EXPECT_EQ(SubmitCode(TextTurn("c", 1, session)), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(engine_->GetSession(session)->state, SessionState::kResident);
  running->Cancel();
  model_->ReleaseAll();
  EXPECT_TRUE(Collect(*a).status.ok());
  EXPECT_TRUE(Collect(*b).status.ok());
  EXPECT_TRUE(Finish(TextTurn("c", 1, session)).status.ok());
}

TEST_P(EngineBatchingTest, ABusySessionRefusesInspectionAndForkToo) {
  Start(Endless());
  const std::string session = NewSession();
  model_->Hold();
  const auto stream = MustSubmit(TextTurn("x", 5, session));
  EXPECT_EQ(engine_->GetSession(session)->state, SessionState::kBusy);
  EXPECT_EQ(SubmitCode(TextTurn("y", 5, session)), absl::StatusCode::kAborted);
  EXPECT_EQ(engine_->InspectSession(session, {}, {}, nullptr).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(engine_->ForkSession(session, "", std::nullopt).status().code(), absl::StatusCode::kAborted);
  model_->ReleaseAll();
  Collect(*stream);
}

TEST_P(EngineBatchingTest, WhileItIsForkedASessionIsBusyAndItsForkToo) {
  Start(Endless());
  const std::string session = NewSession();
  Finish(IdsTurn({1, 2, 3}, 1, session));
  model_->Hold();
  const auto stream = MustSubmit(TextTurn("x", 5));
  model_->WaitUntilHeld();
  absl::StatusOr<SessionInfo> fork = absl::InternalError("");
  std::thread forking([&] { fork = engine_->ForkSession(session, "", std::nullopt); });
  while (engine_->ListSessions(10, "")->sessions.size() < 2) std::this_thread::yield();
  const std::string other = engine_->ListSessions(10, "")->sessions.back().id;
  for (const std::string& id : {session, other}) {
    EXPECT_EQ(engine_->GetSession(id)->state, SessionState::kBusy);
    EXPECT_EQ(SubmitCode(TextTurn("y", 5, id)), absl::StatusCode::kAborted);
    EXPECT_EQ(engine_->ForkSession(id, "", std::nullopt).status().code(), absl::StatusCode::kAborted);
  }
  model_->ReleaseAll();
  forking.join();
  ASSERT_TRUE(fork.ok()) << fork.status();
  EXPECT_EQ(fork->id, other);
  EXPECT_EQ(fork->position, Position(session));
  Collect(*stream);
  EXPECT_TRUE(Finish(TextTurn("y", 2, session)).status.ok());
  EXPECT_TRUE(Finish(TextTurn("y", 2, other)).status.ok());
}

TEST_P(EngineBatchingTest, TheFirstTokenLeavesInItsStep) {
  Start(Endless());
  model_->Hold();
  const auto stream = MustSubmit(TextTurn("ab", 50));  // two sinks: one step
  std::atomic<int> ready{0};
  stream->NotifyWhenReady([&] { ready.fetch_add(1); });
  model_->WaitUntilHeld();
  model_->Release(1);
  model_->WaitForSteps(1);
  model_->WaitUntilHeld();  // in the second step
  EXPECT_EQ(ready.load(), 1);
  EXPECT_EQ(stream->TryPop()->text, "a");
  model_->ReleaseAll();
  Collect(*stream);
}

TEST_P(EngineBatchingTest, ASlotIsClearedBeforeItsNextSession) {
  options_.num_slots = 2;
  Start();
  for (int i = 0; i < 5; ++i) {  // the fake model objects to a slot that was not cleared
    const std::string session = NewSession();
    EXPECT_TRUE(Finish(TextTurn("one session", 3, session)).status.ok());
    EXPECT_TRUE(engine_->DeleteSession(session).ok());
    EXPECT_TRUE(Finish(TextTurn("one-shot", 3)).status.ok());
  }
}

INSTANTIATE_TEST_SUITE_P(StepsInFlight, EngineBatchingTest, ::testing::Values(1, 2));

}  // namespace
}  // namespace cascade
