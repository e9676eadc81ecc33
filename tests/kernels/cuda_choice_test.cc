// Which kernels a step takes: tables of pure functions.
#include <gtest/gtest.h>

#include "kernels/cuda/attention_decode_plan.h"
#include "kernels/cuda/linear_choice.h"

namespace cascade::kernels::cuda {
namespace {

TEST(ChooseLinearTest, ByRows) {
  using enum LinearKernel;
  const struct {
    WeightFormat format;
    int64_t rows, cols;
    int skinny_rows;
    bool deterministic;
    LinearKernel expected;
  } cases[] = {
      {WeightFormat::kBf16, 1, 4096, 8, false, kSkinny},
      {WeightFormat::kBf16, 8, 4096, 8, false, kSkinny},
      {WeightFormat::kBf16, 5, 4096, 4, false, kTile},
      {WeightFormat::kBf16, 4, 14336, 8, false, kSkinny},
      {WeightFormat::kBf16, 5, 14336, 8, false, kTile},  // x does not fit beside the weights
      {WeightFormat::kBf16, 9, 4096, 8, false, kTile},
      {WeightFormat::kBf16, 64, 4096, 8, false, kTile},
      {WeightFormat::kBf16, 65, 4096, 8, false, kBlas},
      {WeightFormat::kQuant4Group32, 128, 4096, 8, false, kTile},
      {WeightFormat::kQuant4Group32, 129, 4096, 8, false, kBlas},
      {WeightFormat::kBf16, 1, 4100, 8, false, kBlas},
      {WeightFormat::kBf16, 1, 4096, 8, true, kTile},
      {WeightFormat::kBf16, 4096, 4096, 8, true, kTile},
      {WeightFormat::kQuant8Group16Wide, 1, 14336, 8, true, kTile},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(ChooseLinear(c.format, c.rows, c.cols, c.skinny_rows, c.deterministic), c.expected)
        << c.rows << " x " << c.cols << (c.deterministic ? ", deterministic" : "");
  }
}

TEST(ChooseLinearTest, SkinnyRowsBySharedMemory) {
  EXPECT_EQ(MostSkinnyRows(227 << 10), 8);  // 9.0
  EXPECT_EQ(MostSkinnyRows(163 << 10), 8);  // 8.0
  EXPECT_EQ(MostSkinnyRows(99 << 10), 4);   // 8.6, 8.9
}

// 32 layers, 8 KV heads of 128, four query heads each, four sub-caches.
CacheLayout EightB(int cache_tokens) {
  CacheShape shape;
  shape.num_layers = 32;
  shape.num_kv_heads = 8;
  shape.group = 4;
  shape.head_dim = 128;
  shape.kv_type = DType::kBF16;
  shape.rope.frequency.assign(64, 1.0);
  shape.num_sinks = 4;
  shape.stride = cache_tokens / 4;
  shape.ring_slots = {cache_tokens / 2, cache_tokens / 4, cache_tokens / 4, cache_tokens / 4};
  shape.selection_group = 64;
  return MakeCacheLayout(shape);
}

TEST(PlanDecodeTest, FillsTheDeviceAndFitsIt) {
  const DeviceTraits hopper = {.name = "", .capability = 90, .num_sms = 132, .shared_bytes = 227 << 10};
  const DeviceTraits small = {.name = "", .capability = 86, .num_sms = 84, .shared_bytes = 99 << 10};
  for (const DeviceTraits& traits : {hopper, small}) {
    for (const int cache_tokens : {1024, 4096, 16384, 65536}) {
      for (const int slices : {1, 2, 3, 8, 16, 17, 64, 256}) {
        const DecodePlan plan = PlanDecode(EightB(cache_tokens), traits, slices);
        SCOPED_TRACE(testing::Message() << cache_tokens << " tokens, " << slices << " sessions");
        EXPECT_GE(plan.splits, 1);
        EXPECT_LE(plan.splits, kDecodeMaxSplits);
        EXPECT_TRUE(plan.warps == 4 || plan.warps == kDecodeMaxWarps);
        EXPECT_LE(plan.shared_bytes, traits.shared_bytes);
        EXPECT_EQ(plan.near_keys % kUnitKeys, 0);
        // Long caches of few sessions are shared out until most multiprocessors have a block.
        if (cache_tokens >= 4096) {
          EXPECT_GE(slices * 8 * plan.splits, traits.num_sms / 2);
        }
      }
    }
  }
  EXPECT_EQ(PlanDecode(EightB(4096), hopper, 64).splits, 1);
  EXPECT_GE(PlanDecode(EightB(4096), hopper, 64).near_keys, 5124);  // no logits leave the block
}

}  // namespace
}  // namespace cascade::kernels::cuda
