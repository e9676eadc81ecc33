// The state of a session is a function of its token ids (cache.md, section 5): however the same ids arrive - one turn
// or ten, any step budget, any number of threads, alone or among seven noisy neighbours - the survivors, their scores
// and the next greedy tokens have the same bits.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <random>

#include "engine/engine.h"
#include "engine/model/llama.h"
#include "tests/support/random_geometry.h"
#include "tests/support/state_device.h"
#include "tests/support/tiny_model.h"

namespace cascade::test {
namespace {

constexpr int kNeighbours = 7;
constexpr int kGreedyTokens = 12;

// An engine over the tiny model, with everything it needs.
struct Server {
  std::unique_ptr<ModelSource> source;
  std::unique_ptr<kernels::Backend> backend;
  std::unique_ptr<Llama> llama;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Engine> engine;
};

Server MakeServer(const std::string& path, const CascadeGeometry& geometry, int threads, int variant, int budget) {
  Server server;
  server.source = *OpenModel(path);
  StateDevice device = MakeStateDevice(variant, threads);
  server.backend = std::move(device.backend);
  const int slots = kNeighbours + 3;
  server.llama = *Llama::Create(*server.source, geometry, device.kv_type, slots, budget, *server.backend);
  server.tokenizer = *CreateTokenizer(server.source->vocabulary());
  EngineOptions options;
  options.geometry = geometry;
  options.num_slots = slots;
  options.num_layers = server.source->config().num_layers;
  options.num_kv_heads = server.source->config().num_kv_heads;
  options.max_num_seqs = kNeighbours + 2;
  options.max_num_batched_tokens = budget;
  server.engine =
      *Engine::Create(options, *server.llama, *server.tokenizer, nullptr, Clock::Real(), RandomSource::System());
  return server;
}

// Runs a turn to its end; returns the sampled ids.
std::vector<int32_t> RunTurn(Engine& engine, const std::string& session, std::vector<int32_t> ids, int max_tokens,
                             float temperature = 0) {
  TurnRequest request;
  request.session_id = session;
  request.prompt = std::move(ids);
  request.sampling.temperature = temperature;
  request.max_tokens = max_tokens;
  auto stream = engine.Submit(std::move(request));
  EXPECT_TRUE(stream.ok()) << stream.status();
  std::vector<int32_t> sampled;
  while (stream.ok()) {
    TurnDelta delta = (*stream)->Pop();
    sampled.insert(sampled.end(), delta.token_ids.begin(), delta.token_ids.end());
    if (!delta.finished) continue;
    EXPECT_TRUE(delta.status.ok()) << delta.status;
    break;
  }
  return sampled;
}

struct State {
  std::vector<HeadView> heads;
  std::vector<int32_t> reply;
  int64_t position = 0;
};

State Finish(Engine& engine, const std::string& session) {
  State state;
  auto heads = engine.InspectSession(session, {}, {}, &state.position);
  EXPECT_TRUE(heads.ok()) << heads.status();
  if (heads.ok()) state.heads = *std::move(heads);
  state.reply = RunTurn(engine, session, {}, kGreedyTokens);
  EXPECT_TRUE(engine.DeleteSession(session).ok());
  return state;
}

uint32_t Bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

void ExpectSame(const State& a, const State& b, const std::string& what) {
  ASSERT_EQ(a.position, b.position) << what;
  ASSERT_EQ(a.heads.size(), b.heads.size()) << what;
  for (size_t h = 0; h < a.heads.size(); ++h) {
    ASSERT_EQ(a.heads[h].tokens.size(), b.heads[h].tokens.size()) << what;
    for (size_t i = 0; i < a.heads[h].tokens.size(); ++i) {
      const HeldToken& x = a.heads[h].tokens[i];
      const HeldToken& y = b.heads[h].tokens[i];
      ASSERT_EQ(x.token, y.token) << what << " head " << h << " entry " << i;
      ASSERT_EQ(x.sub_cache, y.sub_cache) << what << " head " << h << " entry " << i;
      ASSERT_EQ(Bits(x.score), Bits(y.score))
          << what << " head " << h << " entry " << i << ": " << x.score << " " << y.score;
      ASSERT_EQ(Bits(x.distinctness), Bits(y.distinctness)) << what << " head " << h << " entry " << i;
    }
  }
  ASSERT_EQ(a.reply, b.reply) << what;
}

class StateTest : public ::testing::TestWithParam<int> {};

TEST_P(StateTest, IsAFunctionOfTheTokenIds) {
  std::mt19937 rng(static_cast<uint32_t>(GetParam()) * 7919 + 1);
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(rng); };
  const std::string path =
      (std::filesystem::temp_directory_path() / ("cascade_state_" + std::to_string(getpid()) + ".gguf")).string();
  const bool quantised = GetParam() % 2 == 0;
  TinyModelOptions tiny;
  tiny.seed = static_cast<uint32_t>(GetParam());
  tiny.matrices =
      quantised ? (GetParam() % 4 == 0 ? kernels::DType::kQ4_1 : kernels::DType::kQ8_0) : kernels::DType::kF32;
  WriteTinyModel(path, tiny);
  const CascadeGeometry geometry = RandomGeometry(rng, pick(1, 4));
  SCOPED_TRACE(geometry.ToString());

