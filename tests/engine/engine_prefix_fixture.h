// An engine with a prefix cache beside one that keeps nothing, whose replies are what the first one's must be.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/text/chat_template.h"
#include "tests/engine/engine_test_util.h"

namespace cascade {

inline std::vector<int32_t> Count(int32_t first, int count) {
  std::vector<int32_t> ids;
  for (int i = 0; i < count; ++i) ids.push_back((first + i) % 256);
  return ids;
}

inline std::vector<int32_t> Join(std::vector<int32_t> a, const std::vector<int32_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

class EnginePrefixTest : public EngineTest {
 protected:
  EnginePrefixTest() { options_.max_num_queued_requests = 64; }

  // The engine, and one without a prefix cache.
  void StartBoth(FakeModel::Script script = nullptr, const ChatTemplate* chat_template = nullptr) {
    reference_.reset();
    Start(script, nullptr, chat_template);
    reference_model_ = std::make_unique<FakeModel>(options_.geometry, ByteTokenizer::kVocabulary,
                                                   options_.max_num_batched_tokens, script, steps_in_flight());
    EngineOptions options = options_;
    options.prefix_caching = false;
    auto engine = Engine::Create(options, *reference_model_, tokenizer_, chat_template, clock_, reference_random_);
    ASSERT_TRUE(engine.ok()) << engine.status();
    reference_ = *std::move(engine);
  }
  TurnDelta Reference(TurnRequest request) {
    const auto stream = reference_->Submit(std::move(request));
    EXPECT_TRUE(stream.ok()) << stream.status();
    return stream.ok() ? Collect(**stream) : TurnDelta();
  }
  void ExpectReference(const TurnDelta& turn, TurnRequest request) {
    const TurnDelta expected = Reference(std::move(request));
    EXPECT_EQ(turn.status, expected.status);
    EXPECT_EQ(turn.token_ids, expected.token_ids);
    EXPECT_EQ(turn.text, expected.text);
    EXPECT_EQ(turn.finish_reason, expected.finish_reason);
    EXPECT_EQ(turn.usage.prompt_tokens, expected.usage.prompt_tokens);
    EXPECT_EQ(turn.usage.session_tokens_seen, expected.usage.session_tokens_seen);
    EXPECT_EQ(turn.usage.tokens_evicted, expected.usage.tokens_evicted);
    EXPECT_EQ(expected.usage.cached_tokens, 0);
  }
  // Runs it; how many of its tokens were found.
  int64_t Cached(const TurnRequest& request) {
    const int64_t read = engine_->metrics().prompt_tokens.load();
    const TurnDelta turn = Finish(request);
    ExpectReference(turn, request);
    if (request.max_tokens != 0) {
      EXPECT_EQ(engine_->metrics().prompt_tokens.load() - read, turn.usage.prompt_tokens - turn.usage.cached_tokens);
    }
    return turn.usage.cached_tokens;
  }
  // Its prompt, and what it has fed of its reply.
  std::vector<int32_t> Fed(const TurnRequest& request) {
    std::vector<int32_t> ids = std::get<std::vector<int32_t>>(request.prompt);
    const std::vector<int32_t> reply = Reference(request).token_ids;
    ids.insert(ids.end(), reply.begin(), reply.end() - 1);
    return ids;
  }

  FakeRandom reference_random_;
  std::unique_ptr<FakeModel> reference_model_;
  std::unique_ptr<Engine> reference_;
};

}  // namespace cascade
