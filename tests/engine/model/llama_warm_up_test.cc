// Warming up on the emulated CUDA device: it leaves no trace, and nothing is allocated after it.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <vector>

#include "engine/cache/cascade_plan.h"
#include "engine/model/llama.h"
#include "kernels/cuda_backend.h"
#include "tests/support/cuda_emulator/emulator.h"
#include "tests/support/tiny_model.h"

namespace cascade {
namespace {

namespace emulator = kernels::cuda::emulator;

TEST(WarmUp, LeavesSlotsEmptyAndNothingToAllocate) {
  const std::string path = testing::TempDir() + "warm_up.gguf";
  WriteTinyModel(path);
  const auto source = OpenModel(path);
  ASSERT_TRUE(source.ok()) << source.status();
  const ModelConfig& config = (*source)->config();
  const auto backend = kernels::CreateCudaBackend({});
  ASSERT_TRUE(backend.ok()) << backend.status();
  const auto model = Llama::Load(**source, 16, **backend);
  ASSERT_TRUE(model.ok()) << model.status();
  const auto geometry = MakeGeometry({.cache_tokens = 32, .num_sub_caches = 2}, config.max_positions);
  ASSERT_TRUE(geometry.ok()) << geometry.status();
  constexpr int kSlots = 9;
  ASSERT_TRUE((*model)->CreateCaches(*geometry, kernels::DType::kBF16, kSlots).ok());
  const std::vector<int32_t> ends = {kTinyImEnd};
  (*model)->SetEndIds(ends);
  const absl::Status warm = (*model)->WarmUp(*geometry, kSlots, config.vocabulary);
  ASSERT_TRUE(warm.ok()) << warm;
  (*model)->SetEndIds(ends);  // as the engine does
  const size_t allocated = emulator::AllocatedBytes();

  for (int slot = 0; slot < kSlots; ++slot) {
    for (int layer = 0; layer < config.num_layers; ++layer) {
      const auto head = (*model)->ReadHead(slot, layer, 0);
      ASSERT_TRUE(head.ok()) << head.status();
      for (const auto& tokens : head->tokens) EXPECT_EQ(tokens, std::vector<uint32_t>(tokens.size(), 0));
      for (const auto& scores : head->scores) EXPECT_EQ(scores, std::vector<float>(scores.size(), 0));
    }
  }

  // Any number of sessions that decode, in two steps: an id of ours and the sampled one.
  ForwardResult result;
  for (int rows = 1; rows <= kSlots; ++rows) {
    for (int step = 0; step < 2; ++step) {
      ForwardBatch batch;
      batch.vocabulary = config.vocabulary;
      std::vector<std::vector<kernels::Segment>> segments(static_cast<size_t>(rows));
      for (int row = 0; row < rows; ++row) {
        batch.slices.push_back(CascadePlan(*geometry, step).NextSlice(1, segments[static_cast<size_t>(row)]));
        batch.slices.back().slot = batch.slices.back().first_row = row;
        batch.ids.push_back(step == 0 ? 40 + row : kernels::kSampledId);
        batch.sample_rows.push_back(row);
        batch.samples.push_back({.slot = row});
      }
      const absl::Status status = (*model)->Forward(batch, result);
      ASSERT_TRUE(status.ok()) << status;
    }
  }
  EXPECT_EQ(emulator::AllocatedBytes(), allocated);
  std::remove(path.c_str());
}

}  // namespace
}  // namespace cascade
