// Attention and its scores on every back end: against the reference in long slices, one row at a time and in steps of
// several sessions; and their row invariance.
#include <cmath>

#include "tests/kernels/cache_cases.h"

namespace cascade::kernels {
namespace {

CacheCase With(CacheCase test_case, ScoreReduction reduction, RopePairs pairs, int64_t first_index = 0) {
  test_case.shape.reduction = reduction;
  test_case.shape.rope.pairs = pairs;
  test_case.first_index = first_index;
  return test_case;
}

CacheCase Heavy(CacheCase test_case) {
  test_case.heavy = true;
  return test_case;
}

std::vector<CacheCase> Cases() {
  constexpr auto kMean = ScoreReduction::kMean;
  constexpr auto kMax = ScoreReduction::kMax;
  constexpr auto kInterleaved = RopePairs::kInterleaved;
  constexpr auto kHalves = RopePairs::kHalves;
  std::vector<CacheCase> cases = {
      // What a slow back end runs.
      With(MakeCase("one_ring", 16, 1, {16}, 8, 4), kMean, kInterleaved),
      With(MakeCase("tiny_rings_max", 16, 3, {4, 4}, 4, 0, DType::kF32), kMax, kHalves),
      With(MakeCase("ring_of_17", 64, 4, {17, 17, 17}, 16, 0), kMean, kInterleaved),
      With(MakeCase("many_tiles", 16, 2, {150}, 48, 70), kMean, kInterleaved),
      With(MakeCase("head_of_80", 80, 3, {48, 48}, 16, 20), kMean, kHalves),
      With(MakeCase("far_f16", 64, 3, {32, 16}, 16, 4), kMax, kHalves, 10'000'019),
      With(MakeCase("widest_head_max", 256, 8, {16, 16}, 16, 1, DType::kF32), kMax, kInterleaved),
      With(MakeCase("many_rings", 24, 2, {8, 8, 4, 4, 4, 4}, 4, 2), kMean, kInterleaved),
      With(MakeCase("group_of_16", 128, 16, {24}, 24, 3), kMean, kHalves),
      // The rest.
      With(MakeCase("tiny_rings", 16, 3, {4, 4}, 4, 1, DType::kF32), kMean, kInterleaved),
      With(MakeCase("rings_of_8", 64, 3, {8, 8, 8, 8}, 8, 4), kMean, kInterleaved),
      With(MakeCase("rings_of_8_f32", 64, 4, {8, 8, 8, 8}, 8, 4, DType::kF32), kMax, kInterleaved),
      With(MakeCase("ring_of_15", 64, 1, {15, 15}, 4, 1, DType::kF32), kMean, kHalves),
      With(MakeCase("ring_of_16", 64, 3, {16, 16}, 16, 4), kMax, kHalves),
      With(MakeCase("odd_all", 20, 3, {23, 19, 13}, 7, 3, DType::kF32), kMean, kInterleaved),
      With(MakeCase("odd_rings", 40, 3, {23, 19, 13}, 7, 3, DType::kF32), kMax, kInterleaved),
      With(MakeCase("odd_all_f16", 6, 5, {23, 19, 13}, 7, 3), kMax, kHalves),
      With(MakeCase("wide_head", 128, 4, {64, 32}, 32, 4), kMean, kHalves),
      With(MakeCase("widest_head", 256, 1, {32, 32}, 32, 4, DType::kF32), kMean, kInterleaved),
      With(MakeCase("one_head_dim_pair", 2, 1, {16}, 4, 1, DType::kF32), kMean, kInterleaved),
      With(MakeCase("far", 64, 3, {16, 16}, 8, 4, DType::kF32), kMean, kInterleaved, 10'000'003),
      With(MakeCase("long_stride", 16, 3, {96, 96}, 96, 4), kMean, kInterleaved),
      With(MakeCase("long_stride_max", 16, 3, {96, 96}, 96, 4, DType::kF32), kMax, kHalves),
      With(MakeCase("many_keys", 16, 2, {1200}, 60, 4), kMean, kInterleaved),
      With(MakeCase("big", 64, 3, {160, 96, 64}, 32, 4), kMean, kInterleaved),
      With(MakeCase("two_tiles", 128, 4, {300, 200}, 100, 4), kMean, kHalves),
      Heavy(MakeCase("heavy_64", 64, 3, {256, 128}, 64, 4)),
      Heavy(MakeCase("heavy_128", 128, 4, {250, 130}, 50, 3)),
  };
  // The head sizes that model files may have: multiples of 16 up to 256.
  for (int head_dim = 16; head_dim <= 256; head_dim += 16) {
    const bool even = head_dim % 32 == 0;
    for (const DType type : {DType::kF16, DType::kF32}) {
      const std::string name = "head_" + std::to_string(head_dim) + (type == DType::kF16 ? "_f16" : "_f32");
      cases.push_back(With(MakeCase(name, head_dim, even ? 2 : 7, {16, 16}, 8, 2, type), even ? kMean : kMax,
                           (head_dim / 16 + (type == DType::kF32)) % 4 < 2 ? kInterleaved : kHalves));
    }
  }
  return cases;
}

class AttendTest : public CacheTestWithBackend {
 protected:
  // Enough to fill and wrap all rings.
  CacheCase Case() const {
    CacheCase test_case = GetParam().test_case;
    test_case.tokens = TokensToWrap(test_case.shape, GetParam().backend.slow() ? 2 : 5);
    return test_case;
  }
};

TEST_P(AttendTest, WholeStridesAgreeWithReference) { ExpectAgreesWithReference(*Create(), Case(), {}); }

TEST_P(AttendTest, SingleRowsAgreeWithReference) {
  ExpectAgreesWithReference(*Create(), Case(), {.most_rows = 1, .fused = true});
}

TEST_P(AttendTest, MixedStepsAgreeWithReference) {
  ExpectAgreesWithReference(*Create(), Case(), {.sessions = 3, .most_rows = 9, .seed = 5, .fused = true});
}

TEST_P(AttendTest, ANeighboursNaNsStayItsOwn) {
  CacheCase test_case = Case();
  for (const int most_rows : {1 << 20, 9}) {
    const Slicing slicing = {.sessions = 2, .most_rows = most_rows, .seed = most_rows < 10 ? 5u : 0u};
    test_case.nan_session = -1;
    CacheRun healthy = RunCache(*Create(), test_case, slicing);
    test_case.nan_session = 1;
    CacheRun beside = RunCache(*Create(), test_case, slicing);
    EXPECT_TRUE(std::isnan(beside.outputs[1].back()));
    healthy.outputs.resize(1), healthy.heads.resize(1);
    for (const float x : healthy.outputs[0]) ASSERT_TRUE(std::isfinite(x));
    ExpectSameRun(healthy, beside);
  }
}

TEST_P(AttendTest, SlicingBatchAndThreadsChangeNoBit) {
  if (!GetParam().backend.row_invariant) return;  // it does not say so
  CacheCase test_case = Case();
  test_case.tokens -= test_case.shape.stride / 2;  // most end inside a stride
  const CacheRun whole = RunCache(*Create(1), test_case, {});
  for (const float x : whole.outputs[0]) ASSERT_TRUE(std::isfinite(x));
  ExpectSameRun(whole, RunCache(*Create(1), test_case, {.most_rows = 1}));
  ExpectSameRun(whole, RunCache(*Create(3), test_case, {.most_rows = 3, .fused = true}));
  const uint32_t seeds = GetParam().backend.slow() ? 1 : 4;
  for (uint32_t seed = 1; seed <= seeds; ++seed) {
    ExpectSameRun(whole, RunCache(*Create(1 + static_cast<int>(seed % 3)), test_case,
                                  {.sessions = 1 + static_cast<int>(seed), .most_rows = 40, .seed = seed}));
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, AttendTest, testing::ValuesIn(CacheTests(Cases(), 9)), NameOfCacheTest);

}  // namespace
}  // namespace cascade::kernels
