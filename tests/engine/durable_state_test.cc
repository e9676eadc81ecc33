// Random lives of sessions over the real forward pass of a tiny model: whatever a session has outlived, its next greedy
// and seeded tokens are those of a one-shot turn with its ids, and its cache's bytes those of a session that has only
// read them, in other cuts.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <random>

#include "engine/engine.h"
#include "engine/model/llama.h"
#include "engine/session/vault.h"
#include "tests/engine/durable_script.h"
#include "tests/support/collect_turn.h"
#include "tests/support/random_geometry.h"
#include "tests/support/state_device.h"
#include "tests/support/tiny_model.h"

namespace cascade::test {
namespace {

// An engine over the tiny model and a data folder; dropped, it leaves the folder to the next one.
struct Server {
  std::unique_ptr<Directory> directory;
  std::unique_ptr<ModelSource> source;
  std::unique_ptr<kernels::Backend> backend;
  std::unique_ptr<Llama> llama;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Vault> vault;
  std::unique_ptr<Engine> engine;
};

class DurableStateTest : public ::testing::TestWithParam<int> {
 protected:
  DurableStateTest()
      : random_(static_cast<uint32_t>(GetParam()) * 6007 + 5),
        folder_(::testing::TempDir() + "durable-state-" + std::to_string(getpid()) + "-" + std::to_string(GetParam())),
        model_(folder_ + "/model.gguf") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_ + "/lives");
    std::filesystem::create_directories(folder_ + "/reference");
    TinyModelOptions tiny;
    tiny.seed = static_cast<uint32_t>(GetParam());
    if (GetParam() % 2 == 0) tiny.matrices = GetParam() % 4 == 0 ? kernels::DType::kQ4_1 : kernels::DType::kQ8_0;
    WriteTinyModel(model_, tiny);
    geometry_ = RandomGeometry(random_, Between(1, 4));
  }
  ~DurableStateTest() override { std::filesystem::remove_all(folder_); }

  int Between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

  Server Start(const std::string& name, int threads, int budget, Durability durability, bool host) {
    Server server;
    server.directory = *Directory::Open(folder_ + "/" + name);
    server.source = *OpenModel(model_);
    StateDevice device = MakeStateDevice(GetParam(), threads);
    server.backend = std::move(device.backend);
    EngineOptions options;
    options.geometry = geometry_;
    options.num_slots = 3;
    options.num_layers = server.source->config().num_layers;
    options.num_kv_heads = server.source->config().num_kv_heads;
    options.max_num_seqs = 2;
    options.max_num_batched_tokens = budget;
    options.durability = durability;
    server.llama =
        *Llama::Create(*server.source, geometry_, device.kv_type, options.num_slots, budget, *server.backend);
    server.tokenizer = *CreateTokenizer(server.source->vocabulary());
    const size_t cache_bytes = server.llama->SlotBytes(kernels::SlotPart::kAll);
    server.vault = *Vault::Open(*server.directory, {.cache_bytes = cache_bytes}, RandomSource::System());
    options.vault = server.vault.get();
    options.host_cache_bytes = host ? static_cast<int64_t>(2 * cache_bytes) : 0;
    server.engine =
        *Engine::Create(options, *server.llama, *server.tokenizer, nullptr, Clock::Real(), RandomSource::System());
    return server;
  }

  // The cache's bytes after `rest`, which the session reads in turns of up to `longest` ids; then the session is gone.
  // Empty: it failed.
  std::vector<std::byte> ReadOn(Engine& engine, const std::string& session, std::span<const int32_t> rest,
                                int longest) {
    while (!rest.empty()) {
      const size_t count = std::min(rest.size(), static_cast<size_t>(Between(1, longest)));
      TurnRequest request;
      request.session_id = session;
      request.prompt = std::vector<int32_t>(rest.begin(), rest.begin() + static_cast<ptrdiff_t>(count));
      request.max_tokens = 0;
      const auto stream = engine.Submit(std::move(request));
      EXPECT_TRUE(stream.ok()) << stream.status();
      if (!stream.ok()) return {};
      const TurnDelta turn = CollectTurn(**stream);
      EXPECT_TRUE(turn.status.ok()) << turn.status;
      rest = rest.subspan(count);
    }
    const auto exported = engine.ExportSession(session, false);
    EXPECT_TRUE(exported.ok()) << exported.status();
    EXPECT_TRUE(engine.DeleteSession(session).ok());
    if (!exported.ok() || exported->cache == nullptr) return {};
    const auto bytes = exported->cache->bytes();
    return {bytes.begin(), bytes.end()};
  }

