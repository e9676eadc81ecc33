// Replies of one-shot turns over a real model, with a prefix cache and without: the same ids, whatever was found of
// their prompts, whatever ran beside them, and whoever read the prompt.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <random>

#include "engine/engine.h"
#include "engine/model/llama.h"
#include "tests/support/collect_turn.h"
#include "tests/support/random_geometry.h"
#include "tests/support/state_device.h"
#include "tests/support/tiny_model.h"

namespace cascade::test {
namespace {

constexpr int kSlots = 6;
constexpr int kSeats = 4;

struct Server {
  std::unique_ptr<ModelSource> source;
  std::unique_ptr<kernels::Backend> backend;
  std::unique_ptr<Llama> llama;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatTemplate> chat_template;
  std::unique_ptr<Engine> engine;
};

Server MakeServer(const std::string& path, const CascadeGeometry& geometry, int variant, int budget, bool caching) {
  Server server;
  server.source = *OpenModel(path);
  StateDevice device = MakeStateDevice(variant, /*threads=*/1);
  server.backend = std::move(device.backend);
  server.llama = *Llama::Create(*server.source, geometry, device.kv_type, kSlots, budget, *server.backend);
  server.tokenizer = *CreateTokenizer(server.source->vocabulary());
  server.chat_template = *CreateChatTemplate("chatml", *server.tokenizer, Clock::Real());
  EngineOptions options;
  options.geometry = geometry;
  options.num_slots = kSlots;
  options.max_num_seqs = kSeats;
  options.max_num_batched_tokens = budget;
  options.prefix_caching = caching;
  server.engine = *Engine::Create(options, *server.llama, *server.tokenizer, server.chat_template.get(), Clock::Real(),
                                  RandomSource::System());
  return server;
}

TurnDelta RunOneShot(Engine& engine, TurnRequest request) {
  const auto stream = engine.Submit(std::move(request));
  EXPECT_TRUE(stream.ok()) << stream.status();
  return stream.ok() ? CollectTurn(**stream) : TurnDelta();
}

class PrefixStateTest : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    const std::string path =
        (std::filesystem::temp_directory_path() / ("cascade_prefix_" + std::to_string(getpid()) + ".gguf")).string();
    TinyModelOptions tiny;
    tiny.seed = static_cast<uint32_t>(GetParam()) + 100;
    WriteTinyModel(path, tiny);
    const CascadeGeometry geometry = RandomGeometry(rng_, Pick(1, 4));
    trace_ = geometry.ToString();
    fresh_ = MakeServer(path, geometry, GetParam(), 64, /*caching=*/false);
    caching_ = MakeServer(path, geometry, GetParam(), Pick(kSeats, 40), /*caching=*/true);
    std::filesystem::remove(path);
  }
  void TearDown() override {
    if (caching_.engine != nullptr) {
      EXPECT_EQ(caching_.engine->SlotsFree(), kSlots);
    }
  }
  int Pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(rng_); }
  std::vector<int32_t> RandomIds(int count) {
    std::vector<int32_t> ids(static_cast<size_t>(count));
    for (int32_t& id : ids) id = Pick(3, kTinyModelTokens - 1);
    return ids;
  }
  void ExpectFresh(const TurnDelta& turn, const TurnRequest& request) {
    const TurnDelta expected = RunOneShot(*fresh_.engine, request);
    EXPECT_EQ(turn.status, expected.status) << trace_;
    EXPECT_EQ(turn.token_ids, expected.token_ids) << trace_;
    EXPECT_EQ(turn.text, expected.text) << trace_;
    EXPECT_EQ(turn.usage.prompt_tokens, expected.usage.prompt_tokens) << trace_;
  }

  std::mt19937 rng_{static_cast<uint32_t>(GetParam()) * 31 + 7};
  std::string trace_;
  Server fresh_, caching_;
};

// Its replies are bytes at random: their text is tokenised in another way than it was sampled.
TEST_P(PrefixStateTest, AConversationThatIsSentAgain) {
  for (int round = 0; round < StateRounds(4); ++round) {
    std::vector<ChatMessage> messages{{"system", "Be brief, and say why; number " + std::to_string(round)}};
    int64_t begun = 0;
    for (int turn = 0; turn < 10; ++turn) {
      messages.push_back({"user", "Is " + std::to_string(Pick(0, 1000)) + " a prime?"});
      TurnRequest request;
      request.prompt = messages;
      request.max_tokens = Pick(1, 40);
      request.sampling.seed = static_cast<uint64_t>(turn);
      request.sampling.temperature = turn % 2 == 0 ? 1.0f : 0.0f;
      const TurnDelta reply = RunOneShot(*caching_.engine, request);
      ExpectFresh(reply, request);
      EXPECT_GE(reply.usage.cached_tokens, begun) << "turn " << turn << ", " << trace_;
      begun = reply.usage.prompt_tokens - 1;
      messages.push_back({"assistant", reply.text});
    }
  }
}

TEST_P(PrefixStateTest, RepliesToOnePrompt) {
  for (int round = 0; round < StateRounds(12); ++round) {
    TurnRequest request;
    const int length = Pick(2, 150);
    request.prompt = RandomIds(length);
    request.max_tokens = Pick(1, 40);
    request.sampling.seed = static_cast<uint64_t>(round) * 100;
    const auto streams = caching_.engine->SubmitReplies(request, Pick(2, 8));
    ASSERT_TRUE(streams.ok()) << streams.status();
    for (const auto& stream : *streams) {
      ExpectFresh(CollectTurn(*stream), request);
      ++*request.sampling.seed;
    }
  }
}

TEST_P(PrefixStateTest, PromptsThatGoOnFromEarlierOnes) {
  std::vector<std::vector<int32_t>> texts;
  for (int round = 0; round < StateRounds(40); ++round) {
    std::vector<std::pair<TurnRequest, std::shared_ptr<TokenStream>>> asked;
    for (int i = Pick(1, 5); i > 0; --i) {
      std::vector<int32_t> ids;
      if (!texts.empty() && Pick(0, 5) > 0)
        ids = texts[static_cast<size_t>(Pick(0, static_cast<int>(texts.size()) - 1))];
      const std::vector<int32_t> more = RandomIds(Pick(1, ids.empty() ? 120 : 12));
      ids.insert(ids.end(), more.begin(), more.end());
      TurnRequest request;
      request.prompt = ids;
      request.max_tokens = Pick(1, 40);
      request.sampling.seed = rng_();
      auto stream = caching_.engine->Submit(request);
      ASSERT_TRUE(stream.ok()) << stream.status();
      asked.emplace_back(request, *stream);
    }
    for (auto& [request, stream] : asked) {
      const bool cancelled = Pick(0, 9) == 0;
      if (cancelled) stream->Cancel();
      const TurnDelta turn = CollectTurn(*stream);
      if (!cancelled) ExpectFresh(turn, request);
      std::vector<int32_t> text = std::get<std::vector<int32_t>>(request.prompt);
      text.insert(text.end(), turn.token_ids.begin(), turn.token_ids.end());
      if (text.size() > 600) continue;
      if (texts.size() == 8) texts.erase(texts.begin() + Pick(0, 7));
      texts.push_back(std::move(text));
    }
    if (HasFailure()) return;
  }
  EXPECT_GE(caching_.engine->metrics().prefix_turns.load(), StateRounds(40) / 4);
}

INSTANTIATE_TEST_SUITE_P(Models, PrefixStateTest, ::testing::Range(0, StateVariants(8)));

}  // namespace
}  // namespace cascade::test
