// Linear layers on every back end, alone and together with what comes before them.
#include <algorithm>
#include <cmath>
#include <string>

#include "tests/kernels/backend_under_test.h"
#include "tests/support/compare.h"
#include "tests/support/rounding.h"

namespace cascade::kernels {
namespace {

struct Sizes {
  int64_t rows;  // of x
  int64_t outputs;
  int64_t inputs;
};

// A whole number of the type's blocks and the back end's vectors: one row's width of all types is at least 8.
int64_t Columns(DType type, int64_t least) {
  const int64_t block = std::max<int64_t>(BlockElements(type), 8);
  return (least + block - 1) / block * block;
}

std::vector<Sizes> SizesOf(DType type, const BackendUnderTest& backend) {
  // Types that cover the formats of matrices on a device: these meet every number of rows.
  const bool main = type == DType::kBF16 || type == DType::kQ8_0 || type == DType::kQ4_K;
  std::vector<Sizes> sizes = {{1, 1, Columns(type, 8)}, {2, 33, Columns(type, 72)}, {9, 17, Columns(type, 264)}};
  if (!main && (backend.slow() || backend.compute == DType::kF32)) {
    sizes.push_back({33, 35, Columns(type, 64)});
    return sizes;
  }
  for (const int64_t rows : {1, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 100}) {
    sizes.push_back({rows, rows % 2 == 0 ? 130 : 67, Columns(type, backend.slow() ? 96 : 320)});
  }
  sizes.push_back({3, 1001, Columns(type, 160)});
  sizes.push_back({1, 65, Columns(type, 1024)});
  sizes.push_back({20, 35, Columns(type, 1024)});
  if (main && !backend.slow()) sizes.push_back({257, 259, Columns(type, 512)});
  return sizes;
}

std::string Describe(DType type, const Sizes& sizes) {
  return std::string(Name(type)) + " x [" + std::to_string(sizes.rows) + ", " + std::to_string(sizes.inputs) + "] -> " +
         std::to_string(sizes.outputs);
}

std::vector<double> Wide(const std::vector<float>& values) { return {values.begin(), values.end()}; }

class LinearTest : public BackendTest {
 protected:
  // Of random blocks every other time, where what they say is in the compute type's range.
  reference::StoredWeight SomeWeight(DType type, int64_t rows, int64_t cols) {
    return IsQuantized(type) && rows % 2 == 1 && compute() != DType::kF16 ? RandomBlockWeight(random_, type, rows, cols)
                                                                          : RandomWeight(random_, type, rows, cols);
  }
};

TEST_P(LinearTest, AgreesWithReference) {
  for (const DType type : AllTypes()) {
    const auto backend = Create();
    for (const Sizes& sizes : SizesOf(type, GetParam())) {
      SCOPED_TRACE(Describe(type, sizes));
      const auto weight = SomeWeight(type, sizes.outputs, sizes.inputs);
      const std::vector<float> x = Inputs(sizes.rows * sizes.inputs, 3.0f);
      const DeviceMatrix device_x(*backend, sizes.rows, sizes.inputs, Precision::kCompute, x);
      const WeightId id = Load(*backend, weight);
      reference::Matrix bound;
      const reference::Matrix expected = reference::LinearIn(compute(), Wide(x), false, weight, &bound);
      for (const Precision precision : {Precision::kFull, Precision::kCompute}) {
        const DeviceMatrix out(*backend, sizes.rows, sizes.outputs, precision);
        const LinearTarget target{.weight = id, .out = out.view()};
        backend->Linear(device_x.view(), {&target, 1});
        reference::Matrix bound_of_type = bound;
        reference::AddRounding(out.view().type, expected, bound_of_type);
        EXPECT_EQ(Differences(out.Read(), expected.values, bound_of_type.values, sizes.outputs), "");
        EXPECT_TRUE(out.GuardsIntact());
        if (compute() == DType::kF32) break;
      }
    }
  }
}

// Unit vectors take single weights out, with no sum: what is left is the rounding of the weight.
TEST_P(LinearTest, HasTheWeightsOfItsType) {
  for (const DType type : AllTypes()) {
    SCOPED_TRACE(std::string(Name(type)));
    const auto backend = Create();
    const int64_t cols = Columns(type, 40), rows = GetParam().slow() ? std::min<int64_t>(cols, 48) : cols;
    const auto weight = SomeWeight(type, 17, cols);
    for (int64_t first = 0; first < rows; first += 12) {  // few rows, and many
      const int64_t count = first == 0 ? std::min<int64_t>(12, rows) : rows - first;
      std::vector<float> x(count * cols, 0.0f);
      for (int64_t r = 0; r < count; ++r) x[r * cols + (first + r) * cols / rows] = 1.0f;
      const DeviceMatrix device_x(*backend, count, cols, Precision::kCompute, x);
      const DeviceMatrix out(*backend, count, 17, Precision::kFull);
      const LinearTarget target{.weight = Load(*backend, weight), .out = out.view()};
      backend->Linear(device_x.view(), {&target, 1});
      const std::vector<float> got = out.Read();
      for (int64_t n = 0; n < 17; ++n) {
        const std::vector<float> row = weight.Row(n);
        double largest = 0;
        for (const float w : row) largest = std::max(largest, static_cast<double>(std::abs(w)));
        for (int64_t r = 0; r < count; ++r) {
          const double w = row[(first + r) * cols / rows];
          // The type's own rounding; of a quantised weight, also float32's of its parts.
          const double bound = compute() == DType::kF32 ? 0
                               : type == compute()      ? 0
                                                        : reference::Unit(compute()) * std::abs(w) + largest * 0x1p-21 +
                                                         (compute() == DType::kF16 ? 0x1p-25 : 0);
          ASSERT_NEAR(got[r * 17 + n], w, bound) << n << ", " << r;
        }
      }
      if (first > 0) break;
    }
  }
}

TEST_P(LinearTest, SeveralTargetsBiasAndAccumulation) {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ4_0, DType::kQ6_K}) {
    for (const int64_t rows : {1, 6, 11, 40, 100}) {
      SCOPED_TRACE(std::string(Name(type)) + ", " + std::to_string(rows) + " rows");
      const auto backend = Create();
      const int64_t cols = Columns(type, 136);
      const std::vector<float> x = Inputs(rows * cols);
      const DeviceMatrix device_x(*backend, rows, cols, Precision::kCompute, x);
      const auto q = RandomWeight(random_, type, 48, cols), k = RandomWeight(random_, type, 21, cols);
      const auto v = RandomWeight(random_, DType::kF16, 16, cols);
      const auto bias = RandomWeight(random_, DType::kF32, 1, 48);
      const std::vector<float> before = RandomFloats(random_, rows * 21);
      const DeviceMatrix out_q(*backend, rows, 48, Precision::kCompute);
      const DeviceMatrix out_k(*backend, rows, 21, Precision::kFull, before);
      const DeviceMatrix out_v(*backend, rows, 16, Precision::kFull);
      const LinearTarget targets[] = {{.weight = Load(*backend, q), .out = out_q.view(), .bias = Load(*backend, bias)},
                                      {.weight = Load(*backend, k), .out = out_k.view(), .accumulate = true},
                                      {.weight = Load(*backend, v), .out = out_v.view()}};
      backend->Linear(device_x.view(), targets);

      reference::Matrix bound;
      reference::Matrix expected = reference::LinearIn(compute(), Wide(x), false, q, &bound);
      const std::vector<float> added = bias.Row(0);
      for (size_t i = 0; i < expected.values.size(); ++i) {
        expected.values[i] += added[i % 48];
        bound.values[i] += 0x1p-23 * std::abs(expected.values[i]) +
                           (compute() == DType::kF32 ? 0 : reference::Unit(compute()) * std::abs(added[i % 48]));
      }
      reference::AddRounding(out_q.view().type, expected, bound);
      EXPECT_EQ(Differences(out_q.Read(), expected.values, bound.values, 48), "");
      expected = reference::LinearIn(compute(), Wide(x), false, k, &bound);
      for (size_t i = 0; i < expected.values.size(); ++i) {
        expected.values[i] += before[i];
        bound.values[i] += 0x1p-23 * std::abs(expected.values[i]);
      }
      EXPECT_EQ(Differences(out_k.Read(), expected.values, bound.values, 21), "");
      expected = reference::LinearIn(compute(), Wide(x), false, v, &bound);
      EXPECT_EQ(Differences(out_v.Read(), expected.values, bound.values, 16), "");
      EXPECT_TRUE(out_q.GuardsIntact() && out_k.GuardsIntact() && out_v.GuardsIntact());
    }
  }
}

