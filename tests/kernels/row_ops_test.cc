// Embed, RmsNorm, SiluMul, GatherRows and ScoreTargets.
#include <cmath>
#include <string>

#include "tests/kernels/op_test.h"
#include "tests/support/compare.h"

namespace cascade::kernels {
namespace {

const std::vector<int64_t> kWidths = {1, 3, 15, 16, 17, 31, 64, 576, 1001};
const std::vector<int64_t> kHeights = {1, 2, 7, 33};

class RowOpsTest : public OpTest {};

TEST_P(RowOpsTest, EmbedIsExact) {
  for (DType type : AllTypes()) {
    for (int64_t cols : {1, 31, 32, 33, 64, 256, 576, 768}) {
      if (cols % BlockElements(type) != 0) continue;
      SCOPED_TRACE(std::string(Name(type)) + ", " + std::to_string(cols));
      const auto table = IsQuantized(type) && cols != 64 ? RandomBlockWeight(random_, type, 37, cols)
                                                         : RandomWeight(random_, type, 37, cols);
      const std::vector<int32_t> ids = {0, 36, 15, 16, 17, 0, 31, 32};
      for (int threads : {1, 3}) {
        const auto backend = CreateBackend(threads);
        GuardedMatrix out(ids.size(), cols, NAN);
        backend->Embed(Load(*backend, table), ids, out.view());
        const reference::Matrix expected = reference::Embed(table, ids);
        const std::vector<float> rounded(expected.values.begin(), expected.values.end());
        EXPECT_EQ(BitDifferences(out.values(), rounded, cols), "");
        EXPECT_TRUE(out.GuardsIntact());
      }
    }
  }
}

TEST_P(RowOpsTest, RmsNormAgreesWithReference) {
  for (int64_t cols : kWidths) {
    for (int64_t rows : kHeights) {
      SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(cols));
      const auto gain = RandomWeight(random_, DType::kF32, 1, cols);
      GuardedMatrix x = RandomMatrix(random_, rows, cols, 10.0f);
      reference::Matrix bound;
      const reference::Matrix expected = reference::RmsNorm(x.values(), gain.Row(0), 1e-5f, &bound);
      for (int threads : {1, 3}) {
        const auto backend = CreateBackend(threads);
        const WeightId id = Load(*backend, gain);
        GuardedMatrix out(rows, cols, NAN);
        backend->RmsNorm(x.view(), id, 1e-5f, out.view());
        EXPECT_EQ(Differences(out.values(), expected.values, bound.values, cols), "");
        EXPECT_TRUE(out.GuardsIntact());
        // Row by row, and in place: the same bits.
        GuardedMatrix in_place = x;
        for (int64_t row = 0; row < rows; ++row) {
          backend->RmsNorm(in_place.Rows(row, 1), id, 1e-5f, in_place.Rows(row, 1));
        }
        EXPECT_EQ(BitDifferences(in_place.values(), out.values(), cols), "");
      }
    }
  }
}

TEST_P(RowOpsTest, SiluMulAgreesWithReference) {
  for (int64_t cols : kWidths) {
    for (int64_t rows : kHeights) {
      SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(cols));
      GuardedMatrix gate = RandomMatrix(random_, rows, cols, 20.0f);
      const GuardedMatrix original = gate;
      gate.values()[0] = -200.0f;
      gate.values()[cols - 1] = cols > 1 ? 1000.0f : -200.0f;
      GuardedMatrix copy = gate;
      GuardedMatrix up = RandomMatrix(random_, rows, cols);
      reference::Matrix bound;
      const reference::Matrix expected = reference::SiluMul(gate.values(), up.values(), &bound);
      CreateBackend(3)->SiluMul(gate.view(), up.view());
      EXPECT_EQ(Differences(gate.values(), expected.values, bound.values, cols), "");
      EXPECT_TRUE(gate.GuardsIntact());
      const auto backend = CreateBackend(1);
      for (int64_t row = 0; row < rows; ++row) backend->SiluMul(copy.Rows(row, 1), up.Rows(row, 1));
      EXPECT_EQ(BitDifferences(copy.values(), gate.values(), cols), "");
    }
  }
}

TEST_P(RowOpsTest, GatherRowsCopies) {
  GuardedMatrix x = RandomMatrix(random_, 9, 33);
  const std::vector<int32_t> rows = {8, 0, 3, 3};
  GuardedMatrix out(4, 33, NAN);
  CreateBackend()->GatherRows(x.view(), rows, out.view());
  for (int64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(BitDifferences(out.values().subspan(i * 33, 33), x.values().subspan(rows[i] * 33, 33), 33), "");
  }
  EXPECT_TRUE(out.GuardsIntact());
}

TEST_P(RowOpsTest, ScoreTargetsAgreesWithReference) {
  for (int64_t cols : {int64_t{2}, int64_t{15}, int64_t{16}, int64_t{17}, int64_t{1000}, int64_t{49152}}) {
    for (float scale : {0.01f, 5.0f, 60.0f}) {
      SCOPED_TRACE(std::to_string(cols) + ", scale " + std::to_string(scale));
      const int64_t rows = 5;
      GuardedMatrix logits = RandomMatrix(random_, rows, cols, scale);
      // Row 1: the largest twice, in the first and in the last place.
      logits.values()[cols] = logits.values()[2 * cols - 1] = scale + 1.0f;
      const std::vector<int32_t> targets = {0, static_cast<int32_t>(cols - 1), -1, static_cast<int32_t>(cols / 2), 1};
      std::vector<TokenScore> scores(rows, TokenScore{NAN, -7, NAN});
      CreateBackend(2)->ScoreTargets(logits.view(), targets, scores);
      const auto backend = CreateBackend(1);
      for (int64_t row = 0; row < rows; ++row) {
        SCOPED_TRACE(row);
        const auto expected = reference::ScoreTarget(logits.values().subspan(row * cols, cols), targets[row]);
        EXPECT_EQ(scores[row].top_id, expected.top_id);
        EXPECT_EQ(scores[row].top_margin, expected.top_margin);
        EXPECT_NEAR(scores[row].logprob, expected.logprob, expected.bound);
        TokenScore alone;
        backend->ScoreTargets(logits.Rows(row, 1), {&targets[row], 1}, {&alone, 1});
        EXPECT_EQ(alone.logprob, scores[row].logprob);
      }
      EXPECT_EQ(scores[1].top_id, 0);
      EXPECT_EQ(scores[1].top_margin, 0.0f);
      EXPECT_EQ(scores[2].logprob, 0.0f);
    }
  }
}

TEST_P(RowOpsTest, ScoreTargetsWithMinusInfinity) {
  GuardedMatrix logits(1, 40, -INFINITY);
  logits.values()[20] = 3.0f;
  TokenScore score;
  const int32_t target = 20;
  CreateBackend()->ScoreTargets(logits.view(), {&target, 1}, {&score, 1});
  EXPECT_EQ(score.top_id, 20);
  EXPECT_NEAR(score.logprob, 0.0f, 1e-6f);
  EXPECT_TRUE(std::isinf(score.top_margin));
}

INSTANTIATE_TEST_SUITE_P(Targets, RowOpsTest, testing::ValuesIn(AvailableTargets()), NameOfTarget);

}  // namespace
}  // namespace cascade::kernels
