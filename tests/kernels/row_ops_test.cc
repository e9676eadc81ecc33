// Embed, RmsNorm, SiluMul, GatherRows, ScoreTargets and copies on every back end.
#include <cmath>
#include <string>

#include "tests/kernels/backend_under_test.h"
#include "tests/support/compare.h"
#include "tests/support/rounding.h"

namespace cascade::kernels {
namespace {

const std::vector<int64_t> kHeights = {1, 2, 7, 33};

class RowOpsTest : public BackendTest {
 protected:
  // Columns of activations.
  std::vector<int64_t> Widths() const {
    if (GetParam().column_multiple == 1) return {1, 3, 15, 16, 17, 31, 64, 576, 1001};
    return {8, 16, 24, 40, 64, 576, 2048, 9000};
  }
};

TEST_P(RowOpsTest, CopiesRoundToTheType) {
  const auto backend = Create();
  for (const Precision precision : {Precision::kFull, Precision::kCompute}) {
    std::vector<float> values = RandomFloats(random_, 5 * 33, 1e3f);
    values[3] = -INFINITY, values[4] = NAN, values[5] = -0.0f, values[6] = 3e-6f;
    const DeviceMatrix x(*backend, 5, 33, precision, values);
    EXPECT_EQ(x.view().type, precision == Precision::kFull ? DType::kF32 : compute());
    const std::vector<float> got = x.Read(), expected = reference::Rounded(x.view().type, values);
    EXPECT_TRUE(std::isnan(got[4]));
    for (size_t i = 0; i < got.size(); ++i) {
      if (i == 4) continue;
      ASSERT_EQ(got[i], expected[i]) << i;
      ASSERT_EQ(std::signbit(got[i]), std::signbit(expected[i])) << i;
    }
  }
}

TEST_P(RowOpsTest, AllocationsAreZero) {
  const auto backend = Create();
  for (const Precision precision : {Precision::kFull, Precision::kCompute}) {
    const absl::StatusOr<TensorView> view = backend->Allocate(7, 33, precision);
    ASSERT_TRUE(view.ok());
    std::vector<float> host(7 * 33, NAN);
    backend->CopyToHost(*view, host);
    ASSERT_TRUE(backend->Finish().ok());
    for (const float x : host) ASSERT_EQ(x, 0.0f);
  }
}

TEST_P(RowOpsTest, EmbedTakesRowsOfTheTable) {
  const std::vector<int32_t> ids = {0, 36, 15, 16, 17, 0, 31, 32};
  for (const DType type : AllTypes()) {
    const CacheCase cache = SmallCache(GetParam(), 8);
    for (const int64_t cols : {1, 31, 32, 33, 64, 256, 576, 768}) {
      if (cols % BlockElements(type) != 0 || cols % GetParam().column_multiple != 0) continue;
      SCOPED_TRACE(std::string(Name(type)) + ", " + std::to_string(cols));
      const bool any_block = IsQuantized(type) && cols != 64;
      const auto table = any_block ? RandomBlockWeight(random_, type, 37, cols) : RandomWeight(random_, type, 37, cols);
      const auto backend = Create();
      const DeviceMatrix out(*backend, 8, cols, Precision::kFull);
      const WeightId id = Load(*backend, table);
      CreateSmallCaches(*backend, GetParam(), 1, 8);
      const CacheScript script(cache);
      std::vector<Segment> segments;
      const Slice slice = script.NextSlice(8, segments);
      backend->BeginStep({.slices = {&slice, 1}, .ids = ids, .samples = {}});
      backend->Embed(id, out.view());
      backend->EndStep();
      std::vector<int32_t> sampled;
      ASSERT_TRUE(backend->WaitStep(sampled).ok());
      const reference::Matrix expected = reference::Embed(table, ids);
      reference::Matrix bound(8, cols);
      for (int64_t row = 0; row < 8 && compute() != DType::kF32; ++row) {
        double largest = 0;
        for (int64_t c = 0; c < cols; ++c) largest = std::max(largest, std::abs(expected.At(row, c)));
        for (int64_t c = 0; c < cols; ++c) {
          // Tables of float32 are rounded to the compute type; codes times scales to float32, once or twice.
          bound.At(row, c) = type == DType::kF32 ? reference::Unit(compute()) * std::abs(expected.At(row, c)) + 0x1p-25
                             : IsQuantized(type) ? largest * 0x1p-22
                                                 : 0;
        }
      }
      EXPECT_EQ(Differences(out.Read(), expected.values, bound.values, cols), "");
      EXPECT_TRUE(out.GuardsIntact());
    }
  }
}

TEST_P(RowOpsTest, RmsNormAgreesWithReference) {
  for (const int64_t cols : Widths()) {
    const auto gain = RandomWeight(random_, DType::kF32, 1, cols);
    const auto backend = Create(), one_thread = Create(1);
    const WeightId id = Load(*backend, gain), id_of_one = Load(*one_thread, gain);
    for (const int64_t rows : kHeights) {
      SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(cols));
      const std::vector<float> values = RandomFloats(random_, rows * cols, 10.0f);
      DeviceMatrix x(*backend, rows, cols, Precision::kFull, values);
      reference::Matrix bound;
      const reference::Matrix expected = reference::RmsNorm(values, gain.Row(0), 1e-5f, &bound);
      for (const Precision precision : {Precision::kFull, Precision::kCompute}) {
        const DeviceMatrix out(*backend, rows, cols, precision);
        backend->RmsNorm(x.view(), id, 1e-5f, out.view());
        reference::Matrix bound_of_type = bound;
        reference::AddRounding(out.view().type, expected, bound_of_type);
        EXPECT_EQ(Differences(out.Read(), expected.values, bound_of_type.values, cols), "");
        EXPECT_TRUE(out.GuardsIntact());
      }
      // In place; and row by row in one thread: the same bits.
      backend->RmsNorm(x.view(), id, 1e-5f, x.view());
      const std::vector<float> in_place = x.Read();
      EXPECT_EQ(Differences(in_place, expected.values, bound.values, cols), "");
      const DeviceMatrix single(*one_thread, rows, cols, Precision::kFull, values);
      for (int64_t row = 0; row < rows; ++row) {
        one_thread->RmsNorm(single.Rows(row, 1), id_of_one, 1e-5f, single.Rows(row, 1));
      }
      EXPECT_EQ(BitDifferences(single.Read(), in_place, cols), "");
    }
  }
}

TEST_P(RowOpsTest, SiluMulAgreesWithReference) {
  for (const int64_t cols : Widths()) {
    const auto backend = Create(3), one_thread = Create(1);
    for (const int64_t rows : kHeights) {
      SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(cols));
      std::vector<float> gate = Inputs(rows * cols, 20.0f);
      gate[0] = -200.0f;
      gate[cols - 1] = cols > 1 ? 1000.0f : -200.0f;
      const std::vector<float> up = Inputs(rows * cols);
      reference::Matrix bound;
      const reference::Matrix expected = reference::SiluMul(gate, up, &bound);
      reference::AddRounding(compute(), expected, bound);
      const DeviceMatrix out(*backend, rows, cols, Precision::kCompute, gate);
      const DeviceMatrix device_up(*backend, rows, cols, Precision::kCompute, up);
      backend->SiluMul(out.view(), device_up.view());
      const std::vector<float> got = out.Read();
      EXPECT_EQ(Differences(got, expected.values, bound.values, cols), "");
      EXPECT_TRUE(out.GuardsIntact());
      const DeviceMatrix single(*one_thread, rows, cols, Precision::kCompute, gate);
      const DeviceMatrix single_up(*one_thread, rows, cols, Precision::kCompute, up);
      for (int64_t row = 0; row < rows; ++row) one_thread->SiluMul(single.Rows(row, 1), single_up.Rows(row, 1));
      EXPECT_EQ(BitDifferences(single.Read(), got, cols), "");
    }
  }
}