// x of the residual stream's size and some rows far larger than others, as they are.
class NormLinearTest : public LinearTest {
 protected:
  void Prepare(int64_t rows, int64_t cols) {
    x_ = RandomFloats(random_, rows * cols, 4.0f);
    for (int64_t i = 0; i < cols; ++i) x_[i] *= 100.0f;
    gain_ = RandomWeight(random_, DType::kF32, 1, cols);
    h_ = reference::RmsNorm(x_, gain_.Row(0), 1e-5f, nullptr).values;
  }
  std::vector<float> x_;
  reference::StoredWeight gain_;
  std::vector<double> h_;
};

// Relative error of RmsNorm in float32, which LinearIn knows nothing of.
void AddNormError(int64_t cols, const std::vector<double>& h, const reference::StoredWeight& weight,
                  reference::Matrix& bound) {
  for (int64_t r = 0; r < bound.rows; ++r) {
    for (int64_t n = 0; n < bound.cols; ++n) {
      const std::vector<float> row = weight.Row(n);
      double magnitude = 0;
      for (int64_t k = 0; k < cols; ++k) magnitude += std::abs(row[k] * h[r * cols + k]);
      bound.At(r, n) += (cols / 2.0 + 4) * 0x1p-24 * magnitude;
    }
  }
}

