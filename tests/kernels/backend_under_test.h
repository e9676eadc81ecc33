// The back ends that a program's op tests run on, and what those tests share: matrices on a device, weights, a step to
// run an op in. Each program brings its own list: cpu_under_test.cc, cuda_under_test.cc.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "tests/support/cache_script.h"
#include "tests/support/random_weights.h"
#include "tests/support/reference_ops.h"

namespace cascade::kernels {

struct BackendUnderTest {
  std::string name;
  // A back end of its own, which computes linear layers in `compute`.
  std::function<std::unique_ptr<Backend>(int threads)> create;
  // What has to be so while tests run: lives as long as they do. May be empty.
  std::function<std::shared_ptr<void>()> conditions = {};
  DType compute = DType::kF32;  // of kCompute activations
  bool row_invariant = true;    // and the same bits for any slicing
  int64_t column_multiple = 1;  // of matrices' rows
  bool narrow_cache = false;    // keys and values are bfloat16, heads of multiples of 8; else what a case says
  bool caches = true;           // runs the tests of caches
  // Of a slow back end: how many of the cases of a test of caches it runs, and it takes smaller shapes. 0: fast.
  int most_cases = 0;
  bool slow() const { return most_cases > 0; }
};
std::ostream& operator<<(std::ostream& out, const BackendUnderTest& backend);

const std::vector<BackendUnderTest>& BackendsUnderTest();

inline std::string NameOfBackend(const testing::TestParamInfo<BackendUnderTest>& info) { return info.param.name; }

// A matrix that a back end allocated, between rows of NaNs: an op that reads them spoils its result, one that writes
// them is found by GuardsIntact.
class DeviceMatrix {
 public:
  // Of NaNs.
  DeviceMatrix(Backend& backend, int64_t rows, int64_t cols, Precision precision);
  // Rounded to the type that the back end chose.
  DeviceMatrix(Backend& backend, int64_t rows, int64_t cols, Precision precision, const std::vector<float>& values);

  TensorView view() const { return all_.Rows(guard_, rows_); }
  TensorView Rows(int64_t first, int64_t count) const { return all_.Rows(guard_ + first, count); }
  int64_t cols() const { return all_.cols; }
  void Write(const std::vector<float>& values);
  // Waits for the back end.
  std::vector<float> Read() const;
  bool GuardsIntact() const;

 private:
  std::vector<float> ReadAll() const;

  Backend& backend_;
  int64_t rows_;
  int64_t guard_;  // rows of NaNs before and after
  TensorView all_;
};

// A cache of one layer and `slots` slots whose steps may have max_rows rows, for ops that need a step and no more.
CacheCase SmallCache(const BackendUnderTest& backend, int max_rows);
void CreateSmallCaches(Backend& backend, const BackendUnderTest& under_test, int slots, int max_rows);

class BackendTest : public testing::TestWithParam<BackendUnderTest> {
 protected:
  BackendTest() {
    if (GetParam().conditions) conditions_ = GetParam().conditions();
  }
  std::unique_ptr<Backend> Create(int threads = 2) const { return GetParam().create(threads); }
  DType compute() const { return GetParam().compute; }
  // `values`, rounded to the compute type.
  std::vector<float> Inputs(int64_t count, float scale = 1.0f);

  std::mt19937 random_{1234};

 private:
  std::shared_ptr<void> conditions_;
};

}  // namespace cascade::kernels
