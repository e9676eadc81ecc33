// Attention and its scores against the reference, and their row invariance.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "hwy/targets.h"
#include "tests/support/cache_script.h"

namespace cascade::kernels {
namespace {

CacheCase With(CacheCase test_case, ScoreReduction reduction, RopePairs pairs, int64_t first_index = 0) {
  test_case.shape.reduction = reduction;
  test_case.shape.rope.pairs = pairs;
  test_case.first_index = first_index;
  return test_case;
}

std::vector<CacheCase> Cases() {
  constexpr auto kMean = ScoreReduction::kMean;
  constexpr auto kMax = ScoreReduction::kMax;
  constexpr auto kInterleaved = RopePairs::kInterleaved;
  constexpr auto kHalves = RopePairs::kHalves;
  std::vector<CacheCase> cases = {
      With(MakeCase("one_ring", 16, 1, {16}, 8, 4), kMean, kInterleaved),
      With(MakeCase("tiny_rings", 16, 3, {4, 4}, 4, 1, DType::kF32), kMean, kInterleaved),
      With(MakeCase("tiny_rings_max", 16, 3, {4, 4}, 4, 0, DType::kF32), kMax, kHalves),
      With(MakeCase("rings_of_8", 64, 3, {8, 8, 8, 8}, 8, 4), kMean, kInterleaved),
      With(MakeCase("rings_of_8_f32", 64, 4, {8, 8, 8, 8}, 8, 4, DType::kF32), kMax, kInterleaved),
      With(MakeCase("ring_of_15", 64, 1, {15, 15}, 4, 1, DType::kF32), kMean, kHalves),
      With(MakeCase("ring_of_16", 64, 3, {16, 16}, 16, 4), kMax, kHalves),
      With(MakeCase("ring_of_17", 64, 4, {17, 17, 17}, 16, 0), kMean, kInterleaved),
      With(MakeCase("odd_all", 20, 3, {23, 19, 13}, 7, 3, DType::kF32), kMean, kInterleaved),
      With(MakeCase("odd_all_f16", 6, 5, {23, 19, 13}, 7, 3), kMax, kHalves),
      With(MakeCase("wide_head", 128, 4, {64, 32}, 32, 4), kMean, kHalves),
      With(MakeCase("widest_head", 256, 1, {32, 32}, 32, 4, DType::kF32), kMean, kInterleaved),
      With(MakeCase("head_of_80", 80, 3, {48, 48}, 16, 20), kMean, kHalves),
      With(MakeCase("one_head_dim_pair", 2, 1, {16}, 4, 1, DType::kF32), kMean, kInterleaved),
      With(MakeCase("far", 64, 3, {16, 16}, 8, 4, DType::kF32), kMean, kInterleaved, 10'000'003),
      With(MakeCase("far_f16", 64, 3, {32, 16}, 16, 4), kMax, kHalves, 10'000'019),
      With(MakeCase("long_stride", 16, 3, {96, 96}, 96, 4), kMean, kInterleaved),
      With(MakeCase("long_stride_max", 16, 3, {96, 96}, 96, 4, DType::kF32), kMax, kHalves),
      With(MakeCase("many_keys", 16, 2, {1200}, 60, 4), kMean, kInterleaved),
      With(MakeCase("big", 64, 3, {160, 96, 64}, 32, 4), kMean, kInterleaved),
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

// Enough to fill and wrap all rings.
int Tokens(const CacheCase& test_case) {
  int tokens = test_case.shape.num_sinks;
  for (const int slots : test_case.shape.ring_slots) tokens += slots;
  return tokens + 5 * test_case.shape.stride;
}

class AttendCases : public ::testing::TestWithParam<CacheCase> {};

TEST_P(AttendCases, AgreesWithReference) {
  CacheCase test_case = GetParam();
  test_case.tokens = Tokens(test_case);
  ExpectAgreesWithReference(test_case, 2);
}

void ExpectSameBits(const std::vector<float>& a, const std::vector<float>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(std::memcmp(&a[i], &b[i], sizeof(float)), 0) << "at " << i << ": " << a[i] << " and " << b[i];
  }
}

// All of a slot's content is compared, what is stale too.
void ExpectSameRun(const CacheRun& a, const CacheRun& b) {
  for (size_t s = 0; s < std::min(a.outputs.size(), b.outputs.size()); ++s) {
    ExpectSameBits(a.outputs[s], b.outputs[s]);
    for (size_t head = 0; head < a.heads[s].size(); ++head) {
      EXPECT_EQ(a.heads[s][head].tokens, b.heads[s][head].tokens);
      for (size_t segment = 0; segment < a.heads[s][head].scores.size(); ++segment) {
        ExpectSameBits(a.heads[s][head].distinctness[segment], b.heads[s][head].distinctness[segment]);
        ExpectSameBits(a.heads[s][head].scores[segment], b.heads[s][head].scores[segment]);
      }
    }
  }
}

TEST_P(AttendCases, SlicingBatchAndThreadsChangeNoBit) {
  CacheCase test_case = GetParam();
  test_case.tokens = Tokens(test_case) - test_case.shape.stride / 2;  // most end inside a stride
  const CacheRun whole = RunCache(test_case, {});
  for (const float x : whole.outputs[0]) ASSERT_TRUE(std::isfinite(x));
  ExpectSameRun(whole, RunCache(test_case, {.most_rows = 1}));
  ExpectSameRun(whole, RunCache(test_case, {.threads = 3, .most_rows = 3}));
  for (uint32_t seed = 1; seed <= 4; ++seed) {
    ExpectSameRun(whole, RunCache(test_case, {.sessions = 1 + static_cast<int>(seed),
                                              .threads = 1 + static_cast<int>(seed % 3),
                                              .most_rows = 40,
                                              .seed = seed}));
  }
}

INSTANTIATE_TEST_SUITE_P(AttendTest, AttendCases, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.name; });

// The widest is what all other tests run.
TEST(AttendTest, EveryInstructionSetAgreesWithReference) {
  int sets = 0;
  for (int64_t left = hwy::SupportedTargets() & HWY_TARGETS; left != 0; left &= left - 1, ++sets) {
    hwy::SetSupportedTargetsForTest(left & -left);
    SCOPED_TRACE(hwy::TargetName(left & -left));
    for (const DType type : {DType::kF16, DType::kF32}) {
      CacheCase test_case = MakeCase("", 40, 3, {48, 32, 32}, 16, 4, type);
      test_case.shape.selection_group = 2;
      test_case.tokens = Tokens(test_case);
      ExpectAgreesWithReference(test_case, 2);
    }
  }
  hwy::SetSupportedTargetsForTest(0);
  EXPECT_GT(sets, 0);
}

TEST(AttendPlanTest, LongHistoryTakesOneRowAtATime) {
  CacheCase test_case = MakeCase("", 64, 3, {65536}, 64, 4);
  const CacheLayout layout(test_case.shape);
  ThreadPool pool(1);
  const std::vector<Segment> segments = {{.count = 4, .query_position = 65540},
                                         {.count = 65537, .grows = true, .query_position = 65536}};
  const Slice slice{.num_rows = 8, .write_slot = 0, .segments = segments};
  std::vector<std::byte> memory(1);
  CacheStep step;
  step.Begin(layout, memory.data(), 1, 8, {&slice, 1}, pool);
  AttendPlan plan;
  plan.Make(layout, step, 2);
  ASSERT_EQ(plan.rounds.size(), 8u);
  int row = 0;
  for (const AttendRound& round : plan.rounds) {
    ASSERT_EQ(round.units.size(), 1u);
    EXPECT_EQ(round.units[0].rows, 1);
    EXPECT_EQ(round.units[0].first, row++);
  }
  EXPECT_LT(plan.logits_floats, 6 * (65536 + 256));
}

}  // namespace
}  // namespace cascade::kernels
