// What an appended entry is, and what a new and a cleared slot holds, on every back end.
#include <cmath>
#include <limits>

#include "tests/kernels/cache_cases.h"
#include "tests/support/rounding.h"

namespace cascade::kernels {
namespace {

// A cache with one session whose activations are constants.
class AppendKvTest : public CacheTestWithBackend {
 protected:
  AppendKvTest() : test_case_(GetParam().test_case), script_(test_case_), backend_(Create()) {
    const CacheShape& shape = test_case_.shape;
    kv_width_ = int64_t{shape.num_kv_heads} * shape.head_dim;
    width_ = kv_width_ * shape.group;
    const auto allocate = [&](int64_t cols) { return backend_->Allocate(kRows, cols, Precision::kCompute).value(); };
    q_ = allocate(width_), k_ = allocate(kv_width_), v_ = allocate(kv_width_), out_ = allocate(width_);
    EXPECT_TRUE(backend_->CreateCaches(shape, 2, kRows).ok());
  }

  // Feeds `count` tokens of slot 1 in layer 1 and returns the last row's output.
  std::vector<float> Feed(int count, float key, float value) {
    Slice slice = script_.NextSlice(count, segments_);
    slice.slot = 1;
    const std::vector<int32_t> ids(count, 0);
    const auto fill = [&](TensorView x, float with) {
      backend_->CopyFromHost(std::vector<float>(count * x.cols, with), x.Rows(count));
    };
    fill(q_, 1.0f), fill(k_, key), fill(v_, value);
    std::vector<float> out(count * width_);
    backend_->BeginStep({.slices = {&slice, 1}, .ids = ids, .samples = {}});
    backend_->AppendKv(1, k_.Rows(count), v_.Rows(count));
    backend_->Attend(1, q_.Rows(count), out_.Rows(count));
    backend_->CopyToHost(out_.Rows(count), out);
    backend_->EndStep();
    std::vector<int32_t> sampled;
    EXPECT_TRUE(backend_->WaitStep(sampled).ok());
    script_.Advance(count);
    return {out.end() - width_, out.end()};
  }
  HeadContents Read(int layer, int kv_head) { return backend_->ReadHead(1, layer, kv_head).value(); }
  // Of an average of threes: probabilities that are rounded to the cache's type need not sum to one.
  double Bound() const {
    if (!GetParam().backend.narrow_cache) return 3e-6;
    return 3 * (reference::Unit(DType::kBF16) + reference::Unit(GetParam().backend.compute));
  }
  // Larger than any logit should be; float16 activations end at 65,504.
  float Huge() const { return GetParam().backend.compute == DType::kF16 ? 6e4f : 1e30f; }

  static constexpr int kRows = 16;
  CacheCase test_case_;
  CacheScript script_;
  std::vector<Segment> segments_;
  std::unique_ptr<Backend> backend_;
  int64_t width_, kv_width_;
  TensorView q_, k_, v_, out_;
};

TEST_P(AppendKvTest, EntriesGoWhereTheSliceSays) {
  Feed(2, 1, 3);
  Feed(5, 1, 3);
  const HeadContents head = Read(1, 1);
  EXPECT_EQ(head.tokens[0], (std::vector<uint32_t>{0, 1}));
  ASSERT_EQ(head.tokens[1].size(), 32u);
  for (uint32_t i = 0; i < 32; ++i) {
    EXPECT_EQ(head.tokens[1][i], i < 5 ? i + 2 : 0);
    EXPECT_EQ(head.distinctness[1][i], 0.0f);
    EXPECT_EQ(head.scores[1][i] > 0, i < 5);
  }
  EXPECT_EQ(head.scores[0], (std::vector<float>{0, 0}));
  const HeadContents other_layer = Read(0, 1);
  EXPECT_EQ(other_layer.tokens[1], std::vector<uint32_t>(32, 0));
}

TEST_P(AppendKvTest, UntouchedSlotsNeverShow) {
  for (const float x : Feed(2, 0, 3)) EXPECT_NEAR(x, 3, Bound());
  for (const float x : Feed(1, 0, 3)) EXPECT_NEAR(x, 3, Bound());
}

TEST_P(AppendKvTest, HugeKeysStayFinite) {
  Feed(2, Huge(), Huge());
  if (test_case_.shape.kv_type == DType::kF32) return;  // what float32 can not multiply is not the cache's concern
  for (const float x : Feed(3, Huge(), Huge())) EXPECT_TRUE(std::isfinite(x));
}

TEST_P(AppendKvTest, ClearedSlotIsNew) {
  Feed(2, 1, std::numeric_limits<float>::quiet_NaN());
  Feed(8, 1, std::numeric_limits<float>::quiet_NaN());
  backend_->ClearSlot(1);
  script_ = CacheScript(test_case_);
  for (const float x : Feed(2, 1, 3)) EXPECT_NEAR(x, 3, Bound());
  for (const float x : Feed(1, 1, 3)) EXPECT_NEAR(x, 3, Bound());
  const HeadContents head = Read(1, 0);
  EXPECT_EQ(head.tokens[1][1], 0u);
  EXPECT_EQ(head.scores[1][1], 0.0f);
}

TEST_P(AppendKvTest, ReadHeadChecksItsIndices) {
  EXPECT_TRUE(backend_->ReadHead(0, 1, 1).ok());
  EXPECT_EQ(backend_->ReadHead(2, 0, 0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(backend_->ReadHead(0, 2, 0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(backend_->ReadHead(0, 0, 2).status().code(), absl::StatusCode::kInvalidArgument);
}

std::vector<CacheCase> Cases() {
  return {MakeCase("F16", 16, 2, {24}, 8, 2), MakeCase("F32", 16, 2, {24}, 8, 2, DType::kF32)};
}

INSTANTIATE_TEST_SUITE_P(Cases, AppendKvTest, testing::ValuesIn(CacheTests(Cases(), 1)), NameOfCacheTest);

}  // namespace
}  // namespace cascade::kernels
