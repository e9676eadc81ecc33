// An engine over the fake model and a data folder that outlives it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "engine/session/vault.h"
#include "tests/engine/engine_test_util.h"

namespace cascade {

// With as many steps in flight as the parameter says.
class EngineDurabilityTest : public ::testing::TestWithParam<int> {
 protected:
  EngineDurabilityTest() {
    options_.geometry = SmallGeometry();
    options_.num_slots = 3;
    options_.max_num_sessions = 100;
    options_.max_num_seqs = 2;
    options_.max_num_batched_tokens = 16;
    options_.durability = Durability::kJournal;
    std::string name = ::testing::TempDir() + "durability-XXXXXX";
    folder_ = mkdtemp(name.data());
    directory_ = *Directory::Open(folder_);
  }
  ~EngineDurabilityTest() override {
    End();
    directory_.reset();
    std::filesystem::remove_all(folder_);
  }

  std::unique_ptr<FakeModel> MakeModel(int in_flight) const {
    return std::make_unique<FakeModel>(options_.geometry, ByteTokenizer::kVocabulary, options_.max_num_batched_tokens,
                                       nullptr, in_flight);
  }
  // Ends what ran, and begins anew on the same folder.
  std::unique_ptr<Engine> Start() {
    End();
    vault_ = *Vault::Open(*directory_,
                          {.cache_bytes = FakeModel(options_.geometry, 1, 1).SlotBytes(kernels::SlotPart::kAll)},
                          RandomSource::System());
    model_ = MakeModel(GetParam());
    options_.vault = vault_.get();
    auto engine = Engine::Create(options_, *model_, tokenizer_, nullptr, Clock::Real(), RandomSource::System());
    EXPECT_TRUE(engine.ok()) << engine.status();
    return *std::move(engine);
  }
  void End() {
    engine_.reset();
    if (model_ != nullptr) {
      EXPECT_THAT(model_->violations(), ::testing::IsEmpty());
    }
    vault_.reset();
  }
  void Begin() {
    engine_.reset();
    engine_ = Start();
  }
  TurnDelta Finish(TurnRequest request) {
    auto stream = engine_->Submit(std::move(request));
    EXPECT_TRUE(stream.ok()) << stream.status();
    return stream.ok() ? CollectTurn(**stream) : TurnDelta();
  }
  std::string NewSession(std::optional<Durability> durability = std::nullopt) {
    const auto made = engine_->CreateSession("x", durability);
    EXPECT_TRUE(made.ok()) << made.status();
    return made.ok() ? made->id : "";
  }

  EngineOptions options_;
  ByteTokenizer tokenizer_;
  std::string folder_;
  std::unique_ptr<Directory> directory_;
  std::unique_ptr<Vault> vault_;
  std::unique_ptr<FakeModel> model_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace cascade
