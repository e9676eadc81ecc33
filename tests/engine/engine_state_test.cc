// A session's state and tokens are a function of its ids: not of neighbours, slices, turns or the order of arrival.
#include <random>
#include <thread>

#include "tests/engine/engine_test_util.h"

namespace cascade {
namespace {

struct Conversation {
  std::vector<std::vector<int32_t>> prompts;
  std::vector<int64_t> max_tokens;
  uint64_t seed = 0;
  float temperature = 0;
};

Conversation RandomConversation(std::mt19937& random) {
  Conversation conversation;
  conversation.seed = random();
  conversation.temperature = random() % 2 ? 1.5f : 0.0f;
  const size_t turns = 1 + random() % 4;
  for (size_t i = 0; i < turns; ++i) {
    std::vector<int32_t> prompt(1 + random() % (random() % 3 ? 20 : 150));
    for (int32_t& id : prompt) id = static_cast<int32_t>(random() % 250);
    conversation.prompts.push_back(std::move(prompt));
    conversation.max_tokens.push_back(static_cast<int64_t>(random() % 30));
  }
  return conversation;
}

class EngineStateTest : public EngineTest {
 protected:
  // All that was sampled, turn after turn.
  std::vector<int32_t> Play(const Conversation& conversation) {
    const std::string session = NewSession();
    std::vector<int32_t> sampled;
    for (size_t i = 0; i < conversation.prompts.size(); ++i) {
      TurnRequest request = IdsTurn(conversation.prompts[i], conversation.max_tokens[i], session);
      request.sampling.seed = conversation.seed;
      request.sampling.temperature = conversation.temperature;
      const TurnDelta delta = Finish(request);
      EXPECT_TRUE(delta.status.ok()) << delta.status;
      sampled.insert(sampled.end(), delta.token_ids.begin(), delta.token_ids.end());
      sampled.push_back(-1);
    }
    EXPECT_TRUE(engine_->DeleteSession(session).ok());
    return sampled;
  }
};

TEST_P(EngineStateTest, AloneAndWithNoisyNeighbours) {
  options_.num_slots = 9;
  options_.max_num_seqs = 8;
  options_.max_num_batched_tokens = 24;
  Start();
  std::mt19937 random(3);
  std::vector<Conversation> conversations;
  for (int i = 0; i < 40; ++i) conversations.push_back(RandomConversation(random));
  std::vector<std::vector<int32_t>> alone;
  for (const Conversation& conversation : conversations) alone.push_back(Play(conversation));

  std::vector<std::vector<int32_t>> together(conversations.size());
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = t; i < conversations.size(); i += 8) together[i] = Play(conversations[i]);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < conversations.size(); ++i) EXPECT_EQ(together[i], alone[i]) << "conversation " << i;
  EXPECT_EQ(engine_->SlotsFree(), 9);
}

TEST_P(EngineStateTest, TheSlotHoldsTheIdsWhateverTheTurns) {
  Start();
  std::vector<int32_t> ids;
  for (int i = 0; i < 300; ++i) ids.push_back(i % 250);
  std::mt19937 random(4);
  for (int round = 0; round < 20; ++round) {
    const std::string session = NewSession();
    for (size_t begin = 0; begin < ids.size();) {
      const size_t end = std::min(ids.size(), begin + 1 + random() % 60);
      const std::vector<int32_t> part(ids.begin() + static_cast<ptrdiff_t>(begin),
                                      ids.begin() + static_cast<ptrdiff_t>(end));
      const bool score = begin + end > 1 && random() % 2;
      ASSERT_TRUE(Finish(score ? ScoreTurn(part, session) : IdsTurn(part, 0, session)).status.ok());
      begin = end;
    }
    EXPECT_EQ(Position(session), 300);
    EXPECT_EQ(model_->FedIds(0), std::vector<int32_t>(ids.begin(), ids.end() - 1));
    EXPECT_TRUE(engine_->DeleteSession(session).ok());
  }
}

// Everything at once, by many threads; what is asserted is that each turn ends as it may and nothing leaks.
TEST_P(EngineStateTest, Stress) {
  options_.num_slots = 6;
  options_.max_num_seqs = 4;
  options_.max_num_queued_requests = 6;
  options_.max_num_batched_tokens = 20;
  Start();
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      std::string session;
      for (int i = 0; i < 150; ++i) {
        const unsigned action = random() % 10;
        if (session.empty() || action == 0) {
          if (!session.empty()) engine_->DeleteSession(session).IgnoreError();
          const auto info = engine_->CreateSession("stress", std::nullopt);
          session = info.ok() ? info->id : "";
          continue;
        }
        if (action == 1) {
          engine_->InspectSession(session, {}, {}, nullptr).status().IgnoreError();
          engine_->ListSessions(3, "").status().IgnoreError();
          continue;
        }
        TurnRequest request = IdsTurn(std::vector<int32_t>(1 + random() % 100, 1), static_cast<int64_t>(random() % 20),
                                      random() % 3 == 0 ? "" : session);
        if (random() % 8 == 0) request.deadline = clock_.Now() + std::chrono::milliseconds(random() % 3);
        if (random() % 4 == 0) request.kind = TurnKind::kScore;
        const auto stream = engine_->Submit(request);
        if (!stream.ok()) {
          const absl::StatusCode code = stream.status().code();
          EXPECT_TRUE(code == absl::StatusCode::kResourceExhausted || code == absl::StatusCode::kInvalidArgument)
              << stream.status();
          continue;
        }
        if (action == 2) clock_.Advance(std::chrono::milliseconds(1));
        if (action == 3) (*stream)->Cancel();
        if (action == 4) engine_->DeleteSession(session).IgnoreError();
        const TurnDelta delta = Collect(**stream);
        EXPECT_NE(delta.finish_reason, FinishReason::kError) << delta.status;
        if (action == 4) session.clear();
      }
      if (!session.empty()) engine_->DeleteSession(session).IgnoreError();
    });
  }
  for (std::thread& thread : threads) thread.join();
  engine_->StopAdmission();
  engine_->Drain(SteadyTime::max());
  EXPECT_EQ(engine_->SlotsFree(), 6);
  EXPECT_EQ(engine_->metrics().sessions.load(), 0);
}

INSTANTIATE_TEST_SUITE_P(StepsInFlight, EngineStateTest, ::testing::Values(1, 2));

}  // namespace
}  // namespace cascade
