// Turns that the host samples for, beside others, and what ends while a job is out.
#include <algorithm>
#include <atomic>
#include <mutex>
#include <random>
#include <thread>

#include "tests/engine/engine_sampling_fixture.h"

namespace cascade {
namespace {

using ::testing::ElementsAre;

class EngineHostSamplingTest : public EngineSamplingTest {};

// A turn that samples on the host changes nothing for the others but the batches that they are in.
TEST_P(EngineHostSamplingTest, PlainTurnsBesideOneOnTheHost) {
  Start();
  std::vector<TurnDelta> alone;
  for (uint64_t seed = 0; seed < 3; ++seed) alone.push_back(Finish(Random("plain", 40, seed)));
  std::atomic<int> unknown{0};
  model_->on_step = [&](const ForwardBatch& batch) {
    unknown += static_cast<int>(std::count(batch.ids.begin(), batch.ids.end(), kernels::kSampledId));
  };
  TurnRequest host = Random("host", 60, 9);
  host.logprobs = 20;
  host.sampling.repetition_penalty = 1.3f;
  model_->Hold();
  const auto host_stream = MustSubmit(host);
  std::vector<std::shared_ptr<TokenStream>> streams;
  for (uint64_t seed = 0; seed < 3; ++seed) streams.push_back(MustSubmit(Random("plain", 40, seed)));
  model_->ReleaseAll();
  int64_t tokens = 0;
  for (size_t i = 0; i < 3; ++i) {
    const TurnDelta turn = Collect(*streams[i]);
    EXPECT_EQ(turn.token_ids, alone[i].token_ids);
    tokens += static_cast<int64_t>(turn.token_ids.size());
  }
  EXPECT_TRUE(Collect(*host_stream).status.ok());
  // All but the first token of each, and what ended a turn was found out one row later.
  if (steps_in_flight() > 1) {
    EXPECT_GE(unknown.load(), tokens - 3);
  }
}

TEST_P(EngineHostSamplingTest, MoreTurnsOnTheHostThanAStepHasRoomFor) {
  options_.num_slots = 80;
  options_.max_num_seqs = 70;
  options_.max_num_batched_tokens = 128;
  options_.max_num_queued_requests = 100;
  Start();
  std::atomic<int> most{0};
  model_->on_step = [&](const ForwardBatch& batch) {
    most = std::max(most.load(), static_cast<int>(batch.logit_rows.size()));
  };
  std::vector<std::shared_ptr<TokenStream>> streams;
  model_->Hold();
  for (uint64_t i = 0; i < 70; ++i) {
    TurnRequest request = Random("text " + std::to_string(i), 10, i);
    if (i % 5 == 0) request.prompt_logprobs = 1;
    streams.push_back(MustSubmit(OnHost(request)));
  }
  model_->ReleaseAll();
  for (uint64_t i = 0; i < 70; ++i) {
    const TurnDelta turn = Collect(*streams[i]);
    EXPECT_TRUE(turn.status.ok()) << turn.status;
  }
  EXPECT_LE(most.load(), 32);
  EXPECT_GE(most.load(), 20);
  for (const uint64_t i : {0u, 33u, 69u}) {
    const TurnDelta again = Finish(Random("text " + std::to_string(i), 10, i));
    EXPECT_FALSE(again.token_ids.empty());
  }
}

// Cancelled at any time, also while a job is out: it ends once, and a session is what it was told.
TEST_P(EngineHostSamplingTest, CancelledWhileTheHostSamples) {
  Start();
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    const std::string session = NewSession();
    TurnRequest request = OnHost(Random("begin", 1000, static_cast<uint64_t>(round), session));
    request.ignore_eos = true;
    const auto stream = MustSubmit(request);
    TurnDelta all = stream->Pop();
    for (unsigned i = random() % 6; i > 0 && !all.finished; --i) all = stream->Pop();
    if (random() % 2 == 0) std::this_thread::yield();
    stream->Cancel();
    while (!all.finished) all = stream->Pop();
    EXPECT_EQ(all.finish_reason, FinishReason::kCancelled);
    EXPECT_EQ(all.usage.session_tokens_seen, 5 + all.usage.completion_tokens);
    EXPECT_EQ(Position(session), all.usage.session_tokens_seen);
    const TurnDelta next = Finish(Random("", 3, 1, session));
    EXPECT_TRUE(next.status.ok()) << next.status;
    EXPECT_TRUE(engine_->DeleteSession(session).ok());
  }
}

TEST_P(EngineHostSamplingTest, TheEngineEndsWhileJobsAreOut) {
  for (int round = 0; round < 20; ++round) {
    Start();
    std::vector<std::shared_ptr<TokenStream>> streams;
    for (uint64_t i = 0; i < 4; ++i) streams.push_back(MustSubmit(OnHost(Random("begin", 100000, i))));
    if (round % 2 == 0) model_->WaitForSteps(10 + round);
    engine_.reset();
    for (const auto& stream : streams) EXPECT_TRUE(Collect(*stream).finished);
  }
}

TEST_P(EngineHostSamplingTest, TheDeviceIsLostWhileJobsAreOut) {
  for (int round = 0; round < 20; ++round) {
    Start();
    std::vector<std::shared_ptr<TokenStream>> streams;
    for (uint64_t i = 0; i < 3; ++i) streams.push_back(MustSubmit(OnHost(Random("begin", 100000, i))));
    streams.push_back(MustSubmit(Random("plain", 100000, 4)));
    model_->WaitForSteps(5 + round);
    model_->FailNextStep(absl::DataLossError("gone"));
    for (const auto& stream : streams) {
      const absl::StatusCode code = Collect(*stream).status.code();
      EXPECT_TRUE(code == absl::StatusCode::kUnavailable || code == absl::StatusCode::kOk) << static_cast<int>(code);
    }
  }
}

TEST_P(EngineHostSamplingTest, HigherPrioritiesStartFirst) {
  options_.max_num_seqs = 1;
  Start(Says("x"));
  model_->Hold();
  const auto running = MustSubmit(TextTurn(">", 5));
  model_->WaitUntilHeld();
  std::vector<std::shared_ptr<TokenStream>> streams;
  std::mutex mutex;
  std::vector<int> order;
  for (const int priority : {0, 5, -3, 5, 0, 7}) {
    TurnRequest request = TextTurn(">", 5);
    request.priority = priority;
    const int index = static_cast<int>(streams.size());
    streams.push_back(MustSubmit(request));
    streams.back()->NotifyWhenReady([&mutex, &order, index] {
      const std::lock_guard<std::mutex> lock(mutex);
      order.push_back(index);
    });
  }
  model_->ReleaseAll();
  Collect(*running);
  for (const auto& stream : streams) Collect(*stream);
  EXPECT_THAT(order, ElementsAre(5, 1, 3, 0, 4, 2));
}

TEST_P(EngineHostSamplingTest, RepliesAreThoseOfTheirSeeds) {
  Start();
  for (const bool host : {false, true}) {
    TurnRequest request = Random("many", 15, 40);
    if (host) request.logprobs = 1;
    const auto streams = engine_->SubmitReplies(request, 4);
    ASSERT_TRUE(streams.ok()) << streams.status();
    for (uint64_t i = 0; i < 4; ++i) {
      EXPECT_EQ(Collect(*(*streams)[i]).token_ids, Finish(Random("many", 15, 40 + i)).token_ids);
    }
  }
}

TEST_P(EngineHostSamplingTest, TimesOfATurnOnTheHost) {
  Start(Endless());
  model_->on_step = [this](const ForwardBatch&) { clock_.Advance(std::chrono::seconds(1)); };
  const TurnDelta turn = Finish(OnHost(TextTurn("ab", 5)));
  EXPECT_EQ(turn.usage.queue_time, std::chrono::seconds(0));
  EXPECT_EQ(turn.usage.prefill_time, std::chrono::seconds(1));
  EXPECT_EQ(turn.usage.decode_time, std::chrono::seconds(4));
  EXPECT_EQ(turn.usage.prompt_tokens, 2);
  EXPECT_EQ(turn.usage.completion_tokens, 5);
}

INSTANTIATE_TEST_SUITE_P(StepsInFlight, EngineHostSamplingTest, ::testing::Values(1, 2));

}  // namespace
}  // namespace cascade