TEST_P(NormLinearTest, AgreesWithReference) {
  for (const DType type : {DType::kBF16, DType::kF16, DType::kQ8_0, DType::kQ4_K, DType::kQ3_K}) {
    for (const int64_t rows : {1, 4, 8, 13, 70}) {
      SCOPED_TRACE(std::string(Name(type)) + ", " + std::to_string(rows) + " rows");
      const auto backend = Create();
      const int64_t cols = Columns(type, 200);
      Prepare(rows, cols);
      const auto q = RandomWeight(random_, type, 40, cols), k = RandomWeight(random_, type, 24, cols);
      const DeviceMatrix x(*backend, rows, cols, Precision::kFull, x_);
      const DeviceMatrix h(*backend, rows, cols, Precision::kCompute);
      const DeviceMatrix out_q(*backend, rows, 40, Precision::kCompute), out_k(*backend, rows, 24, Precision::kFull);
      const LinearTarget targets[] = {{.weight = Load(*backend, q), .out = out_q.view()},
                                      {.weight = Load(*backend, k), .out = out_k.view()}};
      backend->NormLinear(x.view(), Load(*backend, gain_), 1e-5f, h.view(), targets);
      reference::Matrix bound;
      reference::Matrix expected = reference::LinearIn(compute(), h_, true, q, &bound);
      AddNormError(cols, h_, q, bound);
      reference::AddRounding(out_q.view().type, expected, bound);
      EXPECT_EQ(Differences(out_q.Read(), expected.values, bound.values, 40), "");
      expected = reference::LinearIn(compute(), h_, true, k, &bound);
      AddNormError(cols, h_, k, bound);
      EXPECT_EQ(Differences(out_k.Read(), expected.values, bound.values, 24), "");
      EXPECT_EQ(BitDifferences(x.Read(), x_, cols), "");
      EXPECT_TRUE(h.GuardsIntact() && out_q.GuardsIntact() && out_k.GuardsIntact());
    }
  }
}

