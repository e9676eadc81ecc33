// The demo model through the library against the known-good answers, in each of the device's arithmetics.
#include <gtest/gtest.h>

#include <cstdlib>

#include "engine/model/llama.h"
#include "tests/engine/model/golden_arithmetic.h"
#include "tests/support/golden_checks.h"
#include "tests/support/session_runner.h"

namespace cascade::test {
namespace {

constexpr int kMaxSlice = 256;

class GoldenTest : public ::testing::TestWithParam<Arithmetic> {
 protected:
  void SetUp() override {
    const char* path = std::getenv("CASCADE_DEMO_MODEL");
    ASSERT_NE(path, nullptr) << "CASCADE_DEMO_MODEL is not set";
    auto source = OpenModel(path);
    ASSERT_TRUE(source.ok()) << source.status();
    source_ = std::move(*source);
  }

  void Load(const CascadeGeometry& geometry) {
    geometry_ = geometry;
    auto backend = GetParam().create();
    ASSERT_TRUE(backend.ok()) << backend.status();
    backend_ = std::move(*backend);
    auto llama = Llama::Create(*source_, geometry_, GetParam().kv_type, 1, kMaxSlice, *backend_);
    ASSERT_TRUE(llama.ok()) << llama.status();
    llama_ = std::move(*llama);
  }

  void CheckCascade(const std::string& name) {
    const CascadeGolden golden = ReadCascadeGolden(name);
    Load(golden.geometry);
    SessionRunner runner(*llama_, geometry_, 0, kMaxSlice);
    const std::vector<kernels::TokenScore> scores = runner.Score(golden.ids);
    std::vector<double> nll;
    for (size_t i = 0; i + 1 < scores.size(); ++i) nll.push_back(-scores[i].logprob);
    ExpectCascadeAgrees(
        golden, nll,
        [&](int layer, int kv_head) {
          std::set<int64_t> tokens;
          for (const HeldToken& token : runner.Held(layer, kv_head)) {
            if (token.sub_cache >= 0 && token.sub_cache < geometry_.num_sub_caches()) tokens.insert(token.token);
          }
          return tokens;
        },
        GetParam().tolerance);
  }

  std::unique_ptr<ModelSource> source_;
  CascadeGeometry geometry_;
  std::unique_ptr<kernels::Backend> backend_;
  std::unique_ptr<Llama> llama_;
};

TEST_P(GoldenTest, CascadeDefault) { CheckCascade("default"); }
TEST_P(GoldenTest, CascadeHalving) { CheckCascade("halving"); }
TEST_P(GoldenTest, CascadePaper) { CheckCascade("paper"); }
TEST_P(GoldenTest, CascadePaperMax) { CheckCascade("paper_max"); }
TEST_P(GoldenTest, CascadeWindow) { CheckCascade("window"); }

TEST_P(GoldenTest, DenseLossesAndGreedyReplies) {
  auto geometry = MakeGeometry({.cache_tokens = 1024}, source_->config().max_positions);
  ASSERT_TRUE(geometry.ok()) << geometry.status();
  Load(*geometry);
  int checked = 0;
  for (const DenseGolden& golden : ReadDenseGoldens()) {
    SessionRunner runner(*llama_, geometry_, 0, kMaxSlice);
    std::vector<double> nll;
    std::vector<int32_t> top1;
    const std::vector<kernels::TokenScore> scores = runner.Score(golden.ids);
    for (size_t i = 0; i < scores.size(); ++i) {
      if (i + 1 < scores.size()) nll.push_back(-scores[i].logprob);
      top1.push_back(scores[i].top_id);
    }
    ExpectDenseAgrees(golden, nll, top1, GetParam().tolerance);
    ++checked;
  }
  const std::vector<int32_t> end_ids = {source_->vocabulary().eos_id};
  for (const GreedyGolden& golden : ReadGreedyGoldens()) {
    SessionRunner runner(*llama_, geometry_, 0, kMaxSlice);
    ExpectGreedyAgrees(golden, runner.Greedy(golden.prompt_ids, static_cast<int>(golden.output_ids.size()), end_ids),
                       GetParam().tolerance);
    ++checked;
  }
  EXPECT_EQ(checked, 9);
}

INSTANTIATE_TEST_SUITE_P(Arithmetics, GoldenTest, ::testing::ValuesIn(GoldenArithmetics()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace cascade::test
