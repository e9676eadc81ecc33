#include <array>
#include <cmath>
#include <string>

#include "kernels/cpu_backend.h"
#include "tests/kernels/op_test.h"
#include "tests/support/compare.h"

namespace cascade::kernels {
namespace {

struct Sizes {
  int64_t rows;  // of x
  int64_t outputs;
  int64_t inputs;
};

const std::vector<Sizes> kQuantizedSizes = {{1, 1, 32},  {1, 17, 64}, {2, 16, 96}, {3, 15, 32},   {5, 33, 576},
                                            {7, 31, 64}, {8, 48, 32}, {9, 17, 96}, {19, 18, 288}, {33, 16, 1536}};
const std::vector<Sizes> kFloatSizes = {{1, 1, 1},   {1, 17, 3},  {2, 16, 17}, {3, 15, 31},
                                        {5, 33, 65}, {8, 48, 16}, {9, 17, 15}, {19, 18, 100}};

const std::vector<DType> kTypes = {DType::kF32, DType::kF16, DType::kBF16, DType::kQ4_0, DType::kQ4_1, DType::kQ8_0};

const std::vector<Sizes>& SizesOf(DType type) { return IsQuantized(type) ? kQuantizedSizes : kFloatSizes; }

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

class LinearTest : public OpTest {};

TEST_P(LinearTest, AgreesWithReference) {
  for (Activations activations : kActivations) {
    const auto backend = CreateBackend(2, activations);
    for (DType type : kTypes) {
      for (const Sizes& sizes : SizesOf(type)) {
        SCOPED_TRACE(Describe(type, sizes, activations));
        const auto weight = RandomWeight(random_, type, sizes.outputs, sizes.inputs);
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
TEST_P(LinearTest, LargestIntegersDoNotSaturate) {
  for (DType type : {DType::kQ4_0, DType::kQ4_1, DType::kQ8_0}) {
    for (int pattern = 0; pattern < 6; ++pattern) {
      const Activations activations = pattern < 3 ? Activations::kInt8 : Activations::kInt16;
      const auto backend = CreateBackend(1, activations);
      SCOPED_TRACE(std::string(Name(type)) + ", pattern " + std::to_string(pattern));
      reference::StoredWeight weight = RandomWeight(random_, type, 16, 64);
      const size_t headers = type == DType::kQ4_1 ? 4 : 2;
      for (size_t i = 0; i < weight.bytes.size(); ++i) {
        if (i % BlockBytes(type) < headers) continue;
        const bool high = pattern % 3 == 0 || (pattern % 3 == 2 && i % 2 == 0);
        weight.bytes[i] = static_cast<char>(type == DType::kQ8_0 ? (high ? 127 : -128) : (high ? 0xFF : 0x00));
      }
      GuardedMatrix x(3, 64, 2.0f);
      for (int64_t i = 0; i < 64; ++i) x.values()[i] = -2.0f;
      for (int64_t i = 0; i < 64; i += 2) x.values()[64 + i] = -2.0f;
      GuardedMatrix out(3, 16);
      const LinearTarget target{Load(*backend, weight), out.view(), false};
      backend->Linear(x.view(), {&target, 1});
      reference::Matrix bound;
      const reference::Matrix expected = reference::LinearInteger(x.values(), weight, Most(activations), &bound);
      EXPECT_EQ(Differences(out.values(), expected.values, bound.values, 16), "");
    }
  }
}

TEST_P(LinearTest, IntegersAreWithinHalfAStepOfFloat) {
  for (int i = 0; i < 6; ++i) {
    const DType type = std::array{DType::kQ4_0, DType::kQ4_1, DType::kQ8_0}[i % 3];
    const Activations activations = i < 3 ? Activations::kInt8 : Activations::kInt16;
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
TEST_P(LinearTest, RowsDoNotDependOnTheirCompany) {
  for (Activations activations : kActivations) {
    for (DType type : kTypes) {
      std::vector<Sizes> all = {{21, 35, 96}, {13, 17, 32}};
      // Several bands of rows; only where it is fast enough.
      if (activations == Activations::kInt16 && GetParam() == AvailableTargets().front())
        all.push_back({300, 17, 1536});
      for (const Sizes& sizes : all) {
        SCOPED_TRACE(Describe(type, sizes, activations));
        const auto weight = RandomWeight(random_, type, sizes.outputs, sizes.inputs);
        const auto other = RandomWeight(random_, type, 50, sizes.inputs);
        GuardedMatrix x = RandomMatrix(random_, sizes.rows, sizes.inputs);
        std::vector<float> first;
        for (int threads : {1, 2, 3}) {
          const auto backend = CreateBackend(threads, activations);
          const WeightId id = Load(*backend, weight);
          const WeightId other_id = Load(*backend, other);
          for (int64_t batch : {sizes.rows, int64_t{1}, int64_t{2}, int64_t{7}, int64_t{12}}) {
            GuardedMatrix out(sizes.rows, sizes.outputs, NAN);
            GuardedMatrix other_out(sizes.rows, 50);
            for (int64_t row = 0; row < sizes.rows; row += batch) {
              const int64_t count = std::min(batch, sizes.rows - row);
              const LinearTarget targets[] = {{other_id, other_out.Rows(row, count), false},
                                              {id, out.Rows(row, count), false}};
              backend->Linear(x.Rows(row, count), std::span(targets).subspan(batch == 2 ? 1 : 0));
            }
            if (first.empty()) first.assign(out.values().begin(), out.values().end());
            ASSERT_EQ(BitDifferences(out.values(), first, sizes.outputs), "") << threads << " threads, batch " << batch;
          }
        }
      }
    }
  }
}

TEST_P(LinearTest, AccumulateAddsToTheOutput) {
  const auto backend = CreateBackend();
  for (DType type : kTypes) {
    SCOPED_TRACE(std::string(Name(type)));
    const auto weight = RandomWeight(random_, type, 21, 64);
    GuardedMatrix x = RandomMatrix(random_, 11, 64);
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

TEST_P(LinearTest, NonFiniteInputsSpoilTheirRowAlone) {
  const auto backend = CreateBackend();
  for (DType type : kTypes) {
    SCOPED_TRACE(std::string(Name(type)));
    const WeightId id = Load(*backend, RandomWeight(random_, type, 18, 64));
    GuardedMatrix x = RandomMatrix(random_, 5, 64);
    GuardedMatrix clean(5, 18);
    GuardedMatrix out(5, 18);
    const LinearTarget before{id, clean.view(), false};
    backend->Linear(x.view(), {&before, 1});
    x.values()[1 * 64 + 40] = NAN;
    x.values()[3 * 64 + 3] = INFINITY;
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

TEST_P(LinearTest, ZeroAndTinyActivationsGiveZero) {
  const auto backend = CreateBackend();
  for (DType type : {DType::kQ4_0, DType::kQ4_1, DType::kQ8_0}) {
    const WeightId id = Load(*backend, RandomWeight(random_, type, 16, 32));
    for (float value : {0.0f, -0.0f, 1e-42f, 9e-37f}) {
      GuardedMatrix x(2, 32, value);
      GuardedMatrix out(2, 16, NAN);
      const LinearTarget target{id, out.view(), false};
      backend->Linear(x.view(), {&target, 1});
      for (float y : out.values()) EXPECT_EQ(y, 0.0f) << value;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, LinearTest, testing::ValuesIn(AvailableTargets()), NameOfTarget);

}  // namespace
}  // namespace cascade::kernels
