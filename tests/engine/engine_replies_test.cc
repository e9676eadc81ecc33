// Several replies to one prompt: each is that of a request of its own, and the prompt is read once.
#include <random>

#include "tests/engine/engine_prefix_fixture.h"

namespace cascade {
namespace {

class RepliesTest : public EnginePrefixTest {
 protected:
  static TurnRequest Seeded(std::vector<int32_t> ids, int64_t max_tokens, uint64_t seed) {
    TurnRequest request = IdsTurn(std::move(ids), max_tokens);
    request.sampling.temperature = 1;
    request.sampling.seed = seed;
    return request;
  }
  std::vector<std::shared_ptr<TokenStream>> MustReply(const TurnRequest& request, int n) {
    auto streams = engine_->SubmitReplies(request, n);
    EXPECT_TRUE(streams.ok()) << streams.status();
    return streams.ok() ? *std::move(streams) : std::vector<std::shared_ptr<TokenStream>>();
  }
  void ExpectReply(const TurnDelta& turn, TurnRequest request, size_t index) {
    *request.sampling.seed += index;
    ExpectReference(turn, request);
  }
};

TEST_P(RepliesTest, ThePromptIsReadOnce) {
  for (const bool caching : {true, false}) {
    for (const int length : {2, 10, 33, 34, 35, 50, 100}) {
      options_.prefix_caching = caching;
      StartBoth();
      const TurnRequest request = Seeded(Count(0, length), 25, 7);
      const auto streams = MustReply(request, 4);
      for (size_t i = 0; i < streams.size(); ++i) {
        const TurnDelta turn = Collect(*streams[i]);
        ExpectReply(turn, request, i);
        EXPECT_EQ(turn.usage.cached_tokens, i == 0 ? 0 : length - 1) << length;
      }
      EXPECT_EQ(engine_->metrics().prompt_tokens.load(), length + 3);
      EXPECT_EQ(engine_->SlotsFree(), 4);
      engine_.reset();
      EXPECT_THAT(model_->violations(), ::testing::IsEmpty());
    }
  }
}

TEST_P(RepliesTest, OnesThatFindNoSeatOrSlotStartLater) {
  for (const auto& [slots, seats] : {std::pair(1, 1), std::pair(2, 4), std::pair(4, 2), std::pair(8, 3)}) {
    options_.num_slots = slots;
    options_.max_num_seqs = seats;
    StartBoth();
    const TurnRequest request = Seeded(Count(0, 70), 25, 7);
    const auto streams = MustReply(request, 8);
    for (size_t i = 0; i < streams.size(); ++i) {
      ExpectReply(Collect(*streams[i]), request, i);
    }
    EXPECT_EQ(engine_->SlotsFree(), slots);
    // With two slots nothing can be kept beside those that run.
    if (slots > 2) {
      EXPECT_EQ(engine_->metrics().prompt_tokens.load(), 70 + 7);
    }
    engine_.reset();
    EXPECT_THAT(model_->violations(), ::testing::IsEmpty());
  }
}

TEST_P(RepliesTest, ALeaderThatFindsItsPromptGivesItOn) {
  for (const int slots : {1, 2, 4}) {
    options_.num_slots = slots;
    StartBoth();
    EXPECT_EQ(Cached(Seeded(Count(0, 70), 5, 1)), 0);
    const TurnRequest request = Seeded(Count(0, 70), 5, 7);
    const auto streams = MustReply(request, 4);
    for (size_t i = 0; i < streams.size(); ++i) {
      const TurnDelta turn = Collect(*streams[i]);
      ExpectReply(turn, request, i);
      EXPECT_EQ(turn.usage.cached_tokens, 69);
    }
    engine_.reset();
    EXPECT_THAT(model_->violations(), ::testing::IsEmpty());
  }
}

TEST_P(RepliesTest, ALeaderThatIsCancelledIsFollowed) {
  StartBoth();
  const TurnRequest request = Seeded(Count(0, 100), 10, 7);
  model_->Hold();
  const auto streams = MustReply(request, 3);
  model_->Release(2);
  model_->WaitUntilHeld();
  streams[0]->Cancel();
  model_->ReleaseAll();
  EXPECT_EQ(Collect(*streams[0]).finish_reason, FinishReason::kCancelled);
  ExpectReply(Collect(*streams[1]), request, 1);
  ExpectReply(Collect(*streams[2]), request, 2);
  EXPECT_EQ(engine_->SlotsFree(), 4);
}

TEST_P(RepliesTest, ALeaderThatFailsIsFollowed) {
  StartBoth();
  for (const bool launch : {false, true}) {
    const TurnRequest request = Seeded(Count(launch ? 100 : 0, 100), 10, 7);
    if (launch) {
      model_->FailNextLaunch(absl::InternalError("a fault"));
    } else {
      model_->FailNextStep(absl::InternalError("a fault"));
    }
    const auto streams = MustReply(request, 3);
    EXPECT_EQ(Collect(*streams[0]).status.code(), absl::StatusCode::kInternal);
    ExpectReply(Collect(*streams[1]), request, 1);
    ExpectReply(Collect(*streams[2]), request, 2);
    EXPECT_EQ(engine_->SlotsFree(), 4);
  }
}

TEST_P(RepliesTest, FollowersThatAreCancelledHarmNobody) {
  StartBoth();
  const TurnRequest request = Seeded(Count(0, 100), 10, 7);
  model_->Hold();
  const auto streams = MustReply(request, 4);
  model_->WaitUntilHeld();
  streams[1]->Cancel();
  streams[3]->Cancel();
  model_->ReleaseAll();
  ExpectReply(Collect(*streams[0]), request, 0);
  EXPECT_EQ(Collect(*streams[1]).finish_reason, FinishReason::kCancelled);
  ExpectReply(Collect(*streams[2]), request, 2);
  EXPECT_EQ(Collect(*streams[3]).finish_reason, FinishReason::kCancelled);
}

TEST_P(RepliesTest, OthersDoNotWaitBehindFollowers) {
  options_.max_num_seqs = 2;
  StartBoth();
  model_->Hold();
  const TurnRequest request = Seeded(Count(0, 200), 10, 7);
  const auto streams = MustReply(request, 4);
  const auto other = MustSubmit(IdsTurn(Count(100, 20), 2));
  model_->Release(12);  // too few for the prompt
  EXPECT_TRUE(Collect(*other).status.ok());
  EXPECT_FALSE(streams[1]->TryPop().has_value());
  model_->ReleaseAll();
  for (size_t i = 0; i < streams.size(); ++i) ExpectReply(Collect(*streams[i]), request, i);
}

TEST_P(RepliesTest, AllOrNone) {
  options_.max_num_queued_requests = 5;
  StartBoth(Endless());
  model_->Hold();
  options_.max_num_seqs = 4;
  std::vector<std::shared_ptr<TokenStream>> running;
  for (int i = 0; i < 4; ++i) running.push_back(MustSubmit(TextTurn("x", 100000)));
  model_->WaitUntilHeld();
  // Those that wait for a seat or a slot, and those of the four that have not started.
  const auto waiting = MustSubmit(TextTurn("y", 1));
  EXPECT_EQ(engine_->SubmitReplies(TextTurn("many", 2), 6).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(engine_->SubmitReplies(TextTurn("many", 2), 0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(engine_->SubmitReplies(TextTurn("many", 2), 17).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(engine_->SubmitReplies(TextTurn("", 2), 2).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(engine_->SubmitReplies(TextTurn("many", 2, NewSession()), 2).status().code(),
            absl::StatusCode::kInvalidArgument);
  for (const auto& stream : running) stream->Cancel();
  model_->ReleaseAll();
  for (const auto& stream : running) Collect(*stream);
  EXPECT_TRUE(Collect(*waiting).status.ok());
  for (const auto& stream : MustReply(TextTurn("many", 2), 5)) EXPECT_TRUE(Collect(*stream).status.ok());
}

TEST_P(RepliesTest, OfPromptsThatAreOnlyReadOrHaveTheirProbabilities) {
  StartBoth();
  TurnRequest request = Seeded(Count(0, 50), 0, 7);
  for (const auto& stream : MustReply(request, 3)) {
    const TurnDelta turn = Collect(*stream);
    EXPECT_TRUE(turn.status.ok());
    EXPECT_EQ(turn.usage.prompt_tokens, 50);
  }
  request.max_tokens = 5;
  request.prompt_logprobs = 1;
  const auto streams = MustReply(request, 3);
  for (size_t i = 0; i < streams.size(); ++i) {
    const TurnDelta turn = Collect(*streams[i]);
    ExpectReply(turn, request, i);
    EXPECT_EQ(turn.prompt_logprobs.size(), 49u);
  }
}

// Thousands of one-shot turns with related prompts among sessions, with few slots; some are cancelled, some fail.
TEST_P(RepliesTest, RandomScript) {
  for (const int slots : {2, 5}) {
    std::mt19937 rng(static_cast<uint32_t>(slots));
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(rng); };
    options_.num_slots = slots;
    options_.max_num_batched_tokens = 40;
    options_.host_cache_bytes = slots == 5 ? int64_t{1} << 19 : 0;
    StartBoth();
    std::vector<std::vector<int32_t>> texts;  // that were fed, or begun
    const auto prompt = [&] {
      std::vector<int32_t> ids;
      if (!texts.empty() && pick(0, 9) > 0) {
        const std::vector<int32_t>& text = texts[static_cast<size_t>(pick(0, static_cast<int>(texts.size()) - 1))];
        ids.assign(text.begin(), pick(0, 2) == 0 ? text.begin() + pick(0, static_cast<int>(text.size())) : text.end());
      }
      const int more = pick(1, ids.empty() ? 100 : 10);
      for (int i = 0; i < more; ++i) ids.push_back(pick(0, 255));
      if (ids.size() > 300) ids.resize(static_cast<size_t>(pick(33, 300)));
      return ids;
    };
    std::vector<std::string> sessions;
    struct Asked {
      TurnRequest request;
      std::shared_ptr<TokenStream> stream;
      bool cancelled = false;
    };
    uint64_t seed = 0;
    for (int round = 0; round < 600; ++round) {
      std::vector<Asked> asked;
      const int count = pick(1, 6);
      for (int i = 0; i < count; ++i) {
        TurnRequest request = Seeded(prompt(), pick(0, 20) == 0 ? 0 : pick(1, 30), ++seed * 100);
        if (pick(0, 15) == 0) request.tenant = "other";
        if (pick(0, 9) == 0) request.sampling.frequency_penalty = 0.5f;
        const int n = request.max_tokens == 0 || pick(0, 5) > 0 ? 1 : pick(2, 4);
        const auto streams = MustReply(request, n);
        for (const auto& stream : streams) {
          asked.push_back({request, stream});
          ++*request.sampling.seed;
        }
        for (size_t j = asked.size() - streams.size(); j < asked.size(); ++j) {
          if (pick(0, 12) > 0) continue;
          asked[j].stream->Cancel();
          asked[j].cancelled = true;
        }
      }
      if (pick(0, 3) == 0) {
        if (sessions.size() < 3) {
          if (const auto made = engine_->CreateSession("", std::nullopt); made.ok()) sessions.push_back(made->id);
        } else if (pick(0, 1) == 0) {
          EXPECT_TRUE(engine_->DeleteSession(sessions.back()).ok());
          sessions.pop_back();
        } else if (const auto fork = engine_->ForkSession(sessions.front(), "", std::nullopt); fork.ok()) {
          sessions.push_back(fork->id);
        }
        if (!sessions.empty()) Collect(*MustSubmit(IdsTurn(prompt(), 3, sessions.back())));
      }
      for (Asked& one : asked) {
        const TurnDelta turn = Collect(*one.stream);
        if (!one.cancelled) {
          ExpectReference(turn, one.request);
        } else if (turn.finish_reason != FinishReason::kCancelled) {
          EXPECT_TRUE(turn.status.ok());
        }
        std::vector<int32_t> text = std::get<std::vector<int32_t>>(one.request.prompt);
        text.insert(text.end(), turn.token_ids.begin(), turn.token_ids.end());
        if (texts.size() < 12) {
          texts.push_back(std::move(text));
        } else {
          texts[static_cast<size_t>(pick(0, 11))] = std::move(text);
        }
      }
      ASSERT_FALSE(HasFailure()) << "round " << round;
    }
    EXPECT_GT(engine_->metrics().prefix_turns.load(), 40 * slots);
    for (const std::string& session : sessions) EXPECT_TRUE(engine_->DeleteSession(session).ok());
    EXPECT_EQ(engine_->SlotsFree(), slots);
    engine_.reset();
    EXPECT_THAT(model_->violations(), ::testing::IsEmpty());
  }
}

INSTANTIATE_TEST_SUITE_P(StepsInFlight, RepliesTest, ::testing::Values(1, 2));

}  // namespace
}  // namespace cascade
