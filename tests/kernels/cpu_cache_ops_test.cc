// The CPU's caches alone: all its instruction sets, its plan, the shapes that it refuses, its selection.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "hwy/targets.h"
#include "kernels/base/thread_pool.h"
#include "kernels/cpu/attend_plan.h"
#include "kernels/cpu/cache_ops.h"
#include "kernels/cpu/cache_step.h"
#include "kernels/cpu/selection.h"
#include "kernels/cpu_backend.h"
#include "tests/support/cache_script.h"
#include "tests/support/reference_attention.h"

namespace cascade::kernels {
namespace {

// The widest is what all other tests run.
TEST(CpuAttendTest, EveryInstructionSetAgreesWithReference) {
  int sets = 0;
  for (int64_t left = hwy::SupportedTargets() & HWY_TARGETS; left != 0; left &= left - 1, ++sets) {
    hwy::SetSupportedTargetsForTest(left & -left);
    SCOPED_TRACE(hwy::TargetName(left & -left));
    for (const DType type : {DType::kF16, DType::kF32}) {
      CacheCase test_case = MakeCase("", 40, 3, {48, 32, 32}, 16, 4, type);
      test_case.shape.selection_group = 2;
      test_case.tokens = TokensToWrap(test_case.shape, 5);
      const auto backend = CreateCpuBackend({.num_threads = 2}).value();
      ExpectAgreesWithReference(*backend, test_case, {});
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
