// Closing strides: scores, distinctness, moves and selection against the reference.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "kernels/cpu/selection.h"
#include "tests/support/cache_script.h"
#include "tests/support/reference_attention.h"

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
  return {
      With(MakeCase("pairs", 16, 3, {8, 8}, 4, 2, DType::kF32), kAttention, 1),
      With(MakeCase("unequal", 16, 1, {8, 4, 4}, 4, 2, DType::kF32), kAttention, 1),
      With(MakeCase("groups", 64, 3, {16, 16, 16}, 16, 4, DType::kF32), kBoth, 4),
      With(MakeCase("groups_f16", 64, 3, {16, 16, 16}, 16, 4), kBoth, 4),
      With(MakeCase("max", 64, 4, {32, 32, 32, 32}, 32, 4, DType::kF32), kBoth, 4, ScoreReduction::kMax),
      With(MakeCase("distinctness", 64, 1, {32, 32}, 32, 0), kDistinctness, 8),
      With(MakeCase("odd", 20, 3, {23, 19, 17}, 6, 3, DType::kF32), kBoth, 1),
      With(MakeCase("odd_max", 20, 3, {33, 21, 17}, 12, 3), kBoth, 3, ScoreReduction::kMax),
  };
}

class CloseStridesCases : public ::testing::TestWithParam<std::tuple<CacheCase, RopePairs, int64_t>> {};

TEST_P(CloseStridesCases, AgreesWithReference) {
  CacheCase test_case = std::get<0>(GetParam());
  test_case.shape.rope.pairs = std::get<1>(GetParam());
  test_case.first_index = std::get<2>(GetParam());
  test_case.tokens = 14 * test_case.shape.stride;
  ExpectAgreesWithReference(test_case, 3);
}

INSTANTIATE_TEST_SUITE_P(CloseStridesTest, CloseStridesCases,
                         ::testing::Combine(::testing::ValuesIn(Cases()),
                                            ::testing::Values(RopePairs::kInterleaved, RopePairs::kHalves),
                                            ::testing::Values(0, 10'000'001)),
                         [](const auto& info) {
                           return std::get<0>(info.param).name +
                                  (std::get<1>(info.param) == RopePairs::kHalves ? "_halves" : "_interleaved") +
                                  (std::get<2>(info.param) > 0 ? "_far" : "");
                         });

TEST(CloseStridesTest, ZeroKeysAreDistinct) {
  const CacheCase test_case = MakeCase("", 16, 1, {8}, 8, 0);
  ThreadPool pool(1);
  const auto ops = CacheOps::Create(test_case.shape, 1, 8, pool).value();
  CacheScript script(test_case);
  std::vector<Segment> segments;
  const Slice slice = script.NextSlice(8, segments);
  std::vector<float> k(8 * 32, 0.0f), v(8 * 32, 1.0f);
  for (int row = 4; row < 8; ++row) std::fill_n(k.begin() + row * 32, 16, 2.0f);  // half of head 0's keys, equal
  ops->BeginStep({&slice, 1});
  ops->AppendKv(0, {.data = k.data(), .rows = 8, .cols = 32}, {.data = v.data(), .rows = 8, .cols = 32});
  script.Advance(8);
  std::vector<CloseMove> moves;
  const Close close = script.CloseStride(moves);
  ops->CloseStrides({&close, 1});
  const HeadContents half = ops->ReadHead(0, 0, 0).value();
  for (int slot = 0; slot < 8; ++slot) EXPECT_NEAR(half.distinctness[1][slot], slot < 4 ? 1.0f : 0.0f, 1e-3f);
  EXPECT_EQ(ops->ReadHead(0, 0, 1).value().distinctness[1],
            (std::vector<float>{1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0}));
}

TEST(SelectHalfTest, AgreesWithSorting) {
  std::minstd_rand random(7);
  for (int round = 0; round < 2000; ++round) {
    const int group = 1 << random() % 7;
    std::vector<float> scores(2 * group), distinctness(2 * group);
    const int values = 1 + static_cast<int>(random() % (3 * group));  // few: many ties
    for (float& x : scores) x = static_cast<float>(random() % values);
    for (float& x : distinctness) x = static_cast<float>(random() % values);
    for (const Selection selection : {Selection::kBoth, Selection::kAttention, Selection::kDistinctness}) {
      std::vector<int> kept, expected;
      SelectHalf(scores, distinctness, selection, kept);
      const std::vector<bool> stays =
          ReferenceSelection({scores.begin(), scores.end()}, {distinctness.begin(), distinctness.end()}, selection);
      for (int i = 0; i < 2 * group; ++i) {
        if (stays[i]) expected.push_back(i);
      }
      ASSERT_EQ(kept, expected);
    }
  }
}

TEST(SelectHalfTest, KeepsHalfOfWhatIsNotANumber) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const Selection selection : {Selection::kBoth, Selection::kAttention, Selection::kDistinctness}) {
    std::vector<int> kept;
    SelectHalf(std::vector<float>{nan, nan, 1, nan}, std::vector<float>{nan, nan, nan, nan}, selection, kept);
    EXPECT_EQ(kept.size(), 2u);
  }
}

}  // namespace
}  // namespace cascade::kernels