  // Entries of an open stride that a rewind took back keep what they held until the next id comes there, so both
  // sessions read on until the stride is closed: then each byte of a slot is a function of the ids. That takes one id
  // more than fits in the stride, as a session's last id is read by the next turn.
  void ExpectSameState(Engine& engine, const std::string& session, const std::vector<int32_t>& ids, Engine& reference) {
    const auto fork = engine.ForkSession(session, "", static_cast<int64_t>(ids.size()));
    ASSERT_TRUE(fork.ok()) << fork.status();
    const int64_t past_sinks = static_cast<int64_t>(ids.size()) - geometry_.num_sinks;
    std::vector<int32_t> all = ids;
    for (int64_t i = geometry_.stride - (past_sinks > 0 ? past_sinks % geometry_.stride : past_sinks); i >= 0; --i) {
      all.push_back(Between(2, kTinyModelTokens - 1));
    }
    const std::vector<std::byte> lived =
        ReadOn(engine, fork->id, std::span<const int32_t>(all).subspan(ids.size()), geometry_.stride);
    const auto read = reference.CreateSession("", Durability::kNone);
    ASSERT_TRUE(read.ok()) << read.status();
    const std::vector<std::byte> only_read = ReadOn(reference, read->id, all, 400);
    ASSERT_FALSE(lived.empty());
    ASSERT_EQ(lived.size(), only_read.size());
    const auto at = std::ranges::mismatch(lived, only_read).in1;
    ASSERT_TRUE(at == lived.end()) << "byte " << at - lived.begin() << " of " << lived.size() << ", after "
                                   << all.size() << " ids";
  }

  std::mt19937 random_;
  const std::string folder_, model_;
  CascadeGeometry geometry_;
};

TEST_P(DurableStateTest, RandomLives) {
  SCOPED_TRACE(geometry_.ToString());
  const Server reference = Start("reference", 2, 512, Durability::kNone, false);
  std::optional<Server> server;  // the engine is the script's
  DurableScriptOptions script;
  script.seed = static_cast<uint64_t>(GetParam()) + 1;
  script.operations = StateRounds(320);
  script.sessions = std::clamp(script.operations / 8, 2, 5);  // fewer operations: each session still has many
  script.vocabulary = kTinyModelTokens;
  script.host = GetParam() % 3 != 0;
  script.look = [&](Engine& engine, const std::string& session, const std::vector<int32_t>& ids) {
    ExpectSameState(engine, session, ids, *reference.engine);
  };
  // Every start reads its steps in other slices.
  const auto start = [&] {
    server.reset();
    server.emplace(Start("lives", 1, Between(4, 40), Durability::kJournal, script.host));
    return std::move(server->engine);
  };
  const DurableScriptCounts counts = RunDurableScript(script, start, *reference.engine);
  std::printf(
      "turns %d, tokens %d, parks %d, restarts %d, forks %d, rewinds %d, transfers %d, interrupted %d, "
      "states %d\n",
      counts.turns, counts.tokens, counts.parks, counts.restarts, counts.forks, counts.rewinds, counts.transfers,
      counts.interrupted, counts.looks);
  EXPECT_GE(counts.turns, script.operations / 2);
  EXPECT_GE(counts.restarts, 1 + script.operations / 40);
  EXPECT_GE(counts.looks, script.operations / 8);
}

INSTANTIATE_TEST_SUITE_P(Models, DurableStateTest, ::testing::Range(0, StateVariants(20)));

}  // namespace
}  // namespace cascade::test
