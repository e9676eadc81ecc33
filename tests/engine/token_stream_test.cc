#include "engine/token_stream.h"

#include <atomic>
#include <memory>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cascade {
namespace {

using ::testing::ElementsAre;

TurnDelta Delta(const std::string& text, std::vector<int32_t> ids) {
  TurnDelta delta;
  delta.text = text;
  delta.token_ids = std::move(ids);
  return delta;
}

TEST(TokenStreamTest, UnreadDeltasMerge) {
  TokenStream stream;
  EXPECT_FALSE(stream.TryPop().has_value());
  TurnDelta first = Delta("a", {1});
  first.prompt_logprobs.resize(2);
  stream.Push(first);
  TurnDelta scored = Delta("b", {2, 3});
  scored.scores.resize(2);
  scored.score_total = 9;
  scored.logprobs.resize(2);
  scored.logprobs[1].logprob = -3;
  stream.Push(scored);
  TurnDelta last = Delta("c", {});
  last.logprobs.resize(1);
  last.finished = true;
  last.finish_reason = FinishReason::kStopSequence;
  last.stop_sequence = "x";
  last.stop_token_id = 4;
  last.score_total = 9;
  last.usage.prompt_tokens = 5;
  last.status = absl::InternalError("why");
  stream.Push(last);
  const std::optional<TurnDelta> delta = stream.TryPop();
  ASSERT_TRUE(delta.has_value());
  EXPECT_EQ(delta->text, "abc");
  EXPECT_THAT(delta->token_ids, ElementsAre(1, 2, 3));
  EXPECT_EQ(delta->scores.size(), 2u);
  ASSERT_EQ(delta->logprobs.size(), 3u);
  EXPECT_EQ(delta->logprobs[1].logprob, -3);
  EXPECT_EQ(delta->stop_token_id, 4);
  EXPECT_EQ(delta->score_total, 9);
  EXPECT_TRUE(delta->finished);
  EXPECT_EQ(delta->finish_reason, FinishReason::kStopSequence);
  EXPECT_EQ(delta->stop_sequence, "x");
  EXPECT_EQ(delta->usage.prompt_tokens, 5);
  EXPECT_EQ(delta->status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(delta->prompt_logprobs.size(), 2u);
  EXPECT_FALSE(stream.TryPop().has_value());
}

TEST(TokenStreamTest, NotifiesOnceAfterTheNextPush) {
  TokenStream stream;
  int calls = 0;
  stream.NotifyWhenReady([&] { ++calls; });
  EXPECT_EQ(calls, 0);
  stream.Push(Delta("a", {1}));
  stream.Push(Delta("b", {2}));
  EXPECT_EQ(calls, 1);
}

TEST(TokenStreamTest, NotifiesAtOnceWhenSomethingWaits) {
  TokenStream stream;
  stream.Push(Delta("a", {1}));
  int calls = 0;
  stream.NotifyWhenReady([&] { ++calls; });
  EXPECT_EQ(calls, 1);
}

TEST(TokenStreamTest, ALaterCallbackReplacesAndNullTakesBack) {
  TokenStream stream;
  int first = 0;
  int second = 0;
  stream.NotifyWhenReady([&] { ++first; });
  stream.NotifyWhenReady([&] { ++second; });
  stream.Push(Delta("a", {1}));
  stream.TryPop();
  stream.NotifyWhenReady([&] { ++second; });
  stream.NotifyWhenReady(nullptr);
  stream.Push(Delta("b", {2}));
  EXPECT_EQ(first, 0);
  EXPECT_EQ(second, 1);
}

TEST(TokenStreamTest, ACallbackMayPopAndAskAgainOrTakeBack) {
  TokenStream stream;
  std::string text;
  std::function<void()> on_ready = [&] {
    while (const auto delta = stream.TryPop()) text += delta->text;
    stream.NotifyWhenReady(on_ready);
  };
  stream.NotifyWhenReady(on_ready);
  for (const char* piece : {"a", "b", "c"}) stream.Push(Delta(piece, {1}));
  EXPECT_EQ(text, "abc");
  stream.NotifyWhenReady([&] { stream.NotifyWhenReady(nullptr); });  // does not wait for itself
  stream.Push(Delta("d", {1}));
}

TEST(TokenStreamTest, NullWaitsForACallbackThatRuns) {
  for (int round = 0; round < 200; ++round) {
    TokenStream stream;
    auto alive = std::make_unique<std::atomic<int>>(0);  // freed after taking the callback back
    stream.NotifyWhenReady([&stream, raw = alive.get()] {
      raw->fetch_add(1);
      std::this_thread::yield();
      raw->fetch_add(1);
    });
    std::thread producer([&] { stream.Push(Delta("a", {1})); });
    stream.NotifyWhenReady(nullptr);
    EXPECT_NE(alive->load(), 1);
    alive.reset();
    producer.join();
  }
}

TEST(TokenStreamTest, NothingIsLostBetweenTwoThreads) {
  constexpr int kTokens = 20000;
  for (const bool by_callback : {false, true}) {
    TokenStream stream;
    std::thread producer([&] {
      for (int i = 0; i < kTokens; ++i) {
        TurnDelta delta = Delta("x", {i});
        delta.finished = i == kTokens - 1;
        stream.Push(std::move(delta));
      }
    });
    std::vector<int32_t> ids;
    bool finished = false;
    while (!finished) {
      if (by_callback) {
        Mutex mutex;
        CondVar ready;
        bool is_ready = false;
        stream.NotifyWhenReady([&] {
          MutexLock lock(mutex);
          is_ready = true;
          ready.NotifyOne();
        });
        {
          MutexLock lock(mutex);
          while (!is_ready) ready.Wait(mutex);
        }
        stream.NotifyWhenReady(nullptr);  // the callback refers to this round's variables
      }
      const TurnDelta delta = stream.Pop();
      ids.insert(ids.end(), delta.token_ids.begin(), delta.token_ids.end());
      finished = delta.finished;
    }
    producer.join();
    ASSERT_EQ(ids.size(), static_cast<size_t>(kTokens));
    for (int i = 0; i < kTokens; ++i) ASSERT_EQ(ids[static_cast<size_t>(i)], i);
  }
}

TEST(TokenStreamTest, CancelIsSeenByTheOtherSide) {
  TokenStream stream;
  EXPECT_FALSE(stream.cancelled());
  std::thread([&] { stream.Cancel(); }).join();
  EXPECT_TRUE(stream.cancelled());
}

}  // namespace
}  // namespace cascade
