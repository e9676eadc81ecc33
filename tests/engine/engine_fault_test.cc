// Steps that fail, and a device that is lost, with steps in flight.
#include <atomic>

#include "tests/engine/engine_test_util.h"

namespace cascade {
namespace {

using ::testing::HasSubstr;

class EngineFaultTest : public EngineTest {
 protected:
  static std::string Message(const absl::Status& status) {
    return std::string(status.message().data(), status.message().size());
  }
};

TEST_P(EngineFaultTest, AnErrorEndsWhatWasLaunchedAfterItToo) {
  Start(Endless());
  const std::string first = NewSession();
  const std::string second = NewSession();
  model_->Hold();
  const auto decoding = MustSubmit(TextTurn("ab", 1000, first));
  model_->WaitUntilHeld();
  const auto joined = MustSubmit(TextTurn("cd", 5, second));  // in the step after those in flight
  model_->Release(1);
  model_->WaitForSteps(1);
  model_->WaitUntilHeld();
  model_->FailNextStep(absl::InternalError("bad step"));
  model_->ReleaseAll();
  const TurnDelta failed = Collect(*decoding);
  EXPECT_EQ(failed.status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(failed.text, "a");
  EXPECT_EQ(Collect(*joined).status.code(), absl::StatusCode::kInternal);
  for (const std::string& lost : {first, second}) {
    EXPECT_EQ(engine_->GetSession(lost).status().code(), absl::StatusCode::kNotFound);
  }
  EXPECT_EQ(engine_->SlotsFree(), 4);
  EXPECT_EQ(Finish(TextTurn("ab", 3, NewSession())).text, "aaa");
}

TEST_P(EngineFaultTest, AnErrorSparesATurnWithoutARowInFlight) {
  Start(Endless());
  const std::string session = NewSession();
  Finish(TextTurn("x", 3, session));
  model_->Hold();
  const auto hit = MustSubmit(TextTurn("ab", 1000));
  model_->WaitUntilHeld();
  const auto waits = MustSubmit(TextTurn("cd", 4, session));
  model_->FailNextStep(absl::InternalError("bad step"));
  model_->ReleaseAll();
  EXPECT_EQ(Collect(*hit).status.code(), absl::StatusCode::kInternal);
  const TurnDelta delta = Collect(*waits);
  if (steps_in_flight() == 1) {
    EXPECT_EQ(delta.text, "aaaa");
  } else {
    EXPECT_TRUE(delta.status.ok() || absl::IsInternal(delta.status)) << delta.status;
  }
}

TEST_P(EngineFaultTest, AStepThatCannotBeLaunched) {
  Start(Endless());
  const std::string session = NewSession();
  model_->Hold();
  const auto stream = MustSubmit(TextTurn("ab", 1000, session));
  model_->WaitUntilHeld();
  model_->FailNextLaunch(absl::ResourceExhaustedError("no room"));
  model_->ReleaseAll();
  const TurnDelta delta = Collect(*stream);
  EXPECT_EQ(delta.status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(Message(delta.status), HasSubstr("no room; the session is lost"));
  EXPECT_EQ(Finish(TextTurn("ab", 3)).text, "aaa");
  EXPECT_EQ(engine_->SlotsFree(), 4);
}

// What was launched before it is sound.
TEST_P(EngineFaultTest, AStepThatCannotBeLaunchedSparesEarlierOnes) {
  options_.max_num_seqs = 2;
  Start(Endless());
  // The first step without the turn that waits for its id; with one step in flight there is none.
  bool together = false, failed = false;
  model_->on_step = [&](const ForwardBatch& batch) {
    if (GetParam() == 2 && together && !failed && batch.slices.size() == 1) {
      failed = true;
      model_->FailNextLaunch(absl::ResourceExhaustedError("no room"));
    }
    together = batch.slices.size() == 2;
  };
  TurnRequest waits = TextTurn("ab", 6);
  waits.stop = {"never"};
  model_->Hold();  // until both are there
  const auto sound = MustSubmit(std::move(waits));
  const auto other = MustSubmit(TextTurn("cd", 50));
  model_->ReleaseAll();
  EXPECT_TRUE(Collect(*sound).status.ok());
  EXPECT_EQ(Collect(*other).status.code(), GetParam() == 2 ? absl::StatusCode::kInternal : absl::StatusCode::kOk);
  EXPECT_EQ(engine_->SlotsFree(), 4);
}

// The row behind the id that was not one is in flight while the slot serves again.
TEST_P(EngineFaultTest, NoIdWithTheNextRowInFlight) {
  options_.num_slots = 1;
  Start([](std::span<const int32_t> ids, std::span<float> logits) {
    std::fill(logits.begin(), logits.end(), 0.0f);
    logits['a'] = ids[0] == 'n' && ids.size() > 5 ? NAN : 1.0f;
  });
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Finish(TextTurn("nan", 20)).status.code(), absl::StatusCode::kInternal);
    EXPECT_EQ(Finish(TextTurn("xyz", 20)).text, std::string(20, 'a'));
  }
}

TEST_P(EngineFaultTest, ALostDeviceEndsEverything) {
  options_.max_num_seqs = 2;
  std::atomic<int> faults{0};
  std::vector<std::shared_ptr<TokenStream>> streams;
  absl::Status cause;
  options_.on_device_fault = [&](absl::Status status) {
    cause = std::move(status);
    ++faults;
  };
  Start(Endless());
  const std::string session = NewSession();
  const std::string idle = NewSession();
  model_->Hold();
  streams = {MustSubmit(TextTurn("ab", 1000, session)), MustSubmit(TextTurn("cd", 1000))};
  model_->WaitUntilHeld();
  model_->Release(3);
  model_->WaitForSteps(3);
  model_->WaitUntilHeld();
  streams.push_back(MustSubmit(TextTurn("waits", 1000, idle)));
  streams.push_back(MustSubmit(TextTurn("waits too", 1000)));
  model_->FailNextStep(absl::DataLossError("fell off the bus"));
  model_->ReleaseAll();
  engine_->Drain(SteadyTime::max());
  EXPECT_EQ(faults.load(), 1);  // who waits for the last turn's end knows why it ended
  for (const auto& stream : streams) EXPECT_TRUE(absl::IsUnavailable(Collect(*stream).status));
  engine_->StopAdmission();
  EXPECT_EQ(SubmitCode(TextTurn("ab", 1)), absl::StatusCode::kUnavailable);
  EXPECT_EQ(engine_->CreateSession("", std::nullopt).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Message(engine_->CreateSession("", std::nullopt).status()), HasSubstr("device"));
  EXPECT_EQ(engine_->metrics().turns_failed.load(), 4);
  engine_.reset();
  EXPECT_EQ(faults.load(), 1);
  EXPECT_EQ(cause.code(), absl::StatusCode::kDataLoss);
}

TEST_P(EngineFaultTest, AForkThatFindsTheDeviceLost) {
  std::atomic<int> faults{0};
  options_.on_device_fault = [&](absl::Status) { ++faults; };
  Start(Endless());
  const std::string session = NewSession();
  Finish(TextTurn("ab", 3, session));
  const auto stream = MustSubmit(TextTurn("runs", 100000));
  model_->FailNextCopy(absl::DataLossError("fell off the bus"));
  EXPECT_EQ(engine_->ForkSession(session, "", std::nullopt).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(absl::IsUnavailable(Collect(*stream).status));
  EXPECT_EQ(faults.load(), 1);
}

TEST_P(EngineFaultTest, WhatALostDeviceSays) {
  Start(Endless());
  const std::string session = NewSession();
  model_->FailNextStep(absl::DataLossError("fell off the bus"));
  const TurnDelta delta = Finish(TextTurn("ab", 1000, session));
  EXPECT_EQ(delta.status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(delta.finish_reason, FinishReason::kError);
  EXPECT_EQ(Message(delta.status), "the device has failed: fell off the bus; the session is lost");
}

INSTANTIATE_TEST_SUITE_P(StepsInFlight, EngineFaultTest, ::testing::Values(1, 2));

}  // namespace
}  // namespace cascade
