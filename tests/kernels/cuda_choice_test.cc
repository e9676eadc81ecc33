// Which kernels a step takes: tables of pure functions.
#include <gtest/gtest.h>

#include "kernels/cuda/attention_decode_plan.h"
#include "kernels/cuda/linear_choice.h"

namespace cascade::kernels::cuda {
namespace {

TEST(ChooseLinearTest, ByRows) {
  using enum LinearKernel;
  const struct {
    int64_t rows, cols;
    bool of_compute_type;
    int skinny_rows;
    bool deterministic;
    LinearKernel expected;
  } cases[] = {
      {1, 4096, true, 16, false, kSkinny},  {16, 4096, true, 16, false, kSkinny}, {5, 4096, true, 4, false, kTile},
      {4, 14336, true, 16, false, kSkinny}, {5, 14336, true, 16, false, kTile},  // x does not fit beside the weights
      {17, 4096, true, 16, false, kTile},   {32, 4096, true, 16, false, kTile},   {33, 4096, true, 16, false, kBlas},
      {8, 4096, false, 16, false, kSkinny}, {9, 1024, false, 16, false, kTile},   {3, 14336, false, 16, false, kTile},
      {128, 4096, false, 16, false, kTile}, {129, 4096, false, 16, false, kBlas}, {1, 4100, true, 16, false, kBlas},
      {1, 4096, true, 16, true, kTile},     {4096, 4096, true, 16, true, kTile},  {1, 14336, false, 16, true, kTile},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(ChooseLinear({c.rows, c.cols, c.of_compute_type}, c.skinny_rows, c.deterministic), c.expected)
        << c.rows << " x " << c.cols << (c.deterministic ? ", deterministic" : "");
  }
}

TEST(ChooseLinearTest, SkinnyRowsBySharedMemory) {
  EXPECT_EQ(MostSkinnyRows(227 << 10), 16);  // 9.0
  EXPECT_EQ(MostSkinnyRows(163 << 10), 8);   // 8.0
  EXPECT_EQ(MostSkinnyRows(99 << 10), 4);    // 8.6, 8.9
}

// 32 layers, 8 KV heads, four sub-caches.
CacheLayout Layout(int cache_tokens, int group, int head_dim) {
  CacheShape shape;
  shape.num_layers = 32;
  shape.num_kv_heads = 8;
  shape.group = group;
  shape.head_dim = head_dim;
  shape.kv_type = DType::kBF16;
  shape.rope.frequency.assign(static_cast<size_t>(head_dim) / 2, 1.0);
  shape.num_sinks = 4;
  shape.stride = cache_tokens / 4;
  shape.ring_slots = {cache_tokens / 2, cache_tokens / 4, cache_tokens / 4, cache_tokens / 4};
  shape.selection_group = 64;
  return MakeCacheLayout(shape);
}
CacheLayout EightB(int cache_tokens) { return Layout(cache_tokens, 4, 128); }

TEST(PlanDecodeTest, FillsTheDeviceAndFitsIt) {
  const DeviceTraits hopper = {
      .name = "", .capability = 90, .num_sms = 132, .shared_bytes = 227 << 10, .cluster_blocks = 16};
  const DeviceTraits ampere = {.name = "", .capability = 80, .num_sms = 108, .shared_bytes = 163 << 10};
  const DeviceTraits narrow = {
      .name = "", .capability = 120, .num_sms = 170, .shared_bytes = 99 << 10, .cluster_blocks = 8};
  const DeviceTraits small = {.name = "", .capability = 86, .num_sms = 84, .shared_bytes = 99 << 10};
  for (const DeviceTraits& traits : {hopper, ampere, narrow, small}) {
    for (const int cache_tokens : {1024, 4096, 16384, 65536}) {
      for (const int slices : {1, 2, 3, 8, 16, 17, 64, 256}) {
        const DecodePlan plan = PlanDecode(EightB(cache_tokens), traits, slices);
        SCOPED_TRACE(testing::Message() << cache_tokens << " tokens, " << slices << " sessions");
        EXPECT_GE(plan.splits, 1);
        EXPECT_LE(plan.splits, kDecodeMaxSplits);
        EXPECT_TRUE(plan.warps == 4 || plan.warps == 8 || plan.warps == kDecodeMaxWarps);
        EXPECT_LE(plan.shared_bytes, traits.shared_bytes);
        EXPECT_EQ(plan.near_keys % kUnitKeys, 0);
        // Long caches of few sessions are shared out until most multiprocessors have a block.
        if (cache_tokens >= 4096) {
          EXPECT_GE(slices * 8 * plan.splits, traits.num_sms / 2);
        }
      }
    }
  }
  // The widest rows and groups, on the device with the least room that has clusters.
  EXPECT_LE(PlanDecode(Layout(4096, 16, 256), narrow, 256).shared_bytes, narrow.shared_bytes);
  // Many sessions: clusters, two blocks on a multiprocessor, most logits in their shared memory.
  const DecodePlan many = PlanDecode(EightB(4096), hopper, 64);
  EXPECT_TRUE(many.clusters);
  EXPECT_EQ(many.splits, 2);
  EXPECT_EQ(many.warps, 8);
  EXPECT_LE(2 * (many.shared_bytes + 1024), (227u << 10) + 1024);
  EXPECT_GE(many.near_keys, 2200);
  EXPECT_EQ(PlanDecode(EightB(16384), hopper, 64).splits, 8);
  EXPECT_FALSE(PlanDecode(EightB(4096), ampere, 64).clusters);
  // Some: two blocks on a multiprocessor.
  const DecodePlan some = PlanDecode(EightB(16384), hopper, 16);
  EXPECT_TRUE(some.defers());
  EXPECT_EQ(some.splits, 2);
  EXPECT_EQ(some.warps, 8);
  // One: a block on every multiprocessor, a warp for every 16 keys.
  const DecodePlan one = PlanDecode(EightB(2048), hopper, 1);
  EXPECT_TRUE(one.defers());
  EXPECT_EQ(one.splits, 16);
  EXPECT_EQ(one.warps, 16);
}

}  // namespace
}  // namespace cascade::kernels::cuda