TEST_P(NormLinearTest, GatedAgreesWithReference) {
  for (const DType type : {DType::kBF16, DType::kF32, DType::kQ4_0, DType::kQ5_K}) {
    for (const int64_t rows : {1, 3, 8, 21, 66}) {
      SCOPED_TRACE(std::string(Name(type)) + ", " + std::to_string(rows) + " rows");
      const auto backend = Create();
      const int64_t cols = Columns(type, 136), wide = 104;
      Prepare(rows, cols);
      const auto gate_weight = RandomWeight(random_, type, wide, cols),
                 up_weight = RandomWeight(random_, type, wide, cols);
      const DeviceMatrix x(*backend, rows, cols, Precision::kFull, x_);
      const DeviceMatrix h(*backend, rows, cols, Precision::kCompute);
      const DeviceMatrix gate(*backend, rows, wide, Precision::kCompute), up(*backend, rows, wide, Precision::kCompute);
      backend->GatedNormLinear(x.view(), Load(*backend, gain_), 1e-5f, h.view(), Load(*backend, gate_weight),
                               Load(*backend, up_weight), gate.view(), up.view());
      reference::Matrix gate_bound, up_bound, bound;
      const reference::Matrix g = reference::LinearIn(compute(), h_, true, gate_weight, &gate_bound);
      const reference::Matrix u = reference::LinearIn(compute(), h_, true, up_weight, &up_bound);
      AddNormError(cols, h_, gate_weight, gate_bound);
      AddNormError(cols, h_, up_weight, up_bound);
      reference::AddRounding(compute(), g, gate_bound);
      reference::AddRounding(compute(), u, up_bound);
      const reference::Matrix expected = reference::GatedProduct(g, gate_bound, u, up_bound, &bound);
      reference::AddRounding(compute(), expected, bound);
      EXPECT_EQ(Differences(gate.Read(), expected.values, bound.values, wide), "");
      EXPECT_TRUE(h.GuardsIntact() && gate.GuardsIntact() && up.GuardsIntact());
    }
  }
}

// What rows a row is multiplied with does not matter to its bits.
TEST_P(LinearTest, SlicingAndBatchChangeNoBit) {
  if (!GetParam().row_invariant) return;  // it does not say so
  for (const DType type : {DType::kBF16, DType::kF32, DType::kQ8_0, DType::kQ4_K, DType::kQ6_K}) {
    SCOPED_TRACE(std::string(Name(type)));
    const auto backend = Create();
    const int64_t rows = GetParam().slow() ? 35 : 130, cols = Columns(type, 264);
    const DeviceMatrix x(*backend, rows, cols, Precision::kCompute, Inputs(rows * cols));
    const WeightId id = Load(*backend, RandomWeight(random_, type, 70, cols));
    const WeightId other_id = Load(*backend, RandomWeight(random_, type, 35, cols));
    const DeviceMatrix out(*backend, rows, 70, Precision::kFull), other(*backend, rows, 35, Precision::kFull);
    std::vector<float> first, other_first;
    for (const int64_t batch : {rows, int64_t{1}, int64_t{2}, int64_t{7}, int64_t{12}, int64_t{33}}) {
      for (int64_t row = 0; row < rows; row += batch) {
        const int64_t count = std::min(batch, rows - row);
        const LinearTarget targets[] = {{.weight = other_id, .out = other.Rows(row, count)},
                                        {.weight = id, .out = out.Rows(row, count)}};
        backend->Linear(x.Rows(row, count), targets);
      }
      const std::vector<float> values = out.Read(), other_values = other.Read();
      if (first.empty()) first = values, other_first = other_values;
      ASSERT_EQ(BitDifferences(values, first, 70), "") << "batch " << batch;
      ASSERT_EQ(BitDifferences(other_values, other_first, 35), "") << "other layer, batch " << batch;
    }
  }
}

