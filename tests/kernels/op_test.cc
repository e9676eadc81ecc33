#include "tests/kernels/op_test.h"

#include <bit>
#include <cmath>

#include "hwy/highway.h"
#include "kernels/base/check.h"
#include "kernels/cpu_backend.h"
#include "tests/support/quantize.h"

namespace cascade::kernels {
namespace {

const float kGuardValue = std::bit_cast<float>(0x7FC12345u);

}  // namespace

GuardedMatrix::GuardedMatrix(int64_t rows, int64_t cols, float value)
    : rows_(rows), cols_(cols), storage_(rows * cols + 2 * kGuard, kGuardValue) {
  for (float& v : values()) v = value;
}

bool GuardedMatrix::GuardsIntact() const {
  for (int64_t i = 0; i < kGuard; ++i) {
    if (std::bit_cast<uint32_t>(storage_[i]) != 0x7FC12345u) return false;
    if (std::bit_cast<uint32_t>(storage_[storage_.size() - 1 - i]) != 0x7FC12345u) return false;
  }
  return true;
}

std::vector<float> RandomFloats(std::mt19937& random, int64_t count, float scale) {
  std::uniform_real_distribution<float> uniform(-scale, scale);
  std::vector<float> values(count);
  for (float& value : values) value = uniform(random);
  return values;
}

GuardedMatrix RandomMatrix(std::mt19937& random, int64_t rows, int64_t cols, float scale) {
  GuardedMatrix matrix(rows, cols);
  const std::vector<float> values = RandomFloats(random, rows * cols, scale);
  std::copy(values.begin(), values.end(), matrix.values().begin());
  return matrix;
}

reference::StoredWeight RandomWeight(std::mt19937& random, DType type, int64_t rows, int64_t cols) {
  return {type, rows, cols, Quantize(type, RandomFloats(random, rows * cols))};
}

reference::StoredWeight RandomBlockWeight(std::mt19937& random, DType type, int64_t rows, int64_t cols) {
  return {type, rows, cols, RandomBlocks(type, rows * cols, random)};
}

const std::vector<DType>& AllTypes() {
  static const std::vector<DType> types = [] {
    std::vector<DType> all;
    for (int i = 0; i < kNumDTypes; ++i) all.push_back(static_cast<DType>(i));
    return all;
  }();
  return types;
}

const std::vector<DType>& QuantizedTypes() {
  static const std::vector<DType> types = [] {
    std::vector<DType> quantized;
    for (DType type : AllTypes()) {
      if (IsQuantized(type)) quantized.push_back(type);
    }
    return quantized;
  }();
  return types;
}

std::vector<int64_t> AvailableTargets() { return hwy::SupportedAndGeneratedTargets(); }
std::string TargetName(int64_t target) { return hwy::TargetName(target); }

UseTarget::UseTarget(int64_t target) {
  hwy::SetSupportedTargetsForTest(target);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

UseTarget::~UseTarget() {
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

std::unique_ptr<Backend> CreateBackend(int threads, Activations activations) {
  auto backend = CreateCpuBackend({.num_threads = threads, .activations = activations});
  CASCADE_CHECK(backend.ok());
  return *std::move(backend);
}

WeightId Load(Backend& backend, const reference::StoredWeight& weight) {
  auto id = backend.LoadWeight(weight.Host());
  CASCADE_CHECK(id.ok());
  return *id;
}

// Every instruction set that the build has is one that some machine runs; at least the portable one and this machine's.
TEST(Targets, AreSeveral) { EXPECT_GE(AvailableTargets().size(), 2u); }

}  // namespace cascade::kernels
