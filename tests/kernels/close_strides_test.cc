// Closing strides on every back end: scores, distinctness, moves and selection against the reference.
#include <cmath>

#include "tests/kernels/cache_cases.h"

namespace cascade::kernels {
namespace {

CacheCase With(CacheCase test_case, Selection selection, int group, ScoreReduction reduction = ScoreReduction::kMean) {
  test_case.shape.selection = selection;
  test_case.shape.selection_group = group;
  test_case.shape.reduction = reduction;
  return test_case;
}

std::vector<CacheCase> Cases() {
  constexpr auto kBoth = Selection::kBoth;
  constexpr auto kAttention = Selection::kAttention;
  constexpr auto kDistinctness = Selection::kDistinctness;
  const std::vector<CacheCase> shapes = {
      // What a slow back end runs.
      With(MakeCase("unequal", 16, 1, {8, 4, 4}, 4, 2, DType::kF32), kAttention, 1),
      With(MakeCase("groups", 64, 3, {16, 16, 16}, 16, 4, DType::kF32), kBoth, 4),
      With(MakeCase("odd_max_wide", 72, 3, {33, 21, 17}, 12, 3), kBoth, 3, ScoreReduction::kMax),
      // The rest.
      With(MakeCase("pairs", 16, 3, {8, 8}, 4, 2, DType::kF32), kAttention, 1),
      With(MakeCase("groups_f16", 64, 3, {16, 16, 16}, 16, 4), kBoth, 4),
      With(MakeCase("max", 64, 4, {32, 32, 32, 32}, 32, 4, DType::kF32), kBoth, 4, ScoreReduction::kMax),
      With(MakeCase("distinctness", 64, 1, {32, 32}, 32, 0), kDistinctness, 8),
      With(MakeCase("large_groups", 16, 1, {128, 128}, 128, 0), kBoth, 64),
      With(MakeCase("odd", 20, 3, {23, 19, 17}, 6, 3, DType::kF32), kBoth, 1),
      With(MakeCase("odd_max", 20, 3, {33, 21, 17}, 12, 3), kBoth, 3, ScoreReduction::kMax),
  };
  std::vector<CacheCase> cases;
  for (const bool halves : {false, true}) {
    for (const bool far : {false, true}) {
      for (CacheCase test_case : shapes) {
        test_case.shape.rope.pairs = halves ? RopePairs::kHalves : RopePairs::kInterleaved;
        test_case.first_index = far ? 10'000'001 : 0;
        test_case.name += std::string(halves ? "_halves" : "_interleaved") + (far ? "_far" : "");
        cases.push_back(std::move(test_case));
      }
    }
  }
  return cases;
}

class CloseStridesTest : public CacheTestWithBackend {};

TEST_P(CloseStridesTest, AgreesWithReference) {
  CacheCase test_case = GetParam().test_case;
  test_case.tokens = 14 * test_case.shape.stride;
  ExpectAgreesWithReference(*Create(3), test_case, {});
}

// Several sessions close in one step.
TEST_P(CloseStridesTest, SeveralAtOnceAgreeWithReference) {
  CacheCase test_case = GetParam().test_case;
  test_case.tokens = 12 * test_case.shape.stride;
  ExpectAgreesWithReference(*Create(), test_case, {.sessions = 3});
}

INSTANTIATE_TEST_SUITE_P(Cases, CloseStridesTest, testing::ValuesIn(CacheTests(Cases(), 3)), NameOfCacheTest);

class CloseTest : public CacheTestWithBackend {};

TEST_P(CloseTest, ZeroKeysAreDistinct) {
  const CacheCase test_case = GetParam().test_case;
  const auto backend = Create();
  CacheScript script(test_case);
  std::vector<Segment> segments;
  const Slice slice = script.NextSlice(8, segments);
  std::vector<float> keys(8 * 32, 0.0f);
  for (int row = 4; row < 8; ++row) std::fill_n(keys.begin() + row * 32, 16, 2.0f);  // half of head 0's keys, equal
  const DeviceMatrix k(*backend, 8, 32, Precision::kCompute, keys);
  const DeviceMatrix v(*backend, 8, 32, Precision::kCompute, std::vector<float>(8 * 32, 1.0f));
  ASSERT_TRUE(backend->CreateCaches(test_case.shape, 1, 8).ok());
  const std::vector<int32_t> ids(8, 0);
  backend->BeginStep({.slices = {&slice, 1}, .ids = ids, .samples = {}});
  backend->AppendKv(0, k.view(), v.view());
  script.Advance(8);
  std::vector<CloseMove> moves;
  const Close close = script.CloseStride(moves);
  backend->CloseStrides({&close, 1});
  ASSERT_TRUE(backend->Finish().ok());
  const HeadContents half = backend->ReadHead(0, 0, 0).value();
  // Equal keys that were rotated apart and back differ by the roundings of two of them.
  const float bound = test_case.shape.kv_type == DType::kBF16 ? 0x1p-7f : 1e-3f;
  for (int slot = 0; slot < 8; ++slot) EXPECT_NEAR(half.distinctness[1][slot], slot < 4 ? 1.0f : 0.0f, bound);
  EXPECT_EQ(backend->ReadHead(0, 0, 1).value().distinctness[1],
            (std::vector<float>{1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0}));
}

INSTANTIATE_TEST_SUITE_P(Cases, CloseTest, testing::ValuesIn(CacheTests({MakeCase("one_ring", 16, 1, {8}, 8, 0)}, 1)),
                         NameOfCacheTest);

}  // namespace
}  // namespace cascade::kernels
