// What tests of the CPU's ops alone share: guarded matrices in host memory, and a backend for each instruction set of
// this machine.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu_backend.h"
#include "tests/support/random_weights.h"
#include "tests/support/reference_ops.h"

namespace cascade::kernels {

// A matrix at an odd place in memory, surrounded by NaNs: an op that reads them spoils its result, one that writes them
// is found by GuardsIntact.
class GuardedMatrix {
 public:
  GuardedMatrix(int64_t rows, int64_t cols, float value = 0);

  TensorView view() { return {storage_.data() + kGuard, DType::kF32, rows_, cols_}; }
  // Rows [first, first + count).
  TensorView Rows(int64_t first, int64_t count) {
    return {storage_.data() + kGuard + first * cols_, DType::kF32, count, cols_};
  }
  std::span<float> values() { return {storage_.data() + kGuard, static_cast<size_t>(rows_ * cols_)}; }
  int64_t cols() const { return cols_; }
  bool GuardsIntact() const;

 private:
  static constexpr int64_t kGuard = 37;
  int64_t rows_;
  int64_t cols_;
  std::vector<float> storage_;
};

// Uniform in [-scale, scale].
GuardedMatrix RandomMatrix(std::mt19937& random, int64_t rows, int64_t cols, float scale = 1.0f);

// The instruction sets compiled in that this machine has, as Highway's targets.
std::vector<int64_t> AvailableTargets();
std::string TargetName(int64_t target);

// While it lives, ops run with this instruction set.
class UseTarget {
 public:
  explicit UseTarget(int64_t target);
  ~UseTarget();
};

std::unique_ptr<Backend> CreateBackend(int threads = 2, Activations activations = Activations::kInt16);

// One test per instruction set.
class OpTest : public testing::TestWithParam<int64_t> {
 protected:
  OpTest() : target_(GetParam()) {}
  std::mt19937 random_{1234};

 private:
  UseTarget target_;
};

inline std::string NameOfTarget(const testing::TestParamInfo<int64_t>& info) { return TargetName(info.param); }

}  // namespace cascade::kernels
