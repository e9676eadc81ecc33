#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <string>

#include "kernels/cpu_backend.h"
#include "tests/kernels/cpu_op_test.h"
#include "tests/support/compare.h"
#include "tests/support/quantize.h"

namespace cascade::kernels {
namespace {

struct Sizes {
  int64_t rows;  // of x
  int64_t outputs;
  int64_t inputs;
};

const std::vector<Sizes> kQuantizedSizes = {{1, 1, 32},    {1, 17, 64},    {2, 16, 96}, {3, 15, 32},
                                            {5, 33, 576},  {7, 31, 64},    {8, 48, 32}, {9, 17, 96},
                                            {19, 18, 288}, {33, 16, 1536}, {1, 65, 64}};
const std::vector<Sizes> kFloatSizes = {{1, 1, 1},   {1, 17, 3},  {2, 16, 17},   {3, 15, 31}, {5, 33, 65},
                                        {8, 48, 16}, {9, 17, 15}, {19, 18, 100}, {1, 65, 33}, {1, 130, 8}};

const std::vector<Sizes> kSuperBlockSizes = {{1, 1, 256},  {1, 17, 512}, {2, 16, 256},  {3, 15, 768},
                                             {5, 33, 256}, {9, 32, 512}, {19, 18, 256}, {1, 65, 256}};

const std::vector<Sizes>& SizesOf(DType type) {
  return !IsQuantized(type) ? kFloatSizes : BlockElements(type) == 32 ? kQuantizedSizes : kSuperBlockSizes;
}

// `cols`, or as many as the type's block at least.
int64_t Columns(DType type, int64_t cols) { return std::max<int64_t>(cols, BlockElements(type)); }

const std::vector<Activations> kActivations = {Activations::kInt8, Activations::kInt16, Activations::kFloat32};

// The largest integer of an activation.
int Most(Activations activations) { return activations == Activations::kInt8 ? 127 : 32639; }

std::string Describe(DType type, const Sizes& sizes, Activations activations) {
  return std::string(Name(type)) + " x [" + std::to_string(sizes.rows) + ", " + std::to_string(sizes.inputs) + "] -> " +
         std::to_string(sizes.outputs) +
         (activations == Activations::kInt8    ? ", int8"
          : activations == Activations::kInt16 ? ", int16"
                                               : ", float32");
}

class CpuLinearTest : public OpTest {};

TEST_P(CpuLinearTest, AgreesWithReference) {
  for (Activations activations : kActivations) {
    const auto two_threads = CreateBackend(2, activations);
    const auto one_thread = CreateBackend(1, activations);
    for (DType type : AllTypes()) {
      for (const Sizes& sizes : SizesOf(type)) {
        SCOPED_TRACE(Describe(type, sizes, activations));
        // One thread takes all strips in one task, and so the path for one row and several strips.
        const auto& backend = sizes.rows == 1 ? one_thread : two_threads;
        const auto weight = IsQuantized(type) && sizes.outputs % 2 == 1
                                ? RandomBlockWeight(random_, type, sizes.outputs, sizes.inputs)
                                : RandomWeight(random_, type, sizes.outputs, sizes.inputs);
        GuardedMatrix x = RandomMatrix(random_, sizes.rows, sizes.inputs, 3.0f);
        GuardedMatrix out(sizes.rows, sizes.outputs, NAN);
        const LinearTarget target{Load(*backend, weight), out.view(), false};
        backend->Linear(x.view(), {&target, 1});
        ASSERT_TRUE(backend->Finish().ok());
        reference::Matrix bound;
        const reference::Matrix expected = activations != Activations::kFloat32 && IsQuantized(type)
                                               ? reference::LinearInteger(x.values(), weight, Most(activations), &bound)
                                               : reference::LinearFloat(x.values(), weight, &bound);
        EXPECT_EQ(Differences(out.values(), expected.values, bound.values, sizes.outputs), "");
        EXPECT_TRUE(out.GuardsIntact());
      }
    }
  }
}

// Weights at the ends of their range and activations of one sign: integer sums are as large as they get.
TEST_P(CpuLinearTest, LargestIntegersDoNotSaturate) {
  for (DType type : QuantizedTypes()) {
    for (int pattern = 0; pattern < 6; ++pattern) {
      const Activations activations = pattern < 3 ? Activations::kInt8 : Activations::kInt16;
      const auto backend = CreateBackend(1, activations);
      SCOPED_TRACE(std::string(Name(type)) + ", pattern " + std::to_string(pattern));
      const int64_t cols = Columns(type, 64);
      reference::StoredWeight weight = RandomBlockWeight(random_, type, 16, cols);
      const std::vector<int> halves = HalfPlaces(type);
      for (size_t i = 0; i < weight.bytes.size(); ++i) {
        const int place = static_cast<int>(i % BlockBytes(type));
        if (std::any_of(halves.begin(), halves.end(), [&](int half) { return place / 2 == half / 2; })) continue;
        const bool high = pattern % 3 == 0 || (pattern % 3 == 2 && i % 2 == 0);
        weight.bytes[i] = static_cast<char>(type == DType::kQ8_0 ? (high ? 127 : -128) : (high ? 0xFF : 0x00));
        // All bits set, the scales of Q6_K were -1.
        if (type == DType::kQ6_K && place >= 192) weight.bytes[i] = static_cast<char>(high ? -128 : 127);
      }
      // All at one end; alternating; at the other end; and low halves of -128 under high ones of either end.
      GuardedMatrix x(5, cols, 2.0f);
      for (int64_t i = 0; i < cols; ++i) x.values()[i] = -2.0f;
      for (int64_t i = 0; i < cols; i += 2) x.values()[cols + i] = -2.0f;
      for (int64_t i = 0; i < cols; ++i) {
        if (i % 32 == 0) continue;
        x.values()[3 * cols + i] = 2.0f * 32384.0f / 32639.0f;
        x.values()[4 * cols + i] = -2.0f * 32384.0f / 32639.0f;
      }
      GuardedMatrix out(5, 16);
      const LinearTarget target{Load(*backend, weight), out.view(), false};
      backend->Linear(x.view(), {&target, 1});
      reference::Matrix bound;
      const reference::Matrix expected = reference::LinearInteger(x.values(), weight, Most(activations), &bound);
      EXPECT_EQ(Differences(out.values(), expected.values, bound.values, 16), "");
    }
  }
}

// Scales and minimums that are zero, subnormal, large, infinite or NaN: what is finite stays exact, and an output that
// is not spoils no other.
TEST_P(CpuLinearTest, ExtremeScalesStayInTheirRow) {
  constexpr uint16_t kHalves[] = {0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x3C00,
                                  0xBC00, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0xFE01};
  for (Activations activations : kActivations) {
    const auto backend = CreateBackend(2, activations);
    for (DType type : AllTypes()) {
      if (type == DType::kF32 || type == DType::kBF16) continue;  // no halves
      const Sizes sizes = {3, 33, Columns(type, 64)};
      SCOPED_TRACE(Describe(type, sizes, activations));
      reference::StoredWeight weight = IsQuantized(type) ? RandomBlockWeight(random_, type, sizes.outputs, sizes.inputs)
                                                         : RandomWeight(random_, type, sizes.outputs, sizes.inputs);
      const std::vector<int> places = IsQuantized(type) ? HalfPlaces(type) : std::vector<int>{0};
      for (int64_t row = 0; row < 33; row += 2) {
        char* const block = weight.bytes.data() + row * RowBytes(type, sizes.inputs);
        for (size_t i = 0; i < places.size(); ++i) {
          std::memcpy(block + places[i], &kHalves[(row / 2 + 5 * i) % std::size(kHalves)], sizeof(uint16_t));
        }
      }
      GuardedMatrix x = RandomMatrix(random_, sizes.rows, sizes.inputs);
      GuardedMatrix out(sizes.rows, sizes.outputs);
      const LinearTarget target{Load(*backend, weight), out.view(), false};
      backend->Linear(x.view(), {&target, 1});
      reference::Matrix bound;
      const reference::Matrix expected = activations != Activations::kFloat32 && IsQuantized(type)
                                             ? reference::LinearInteger(x.values(), weight, Most(activations), &bound)
                                             : reference::LinearFloat(x.values(), weight, &bound);
      EXPECT_EQ(Differences(out.values(), expected.values, bound.values, sizes.outputs), "");
      for (int64_t n = 1; n < sizes.outputs; n += 2) EXPECT_TRUE(std::isfinite(out.values()[n])) << n;
    }
  }
}

// Unit vectors take single weights out of the float32 path.
TEST_P(CpuLinearTest, FloatPathHasTheExactWeights) {
  const auto backend = CreateBackend(2, Activations::kFloat32);
  for (DType type : AllTypes()) {
    SCOPED_TRACE(std::string(Name(type)));
    const int64_t cols = Columns(type, 32);
    const auto weight =
        IsQuantized(type) ? RandomBlockWeight(random_, type, 17, cols) : RandomWeight(random_, type, 17, cols);
    GuardedMatrix x(cols, cols);
    for (int64_t k = 0; k < cols; ++k) x.values()[k * cols + k] = 1.0f;
    GuardedMatrix out(cols, 17);
    const LinearTarget target{Load(*backend, weight), out.view(), false};
    backend->Linear(x.view(), {&target, 1});
    for (int64_t n = 0; n < 17; ++n) {
      const std::vector<float> row = weight.Row(n);
      for (int64_t k = 0; k < cols; ++k) ASSERT_EQ(out.values()[k * 17 + n], row[k]) << n << ", " << k;
    }
  }
}

TEST_P(CpuLinearTest, IntegersAreWithinHalfAStepOfFloat) {
  for (size_t i = 0; i < 2 * QuantizedTypes().size(); ++i) {
    const DType type = QuantizedTypes()[i / 2];
    const Activations activations = i % 2 == 0 ? Activations::kInt8 : Activations::kInt16;
    const auto backend = CreateBackend(2, activations);
    SCOPED_TRACE(std::string(Name(type)));
    const auto weight = RandomWeight(random_, type, 40, 256);
    GuardedMatrix x = RandomMatrix(random_, 6, 256);
    GuardedMatrix out(6, 40);
    const LinearTarget target{Load(*backend, weight), out.view(), false};
    backend->Linear(x.view(), {&target, 1});
    reference::Matrix rounding;
    const reference::Matrix expected = reference::LinearFloat(x.values(), weight, &rounding);
    reference::Matrix bound = reference::IntegerError(x.values(), weight, Most(activations));
    for (size_t i = 0; i < bound.values.size(); ++i) bound.values[i] += 2 * rounding.values[i];
    EXPECT_EQ(Differences(out.values(), expected.values, bound.values, 40), "");
  }
}

// A row has the same bits alone, in any batch, with any number of threads, among other layers.
TEST_P(CpuLinearTest, RowsDoNotDependOnTheirCompany) {
  for (Activations activations : kActivations) {
    for (DType type : AllTypes()) {
      std::vector<Sizes> all = {{21, 35, Columns(type, 96)}, {13, 17, Columns(type, 32)}};
      // Several bands of rows; only where it is fast enough.
      if (activations == Activations::kInt16 && GetParam() == AvailableTargets().front())
        all.push_back({300, 17, 1536});
      for (const Sizes& sizes : all) {
        SCOPED_TRACE(Describe(type, sizes, activations));
        const auto weight = RandomWeight(random_, type, sizes.outputs, sizes.inputs);
        const auto other = RandomWeight(random_, type, 50, sizes.inputs);
        GuardedMatrix x = RandomMatrix(random_, sizes.rows, sizes.inputs);
        std::vector<float> first, other_first;
        for (int threads : {1, 2, 3}) {
          const auto backend = CreateBackend(threads, activations);
          const WeightId id = Load(*backend, weight);
          const WeightId other_id = Load(*backend, other);
          for (int64_t batch : {sizes.rows, int64_t{1}, int64_t{2}, int64_t{7}, int64_t{12}}) {
            GuardedMatrix out(sizes.rows, sizes.outputs, NAN);
            GuardedMatrix other_out(sizes.rows, 50, NAN);
            for (int64_t row = 0; row < sizes.rows; row += batch) {
              const int64_t count = std::min(batch, sizes.rows - row);
              const LinearTarget targets[] = {{other_id, other_out.Rows(row, count), false},
                                              {id, out.Rows(row, count), false}};
              backend->Linear(x.Rows(row, count), std::span(targets).subspan(batch == 2 ? 1 : 0));
            }
            if (first.empty()) {
              first.assign(out.values().begin(), out.values().end());
              other_first.assign(other_out.values().begin(), other_out.values().end());
            }
            ASSERT_EQ(BitDifferences(out.values(), first, sizes.outputs), "") << threads << " threads, batch " << batch;
            if (batch == 2) continue;  // without the other
            ASSERT_EQ(BitDifferences(other_out.values(), other_first, 50), "")
                << "other layer, " << threads << " threads, batch " << batch;
          }
        }
      }
    }
  }
}

TEST_P(CpuLinearTest, AccumulateAddsToTheOutput) {
  const auto backend = CreateBackend();
  for (DType type : AllTypes()) {
    SCOPED_TRACE(std::string(Name(type)));
    const auto weight = RandomWeight(random_, type, 21, Columns(type, 64));
    GuardedMatrix x = RandomMatrix(random_, 11, weight.cols);
    GuardedMatrix plain(11, 21);
    GuardedMatrix sum = RandomMatrix(random_, 11, 21);
    std::vector<float> expected(sum.values().begin(), sum.values().end());
    const WeightId id = Load(*backend, weight);
    const LinearTarget targets[] = {{id, plain.view(), false}, {id, sum.view(), true}};
    backend->Linear(x.view(), targets);
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += plain.values()[i];
    EXPECT_EQ(BitDifferences(sum.values(), expected, 21), "");
    EXPECT_TRUE(sum.GuardsIntact());
  }
}

TEST_P(CpuLinearTest, BiasIsAddedOnceToEveryRow) {
  for (Activations activations : kActivations) {
    const auto backend = CreateBackend(2, activations);
    for (DType type : AllTypes()) {
      SCOPED_TRACE(std::string(Name(type)));
      const int64_t cols = Columns(type, 64);
      const WeightId id = Load(*backend, RandomWeight(random_, type, 37, cols));
      GuardedMatrix x = RandomMatrix(random_, 11, cols);
      GuardedMatrix plain(11, 37);
      for (DType bias_type : {DType::kF32, DType::kF16, DType::kBF16}) {
        const auto bias = RandomWeight(random_, bias_type, 1, 37);
        GuardedMatrix out(11, 37, NAN);
        const LinearTarget targets[] = {{.weight = id, .out = plain.view()},
                                        {.weight = id, .out = out.view(), .bias = Load(*backend, bias)}};
        backend->Linear(x.view(), targets);
        const std::vector<float> added = bias.Row(0);
        std::vector<float> expected(plain.values().begin(), plain.values().end());
        for (size_t i = 0; i < expected.size(); ++i) expected[i] += added[i % 37];
        EXPECT_EQ(BitDifferences(out.values(), expected, 37), "");
        EXPECT_TRUE(out.GuardsIntact());
        for (int64_t row = 0; row < 11; ++row) {
          const LinearTarget alone{.weight = id, .out = out.Rows(row, 1), .bias = targets[1].bias};
          backend->Linear(x.Rows(row, 1), {&alone, 1});
        }
        EXPECT_EQ(BitDifferences(out.values(), expected, 37), "");
      }
    }
  }
}

TEST_P(CpuLinearTest, NonFiniteInputsSpoilTheirRowAlone) {
  const auto backend = CreateBackend();
  for (DType type : AllTypes()) {
    SCOPED_TRACE(std::string(Name(type)));
    const int64_t cols = Columns(type, 64);
    const WeightId id = Load(*backend, RandomWeight(random_, type, 18, cols));
    GuardedMatrix x = RandomMatrix(random_, 5, cols);
    GuardedMatrix clean(5, 18);
    GuardedMatrix out(5, 18);
    const LinearTarget before{id, clean.view(), false};
    backend->Linear(x.view(), {&before, 1});
    x.values()[1 * cols + 40] = NAN;
    x.values()[3 * cols + 3] = INFINITY;
    const LinearTarget after{id, out.view(), false};
    backend->Linear(x.view(), {&after, 1});
    for (int64_t row = 0; row < 5; ++row) {
      for (int64_t n = 0; n < 18; ++n) {
        const int64_t i = row * 18 + n;
        if (row == 1 || row == 3) {
          EXPECT_FALSE(std::isfinite(out.values()[i])) << row << ", " << n;
        } else {
          EXPECT_EQ(out.values()[i], clean.values()[i]) << row << ", " << n;
        }
      }
    }
  }
}

TEST_P(CpuLinearTest, ZeroAndTinyActivationsGiveZero) {
  const auto backend = CreateBackend();
  for (DType type : QuantizedTypes()) {
    const int64_t cols = Columns(type, 32);
    const WeightId id = Load(*backend, RandomWeight(random_, type, 16, cols));
    for (float value : {0.0f, -0.0f, 1e-42f, 9e-37f}) {
      GuardedMatrix x(2, cols, value);
      GuardedMatrix out(2, 16, NAN);
      const LinearTarget target{id, out.view(), false};
      backend->Linear(x.view(), {&target, 1});
      for (float y : out.values()) EXPECT_EQ(y, 0.0f) << value;
    }
  }
}

TEST(CpuLinearDeathTest, BiasHasItsOwnConditions) {
  const auto backend = CreateBackend(1);
  std::mt19937 random(1);
  const WeightId id = Load(*backend, RandomWeight(random, DType::kF32, 4, 3));
  const WeightId bias = Load(*backend, RandomWeight(random, DType::kF32, 1, 4));
  GuardedMatrix x(2, 3);
  GuardedMatrix out(2, 4);
  const LinearTarget both{.weight = id, .out = out.view(), .accumulate = true, .bias = bias};
  EXPECT_DEATH(backend->Linear(x.view(), {&both, 1}), "accumulate");
  const LinearTarget no_row{.weight = id, .out = out.view(), .bias = id};
  EXPECT_DEATH(backend->Linear(x.view(), {&no_row, 1}), "row.rows\\(\\) == 1");
}

INSTANTIATE_TEST_SUITE_P(Targets, CpuLinearTest, testing::ValuesIn(AvailableTargets()), NameOfTarget);

}  // namespace
}  // namespace cascade::kernels