TEST_P(RowOpsTest, GatherRowsCopies) {
  const std::vector<int32_t> rows = {8, 0, 3, 3};
  for (const Precision precision : {Precision::kFull, Precision::kCompute}) {
    for (const int64_t cols : Widths()) {
      const auto backend = Create();
      const std::vector<float> values = Inputs(9 * cols);
      const DeviceMatrix x(*backend, 9, cols, precision, values), out(*backend, 4, cols, precision);
      backend->GatherRows(x.view(), rows, out.view());
      std::vector<float> expected;
      for (const int32_t row : rows) {
        expected.insert(expected.end(), values.begin() + row * cols, values.begin() + (row + 1) * cols);
      }
      EXPECT_EQ(BitDifferences(out.Read(), expected, cols), "");
      EXPECT_TRUE(out.GuardsIntact());
    }
  }
}

TEST_P(RowOpsTest, ScoreTargetsAgreesWithReference) {
  for (const int64_t cols : {2, 15, 16, 17, 1000, GetParam().slow() ? 4097 : 49152}) {
    const int64_t rows = 5;
    for (const float scale : {0.01f, 5.0f, 60.0f}) {
      const auto backend = Create(2), one_thread = Create(1);
      SCOPED_TRACE(std::to_string(cols) + ", scale " + std::to_string(scale));
      std::vector<float> logits = RandomFloats(random_, rows * cols, scale);
      // Row 1: the largest twice, in the first and in the last place.
      logits[cols] = logits[2 * cols - 1] = scale + 1.0f;
      const std::vector<int32_t> targets = {0, static_cast<int32_t>(cols - 1), -1, static_cast<int32_t>(cols / 2), 1};
      std::vector<TokenScore> scores(rows, TokenScore{NAN, -7, NAN}), alone(rows);
      const DeviceMatrix device_logits(*backend, rows, cols, Precision::kFull, logits);
      const DeviceMatrix other_logits(*one_thread, rows, cols, Precision::kFull, logits);
      CreateSmallCaches(*backend, GetParam(), 1, rows);
      CreateSmallCaches(*one_thread, GetParam(), 1, rows);
      backend->ScoreTargets(device_logits.view(), targets, scores);
      ASSERT_TRUE(backend->Finish().ok());
      for (int64_t row = 0; row < rows; ++row) {
        one_thread->ScoreTargets(other_logits.Rows(row, 1), {&targets[row], 1}, {&alone[row], 1});
      }
      ASSERT_TRUE(one_thread->Finish().ok());
      for (int64_t row = 0; row < rows; ++row) {
        SCOPED_TRACE(row);
        const auto expected = reference::ScoreTarget(std::span(logits).subspan(row * cols, cols), targets[row]);
        EXPECT_EQ(scores[row].top_id, expected.top_id);
        EXPECT_EQ(scores[row].top_margin, expected.top_margin);
        // On a device, 2^x of a product: another rounding of the argument.
        EXPECT_NEAR(scores[row].logprob, expected.logprob, (compute() == DType::kF32 ? 1 : 2) * expected.bound);
        EXPECT_EQ(alone[row].logprob, scores[row].logprob);
      }
      EXPECT_EQ(scores[1].top_id, 0);
      EXPECT_EQ(scores[1].top_margin, 0.0f);
      EXPECT_EQ(scores[2].logprob, 0.0f);
    }
  }
}

TEST_P(RowOpsTest, ScoreTargetsWithMinusInfinity) {
  const auto backend = Create();
  std::vector<float> logits(40, -INFINITY);
  logits[20] = 3.0f;
  const DeviceMatrix device_logits(*backend, 1, 40, Precision::kFull, logits);
  CreateSmallCaches(*backend, GetParam(), 1, 1);
  TokenScore score;
  const int32_t target = 20;
  backend->ScoreTargets(device_logits.view(), {&target, 1}, {&score, 1});
  ASSERT_TRUE(backend->Finish().ok());
  EXPECT_EQ(score.top_id, 20);
  EXPECT_NEAR(score.logprob, 0.0f, 1e-6f);
  EXPECT_TRUE(std::isinf(score.top_margin));
}

INSTANTIATE_TEST_SUITE_P(Backends, RowOpsTest, testing::ValuesIn(BackendsUnderTest()), NameOfBackend);

}  // namespace
}  // namespace cascade::kernels
