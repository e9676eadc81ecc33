// An engine over the fake model, and short words for what the tests do with it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/collect_turn.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_model.h"
#include "tests/support/fake_random.h"

namespace cascade {

inline std::vector<int32_t> TextIds(const std::string& text) { return std::vector<int32_t>(text.begin(), text.end()); }

inline TurnRequest TextTurn(const std::string& text, int64_t max_tokens, const std::string& session = "") {
  TurnRequest request;
  request.session_id = session;
  request.prompt = TextPrompt{.text = text};
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  return request;
}

inline TurnRequest IdsTurn(std::vector<int32_t> ids, int64_t max_tokens, const std::string& session = "") {
  TurnRequest request = TextTurn("", max_tokens, session);
  request.prompt = std::move(ids);
  return request;
}

inline TurnRequest ScoreTurn(std::vector<int32_t> ids, const std::string& session = "") {
  TurnRequest request = IdsTurn(std::move(ids), 0, session);
  request.kind = TurnKind::kScore;
  return request;
}

// A model that says `reply` after any prompt: the bytes of it in turn, then the end token. It knows its place by the
// number of the tokens that follow the last '>' of what it was fed.
inline FakeModel::Script Says(const std::string& reply) {
  return [reply](std::span<const int32_t> ids, std::span<float> logits) {
    size_t place = 0;
    while (place < ids.size() && ids[ids.size() - 1 - place] != '>') ++place;
    const int32_t next =
        place < reply.size() ? static_cast<unsigned char>(reply[place]) : static_cast<int32_t>(ByteTokenizer::kEnd);
    std::fill(logits.begin(), logits.end(), 0.0f);
    logits[static_cast<size_t>(next)] = 10;
  };
}

// Always the letter 'a': goes on until somebody stops it.
inline FakeModel::Script Endless() {
  return [](std::span<const int32_t>, std::span<float> logits) {
    std::fill(logits.begin(), logits.end(), 0.0f);
    logits['a'] = 1;
  };
}

inline CascadeGeometry SmallGeometry() {
  CascadeGeometry geometry;
  geometry.num_sinks = 2;
  geometry.sub_cache_tokens = {32, 32};
  geometry.stride = 16;
  geometry.selection_group = 4;
  return geometry;
}

// With as many steps in flight as the parameter says.
class EngineTest : public ::testing::TestWithParam<int> {
 protected:
  EngineTest() {
    options_.geometry = SmallGeometry();
    options_.num_slots = 4;
    options_.cache_bytes_per_slot = 1234;
    options_.num_layers = 2;
    options_.num_kv_heads = 3;
    options_.max_num_seqs = 4;
    options_.max_num_batched_tokens = 16;
    options_.max_num_queued_requests = 8;
  }
  ~EngineTest() override {
    if (model_ != nullptr) {
      model_->ReleaseAll();
      engine_.reset();
      EXPECT_THAT(model_->violations(), ::testing::IsEmpty());
    }
  }

  void Start(FakeModel::Script script = nullptr, const Tokenizer* tokenizer = nullptr,
             const ChatTemplate* chat_template = nullptr) {
    model_ = std::make_unique<FakeModel>(options_.geometry, ByteTokenizer::kVocabulary, options_.max_num_batched_tokens,
                                         std::move(script), steps_in_flight());
    auto engine = Engine::Create(options_, *model_, tokenizer != nullptr ? *tokenizer : tokenizer_, chat_template,
                                 clock_, random_);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }
  static int steps_in_flight() { return GetParam(); }
  std::string NewSession() {
    const auto info = engine_->CreateSession("", std::nullopt);
    EXPECT_TRUE(info.ok()) << info.status();
    return info.ok() ? info->id : "";
  }
  std::shared_ptr<TokenStream> MustSubmit(TurnRequest request) {
    auto stream = engine_->Submit(std::move(request));
    EXPECT_TRUE(stream.ok()) << stream.status();
    return stream.ok() ? *stream : nullptr;
  }
  // The whole turn as one delta.
  static TurnDelta Collect(TokenStream& stream) { return CollectTurn(stream); }
  TurnDelta Finish(TurnRequest request) {
    const auto stream = MustSubmit(std::move(request));
    return stream == nullptr ? TurnDelta() : Collect(*stream);
  }
  absl::StatusCode SubmitCode(TurnRequest request) { return engine_->Submit(std::move(request)).status().code(); }
  int64_t Position(const std::string& session) { return engine_->GetSession(session)->position; }

  EngineOptions options_;
  ByteTokenizer tokenizer_;
  FakeClock clock_;
  FakeRandom random_;
  std::unique_ptr<FakeModel> model_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace cascade
