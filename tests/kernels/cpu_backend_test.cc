#include "kernels/cpu_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace cascade::kernels {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

TEST(CpuBackend, RefusesImpossibleThreadCounts) {
  for (int threads : {-1, 1025, 1 << 30}) {
    const auto backend = CreateCpuBackend({.num_threads = threads});
    EXPECT_EQ(backend.status().code(), absl::StatusCode::kInvalidArgument) << threads;
    EXPECT_THAT(std::string(backend.status().message()), HasSubstr(std::to_string(threads)));
  }
}

TEST(CpuBackend, DescribesItself) {
  EXPECT_THAT((*CreateCpuBackend({.num_threads = 1}))->Description(),
              MatchesRegex("CPU, 1 thread, [A-Z0-9_]+, int16 activations"));
  EXPECT_THAT((*CreateCpuBackend({.num_threads = 3, .activations = Activations::kFloat32}))->Description(),
              MatchesRegex("CPU, 3 threads, [A-Z0-9_]+, float32 activations"));
  EXPECT_THAT((*CreateCpuBackend({}))->Description(), MatchesRegex("CPU, [1-9][0-9]* threads?, .*"));
}

TEST(CpuBackend, RefusesWeightsThatAreNotWholeBlocks) {
  const auto backend = *CreateCpuBackend({.num_threads = 1});
  const std::vector<float> data(64);
  for (const HostWeight& weight :
       {HostWeight{data.data(), DType::kQ4_1, 2, 33}, HostWeight{data.data(), DType::kF32, 0, 4},
        HostWeight{data.data(), DType::kF32, 4, -1}, HostWeight{nullptr, DType::kF32, 1, 1}}) {
    EXPECT_EQ(backend->LoadWeight(weight).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(CpuBackend, AllocatesZeroedAndSaysWhenItCanNot) {
  const auto backend = *CreateCpuBackend({.num_threads = 1});
  for (int64_t rows : {1, 3, 4096}) {
    const auto view = backend->Allocate(rows, 577, Precision::kFull);
    ASSERT_TRUE(view.ok());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(view->data) % 64, 0u);
    std::vector<float> host(rows * 577, NAN);
    backend->CopyToHost(*view, host);
    for (float value : host) ASSERT_EQ(value, 0.0f);
  }
  const auto none = backend->Allocate(int64_t{1} << 30, int64_t{1} << 30, Precision::kCompute);
  EXPECT_EQ(none.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("4611686018427387904 bytes"));
  EXPECT_TRUE(backend->Finish().ok());
}

}  // namespace
}  // namespace cascade::kernels