// The same on the ops in one pass.
TEST_P(NormLinearTest, SlicingAndBatchChangeNoBit) {
  if (!GetParam().row_invariant) return;
  const auto backend = Create();
  const int64_t rows = 35, cols = 264;
  Prepare(rows, cols);
  const DeviceMatrix x(*backend, rows, cols, Precision::kFull, x_);
  const DeviceMatrix h(*backend, rows, cols, Precision::kCompute), up(*backend, rows, 56, Precision::kCompute);
  const DeviceMatrix out(*backend, rows, 70, Precision::kFull), gate(*backend, rows, 56, Precision::kCompute);
  const WeightId gain = Load(*backend, gain_), id = Load(*backend, RandomWeight(random_, DType::kBF16, 70, cols));
  const WeightId gate_id = Load(*backend, RandomWeight(random_, DType::kBF16, 56, cols));
  const WeightId up_id = Load(*backend, RandomWeight(random_, DType::kBF16, 56, cols));
  std::vector<float> first, gate_first;
  for (const int64_t batch : {rows, int64_t{1}, int64_t{4}, int64_t{9}, int64_t{17}}) {
    for (int64_t row = 0; row < rows; row += batch) {
      const int64_t count = std::min(batch, rows - row);
      const LinearTarget target{.weight = id, .out = out.Rows(row, count)};
      backend->NormLinear(x.Rows(row, count), gain, 1e-5f, h.Rows(row, count), {&target, 1});
      backend->GatedNormLinear(x.Rows(row, count), gain, 1e-5f, h.Rows(row, count), gate_id, up_id,
                               gate.Rows(row, count), up.Rows(row, count));
    }
    const std::vector<float> values = out.Read(), gate_values = gate.Read();
    if (first.empty()) first = values, gate_first = gate_values;
    ASSERT_EQ(BitDifferences(values, first, 70), "") << "batch " << batch;
    ASSERT_EQ(BitDifferences(gate_values, gate_first, 56), "") << "batch " << batch;
  }
}

TEST_P(LinearTest, NonFiniteInputsSpoilTheirRowAlone) {
  for (const DType type : {DType::kBF16, DType::kQ8_0, DType::kQ4_K}) {
    for (const int64_t rows : {5, 40}) {
      SCOPED_TRACE(std::string(Name(type)) + ", " + std::to_string(rows) + " rows");
      const auto backend = Create();
      const int64_t cols = Columns(type, 64);
      std::vector<float> x = Inputs(rows * cols);
      const WeightId id = Load(*backend, RandomWeight(random_, type, 18, cols));
      DeviceMatrix device_x(*backend, rows, cols, Precision::kCompute, x);
      const DeviceMatrix out(*backend, rows, 18, Precision::kFull);
      const LinearTarget target{.weight = id, .out = out.view()};
      backend->Linear(device_x.view(), {&target, 1});
      const std::vector<float> clean = out.Read();
      x[1 * cols + 40] = NAN;
      x[3 * cols + 3] = INFINITY;
      device_x.Write(x);
      backend->Linear(device_x.view(), {&target, 1});
      const std::vector<float> got = out.Read();
      for (int64_t i = 0; i < rows * 18; ++i) {
        const bool spoilt = i / 18 == 1 || i / 18 == 3;
        ASSERT_EQ(std::isfinite(got[i]), !spoilt) << i / 18 << ", " << i % 18;
        if (spoilt) continue;
        ASSERT_EQ(got[i], clean[i]) << i / 18 << ", " << i % 18;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, LinearTest, testing::ValuesIn(BackendsUnderTest()), NameOfBackend);
INSTANTIATE_TEST_SUITE_P(Backends, NormLinearTest, testing::ValuesIn(BackendsUnderTest()), NameOfBackend);

}  // namespace
}  // namespace cascade::kernels
