// What an appended entry is, what a new and a cleared slot holds, and which shapes are refused.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/cache_script.h"

namespace cascade::kernels {
namespace {

// A cache with one session whose activations are constants.
class AppendKvCases : public ::testing::TestWithParam<DType> {
 protected:
  AppendKvCases() : test_case_(MakeCase("", 16, 2, {24}, 8, 2, GetParam())), script_(test_case_) {
    ops_ = CacheOps::Create(test_case_.shape, 2, 16, pool_).value();
  }

  // Feeds `count` tokens of slot 1 and returns the last row's output in layer 1.
  std::vector<float> Feed(int count, float key, float value) {
    const Slice base = script_.NextSlice(count, segments_);
    Slice slice = base;
    slice.slot = 1;
    const CacheShape& shape = test_case_.shape;
    const int64_t kv_width = int64_t{shape.num_kv_heads} * shape.head_dim, width = kv_width * shape.group;
    std::vector<float> q(count * width, 1.0f), k(count * kv_width, key), v(count * kv_width, value), out(count * width);
    ops_->BeginStep({&slice, 1});
    const auto view = [&](std::vector<float>& x, int64_t cols) {
      return TensorView{.data = x.data(), .rows = count, .cols = cols};
    };
    ops_->AppendKv(1, view(k, kv_width), view(v, kv_width));
    ops_->Attend(1, view(q, width), view(out, width));
    script_.Advance(count);
    return {out.end() - width, out.end()};
  }

  ThreadPool pool_{2};
  CacheCase test_case_;
  CacheScript script_;
  std::vector<Segment> segments_;
  std::unique_ptr<CacheOps> ops_;
};

TEST_P(AppendKvCases, EntriesGoWhereTheSliceSays) {
  Feed(2, 1, 3);
  Feed(5, 1, 3);
  const HeadContents head = ops_->ReadHead(1, 1, 1).value();
  EXPECT_EQ(head.tokens[0], (std::vector<uint32_t>{0, 1}));
  ASSERT_EQ(head.tokens[1].size(), 32u);
  for (uint32_t i = 0; i < 32; ++i) {
    EXPECT_EQ(head.tokens[1][i], i < 5 ? i + 2 : 0);
    EXPECT_EQ(head.distinctness[1][i], 0.0f);
    EXPECT_EQ(head.scores[1][i] > 0, i < 5);
  }
  EXPECT_EQ(head.scores[0], (std::vector<float>{0, 0}));
  const HeadContents other_layer = ops_->ReadHead(1, 0, 1).value();
  EXPECT_EQ(other_layer.tokens[1], std::vector<uint32_t>(32, 0));
}

TEST_P(AppendKvCases, UntouchedSlotsNeverShow) {
  for (const float x : Feed(2, 0, 3)) EXPECT_FLOAT_EQ(x, 3);
  for (const float x : Feed(1, 0, 3)) EXPECT_FLOAT_EQ(x, 3);
}

TEST_P(AppendKvCases, HugeKeysStayFinite) {
  Feed(2, 1e30f, 1e30f);
  if (GetParam() == DType::kF32) return;  // what float32 can not multiply is not the cache's concern
  for (const float x : Feed(3, 1e30f, 1e30f)) EXPECT_TRUE(std::isfinite(x));
}

TEST_P(AppendKvCases, ClearedSlotIsNew) {
  Feed(2, 1, std::numeric_limits<float>::quiet_NaN());
  Feed(8, 1, std::numeric_limits<float>::quiet_NaN());
  ops_->ClearSlot(1);
  script_ = CacheScript(test_case_);
  for (const float x : Feed(2, 1, 3)) EXPECT_FLOAT_EQ(x, 3);
  for (const float x : Feed(1, 1, 3)) EXPECT_FLOAT_EQ(x, 3);
  const HeadContents head = ops_->ReadHead(1, 1, 0).value();
  EXPECT_EQ(head.tokens[1][1], 0u);
  EXPECT_EQ(head.scores[1][1], 0.0f);
}

INSTANTIATE_TEST_SUITE_P(AppendKvTest, AppendKvCases, ::testing::Values(DType::kF16, DType::kF32),
                         [](const auto& info) { return std::string(Name(info.param)); });

TEST(CacheOpsTest, RefusesShapesThatItDoesNotHave) {
  ThreadPool pool(1);
  const CacheShape good = MakeCase("", 16, 1, {16, 16}, 8, 4).shape;
  const auto code = [&](const auto& change) {
    CacheShape shape = good;
    change(shape);
    return CacheOps::Create(shape, 1, 8, pool).status().code();
  };
  EXPECT_EQ(code([](CacheShape&) {}), absl::StatusCode::kOk);
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code([](CacheShape& s) { s.kv_type = DType::kBF16; }), kInvalid);
  EXPECT_EQ(code([](CacheShape& s) { s.kv_type = DType::kQ8_0; }), kInvalid);
  EXPECT_EQ(code([](CacheShape& s) { s.head_dim = 15; }), kInvalid);
  EXPECT_EQ(code([](CacheShape& s) { s.head_dim = 258; }), kInvalid);
  EXPECT_EQ(code([](CacheShape& s) { s.head_dim = 32; }), kInvalid);  // 8 frequencies, not 16
  EXPECT_EQ(code([](CacheShape& s) { s.num_layers = 0; }), kInvalid);
  EXPECT_EQ(code([](CacheShape& s) { s.num_kv_heads = 0; }), kInvalid);
  EXPECT_EQ(code([](CacheShape& s) { s.group = 0; }), kInvalid);
  EXPECT_EQ(code([](CacheShape& s) { s.num_sinks = -1; }), kInvalid);
  EXPECT_EQ(code([](CacheShape& s) { s.ring_slots.clear(); }), kInvalid);
  EXPECT_EQ(code([](CacheShape& s) { s.ring_slots[1] = 0; }), kInvalid);
  EXPECT_EQ(code([](CacheShape& s) { s.stride = 0; }), kInvalid);
  EXPECT_EQ(code([](CacheShape& s) { s.stride = 25; }), kInvalid);
  EXPECT_EQ(code([](CacheShape& s) { s.selection_group = 0; }), kInvalid);
  EXPECT_EQ(code([](CacheShape& s) { s.ema_decay = std::nan(""); }), kInvalid);
  EXPECT_EQ(CacheOps::Create(good, 0, 8, pool).status().code(), kInvalid);
}

TEST(CacheOpsTest, NoMemoryIsNamed) {
  ThreadPool pool(1);
  CacheShape shape = MakeCase("", 256, 1, {1 << 24}, 8, 4).shape;
  shape.num_layers = 100;
  const absl::Status status = CacheOps::Create(shape, 1 << 20, 8, pool).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status.ToString();
}

TEST(CacheOpsTest, ReadHeadChecksItsIndices) {
  ThreadPool pool(1);
  const auto ops = CacheOps::Create(MakeCase("", 16, 1, {16}, 8, 4).shape, 1, 8, pool).value();
  EXPECT_TRUE(ops->ReadHead(0, 1, 1).ok());
  EXPECT_EQ(ops->ReadHead(1, 0, 0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ops->ReadHead(0, 2, 0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ops->ReadHead(0, 0, 2).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace cascade::kernels