  Server alone = MakeServer(path, geometry, 1, GetParam(), 512);
  Server crowded = MakeServer(path, geometry, 2, GetParam(), pick(kNeighbours + 2, 40));
  std::filesystem::remove(path);
  const int vocabulary = alone.llama->vocabulary();
  const auto random_ids = [&](int count) {
    std::vector<int32_t> ids(static_cast<size_t>(count));
    for (int32_t& id : ids) id = pick(0, vocabulary - 1);
    return ids;
  };

  for (int round = 0; round < StateRounds(40); ++round) {
    // Among neighbours, in turns; some of them generate.
    const std::string session = crowded.engine->CreateSession("", std::nullopt)->id;
    std::vector<std::shared_ptr<TokenStream>> neighbours;
    for (int i = 0; i < kNeighbours; ++i) {
      TurnRequest request;
      request.prompt = random_ids(pick(1, 120));
      request.max_tokens = pick(0, 60);
      auto stream = crowded.engine->Submit(std::move(request));
      ASSERT_TRUE(stream.ok()) << stream.status();
      neighbours.push_back(*stream);
    }
    std::vector<int32_t> history;
    const int turns = pick(1, 10), fork_before = pick(0, turns - 1);
    std::string fork;
    size_t forked_at = 0;
    for (int turn = 0; turn < turns; ++turn) {
      if (turn == fork_before) {
        const auto info = crowded.engine->ForkSession(session, "", static_cast<int64_t>(history.size()));
        ASSERT_TRUE(info.ok()) << info.status();
        fork = info->id;
        forked_at = history.size();
      }
      std::vector<int32_t> ids = random_ids(pick(1, 60));
      history.insert(history.end(), ids.begin(), ids.end());
      const std::vector<int32_t> sampled = RunTurn(*crowded.engine, session, ids, pick(0, 1) * pick(1, 12), 1.0f);
      history.insert(history.end(), sampled.begin(), sampled.end());
      if (pick(0, 3) == 0) neighbours[static_cast<size_t>(pick(0, kNeighbours - 1))]->Cancel();
    }
    const State among = Finish(*crowded.engine, session);
    for (auto& stream : neighbours) {
      stream->Cancel();
      while (!stream->Pop().finished) {
      }
    }
    ASSERT_EQ(among.position, static_cast<int64_t>(history.size()));

    // A fork from somewhere on the way, led to the same place in one turn.
    RunTurn(*crowded.engine, fork, {history.begin() + static_cast<ptrdiff_t>(forked_at), history.end()}, 0);
    ExpectSame(among, Finish(*crowded.engine, fork), "a fork, round " + std::to_string(round));

    // The same ids in one turn, alone, one thread, big steps.
    const std::string single = alone.engine->CreateSession("", std::nullopt)->id;
    RunTurn(*alone.engine, single, history, 0);
    ExpectSame(among, Finish(*alone.engine, single), "one turn alone, round " + std::to_string(round));

    // And cut elsewhere.
    const std::string cut = crowded.engine->CreateSession("", std::nullopt)->id;
    for (size_t begin = 0; begin < history.size();) {
      const size_t count = std::min(history.size() - begin, static_cast<size_t>(pick(1, 50)));
      RunTurn(*crowded.engine, cut,
              {history.begin() + static_cast<long>(begin), history.begin() + static_cast<long>(begin + count)}, 0);
      begin += count;
    }
    ExpectSame(among, Finish(*crowded.engine, cut), "other cuts, round " + std::to_string(round));
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, StateTest, ::testing::Range(0, StateVariants(20)));

}  // namespace
}  // namespace cascade::test
