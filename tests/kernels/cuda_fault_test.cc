// What the CUDA back end makes of calls that fail: every single one of a scenario, in turn, on the emulated device.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda_backend.h"
#include "tests/support/cache_script.h"
#include "tests/support/cuda_emulator/cuda_runtime.h"
#include "tests/support/cuda_emulator/emulator.h"
#include "tests/support/random_weights.h"

namespace cascade::kernels {
namespace {

namespace emulator = cuda::emulator;

constexpr int kRows = 2, kHidden = 16;

// A back end with one matrix and a cache, and steps of all that uses the device in its own way.
class Scenario {
 public:
  Scenario() : test_case_(MakeCase("", 16, 1, {4}, 4, 0, DType::kBF16)) {
    std::mt19937 random(1);
    weight_ = RandomWeight(random, DType::kQ8_0, 2 * kHidden, 2 * kHidden);
    table_ = RandomWeight(random, DType::kBF16, 8, 2 * kHidden);
    gain_ = RandomWeight(random, DType::kF32, 1, 2 * kHidden);
  }

  absl::Status Start() {
    absl::StatusOr<std::unique_ptr<Backend>> backend = CreateCudaBackend({});
    if (!backend.ok()) return backend.status();
    backend_ = *std::move(backend);
    const auto take = [](auto made, auto& to) {
      if (made.ok()) to = *made;
      return made.status();
    };
    absl::Status status = take(backend_->LoadWeight(weight_.Host()), weight_id_);
    if (status.ok()) status = take(backend_->LoadWeight(table_.Host()), table_id_);
    if (status.ok()) status = take(backend_->LoadWeight(gain_.Host()), gain_id_);
    if (status.ok()) status = take(backend_->Allocate(kRows, 2 * kHidden, Precision::kFull), x_);
    for (TensorView* view : {&h_, &q_, &out_}) {
      if (status.ok()) status = take(backend_->Allocate(kRows, 2 * kHidden, Precision::kCompute), *view);
    }
    if (!status.ok()) return status;
    const std::vector<int32_t> end_ids = {7};
    backend_->SetEndIds(end_ids);
    return backend_->CreateCaches(test_case_.shape, kRows, kRows);
  }

  // Six steps of two sessions, of which the fourth closes strides; from new sessions on. One then becomes the other.
  absl::Status Run() {
    std::vector<CacheScript> scripts(kRows, CacheScript(test_case_));
    for (int slot = 0; slot < kRows; ++slot) backend_->ClearSlot(slot);
    for (int step = 0; step < 6; ++step) {
      std::vector<std::vector<Segment>> segments(kRows);
      std::vector<std::vector<CloseMove>> moves(kRows);
      std::vector<Slice> slices;
      std::vector<SampleRequest> requests;
      std::vector<Close> closes;
      for (int row = 0; row < kRows; ++row) {
        slices.push_back(scripts[row].NextSlice(1, segments[row]));
        slices.back().slot = slices.back().first_row = row;
        requests.push_back({.slot = row, .temperature = 1, .top_p = 0.9f, .u = 0.5});
        scripts[row].Advance(1);
        if (!scripts[row].StrideIsFull()) continue;
        closes.push_back(scripts[row].CloseStride(moves[row]));
        closes.back().slot = row;
      }
      const std::vector<int32_t> ids = {1, 2};
      backend_->BeginStep({.slices = slices, .ids = ids, .samples = requests});
      if (backend_->BeginOps(step == 5 ? -1 : kRows)) {
        backend_->Embed(table_id_, x_);
        const LinearTarget q{.weight = weight_id_, .out = q_};
        backend_->NormLinear(x_, gain_id_, 1e-5f, h_, {&q, 1});
        backend_->AppendAndAttend(0, q_, q_, q_, out_);
        const LinearTarget back{.weight = weight_id_, .out = x_, .accumulate = true};
        backend_->Linear(out_, {&back, 1});
        backend_->Sample(x_, 2 * kHidden, 0);
        backend_->EndOps();
      }
      backend_->CloseStrides(closes);
      backend_->EndStep();
      std::vector<int32_t> sampled;
      if (absl::Status status = backend_->WaitStep(sampled); !status.ok()) return status;
    }
    absl::Status status = backend_->Finish();
    if (status.ok()) status = backend_->CopySlot(0, 1);
    return status;
  }

 private:
  CacheCase test_case_;
  reference::StoredWeight weight_, table_, gain_;
  std::unique_ptr<Backend> backend_;
  WeightId weight_id_, table_id_, gain_id_;
  TensorView x_, h_, q_, out_;
};

class CudaFaultTest : public testing::Test {
 protected:
  ~CudaFaultTest() override { emulator::Heal(); }
};

TEST_F(CudaFaultTest, NoneWithoutFaults) {
  {
    Scenario scenario;
    ASSERT_TRUE(scenario.Start().ok());
    EXPECT_GT(emulator::AllocatedBytes(), 0u);
    for (int i = 0; i < 2; ++i) {
      const absl::Status status = scenario.Run();
      EXPECT_TRUE(status.ok()) << status.ToString();
    }
  }
  EXPECT_EQ(emulator::AllocatedBytes(), 0u);
}

// Any call of the start: it is refused with a reason, and nothing is left behind.
TEST_F(CudaFaultTest, StartIsRefused) {
  int calls = 0;
  {
    Scenario scenario;
    const int64_t before = emulator::Calls();
    ASSERT_TRUE(scenario.Start().ok());
    calls = static_cast<int>(emulator::Calls() - before);
  }
  ASSERT_GT(calls, 20);
  int refused = 0;
  for (int n = 1; n <= calls; ++n) {
    for (const bool sticky : {false, true}) {
      SCOPED_TRACE("call " + std::to_string(n) + (sticky ? " and all later ones" : ""));
      {
        Scenario scenario;
        emulator::FailAfter(n, sticky ? cudaErrorLaunchFailure : cudaErrorMemoryAllocation, sticky);
        absl::Status status = scenario.Start();
        refused += !status.ok();
        EXPECT_FALSE(status.ok());
        EXPECT_FALSE(status.message().empty());
        emulator::Heal();
      }
      ASSERT_EQ(emulator::AllocatedBytes(), 0u);
    }
  }
  EXPECT_EQ(refused, 2 * calls);
}

// Any call of the steps: the step says so. A single failure is over with it; a device that is lost stays so.
TEST_F(CudaFaultTest, StepsReportWhatFailed) {
  int calls = 0;
  {
    Scenario scenario;
    ASSERT_TRUE(scenario.Start().ok());
    const int64_t before = emulator::Calls();
    ASSERT_TRUE(scenario.Run().ok());
    calls = static_cast<int>(emulator::Calls() - before);
  }
  ASSERT_GT(calls, 50);
  for (int n = 1; n <= calls; ++n) {
    SCOPED_TRACE("call " + std::to_string(n));
    Scenario once;
    ASSERT_TRUE(once.Start().ok());
    emulator::FailAfter(n, cudaErrorLaunchFailure, false);
    const absl::Status failed = once.Run();
    EXPECT_EQ(failed.code(), absl::StatusCode::kInternal) << failed.ToString();
    const absl::Status again = once.Run();
    EXPECT_TRUE(again.ok()) << "after " << failed.ToString() << ": " << again.ToString();

    Scenario lost;
    ASSERT_TRUE(lost.Start().ok());
    emulator::FailAfter(n, cudaErrorECCUncorrectable, true);
    EXPECT_EQ(lost.Run().code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(lost.Run().code(), absl::StatusCode::kDataLoss);
    emulator::Heal();
  }
}

}  // namespace
}  // namespace cascade::kernels
