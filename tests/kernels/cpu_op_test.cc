#include "tests/kernels/cpu_op_test.h"

#include <bit>
#include <cmath>

#include "hwy/highway.h"
#include "kernels/base/check.h"
#include "kernels/cpu_backend.h"

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

GuardedMatrix RandomMatrix(std::mt19937& random, int64_t rows, int64_t cols, float scale) {
  GuardedMatrix matrix(rows, cols);
  const std::vector<float> values = RandomFloats(random, rows * cols, scale);
  std::copy(values.begin(), values.end(), matrix.values().begin());
  return matrix;
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

// Every instruction set that the build has is one that some machine runs; at least the portable one and this machine's.
TEST(Targets, AreSeveral) { EXPECT_GE(AvailableTargets().size(), 2u); }

}  // namespace cascade::kernels
