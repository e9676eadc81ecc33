#include "engine/schedule/scheduler.h"

#include <algorithm>
#include <random>

#include "gtest/gtest.h"

namespace cascade {
namespace {

constexpr int kNoCut = 1 << 20;

RunnableTurn Decoding() { return {.decoding = true, .rows_left = 1, .tokens_until_cut = 1}; }
RunnableTurn Reading(int64_t rows_left, int until_cut = kNoCut) {
  return {.decoding = false, .rows_left = rows_left, .tokens_until_cut = until_cut};
}

// Rows by turn; 0 where it has none.
std::vector<int> Rows(const std::vector<RunnableTurn>& turns, int max_rows, int64_t step = 0) {
  std::vector<int> rows(turns.size(), 0);
  for (const ScheduledSlice& slice : ScheduleStep(turns, max_rows, step)) {
    EXPECT_EQ(rows[static_cast<size_t>(slice.turn)], 0) << "two slices of turn " << slice.turn;
    rows[static_cast<size_t>(slice.turn)] = slice.rows;
  }
  return rows;
}

struct Case {
  const char* name;
  std::vector<RunnableTurn> turns;
  int max_rows;
  std::vector<int> rows;
};

class ScheduleTableTest : public ::testing::TestWithParam<Case> {};

TEST_P(ScheduleTableTest, Rows) {
  const Case& c = GetParam();
  EXPECT_EQ(Rows(c.turns, c.max_rows), c.rows);
}

INSTANTIATE_TEST_SUITE_P(
    Table, ScheduleTableTest,
    ::testing::Values(
        Case{"Nothing", {}, 8, {}}, Case{"OneDecodes", {Decoding()}, 8, {1}},
        Case{"OnePromptTakesAll", {Reading(1000)}, 8, {8}}, Case{"ShortPrompt", {Reading(3)}, 8, {3}},
        Case{"EndsAtTheCut", {Reading(1000, 5)}, 8, {5}},
        Case{"DecodesFirst", {Reading(1000), Decoding(), Decoding()}, 8, {6, 1, 1}},
        Case{"EqualShares", {Reading(1000), Reading(1000)}, 8, {4, 4}},
        Case{"ShortOneLeavesTheRest", {Reading(1000), Reading(1)}, 8, {7, 1}},
        Case{"ShortOneBehindLongOnesGetsThrough", {Reading(1000), Reading(1000), Reading(2)}, 12, {5, 5, 2}},
        Case{"CutLeavesTheRest", {Reading(1000, 2), Reading(1000)}, 8, {2, 6}},
        Case{"OneRowEachWhenAllIsTaken", {Decoding(), Reading(1000), Decoding(), Reading(9)}, 4, {1, 1, 1, 1}},
        Case{"AllAtTheirCuts", {Reading(50, 1), Reading(50, 2), Reading(50, 3)}, 100, {1, 2, 3}}),
    [](const ::testing::TestParamInfo<Case>& info) { return std::string(info.param.name); });

TEST(ScheduleStepTest, OddRowsGoRound) {
  const std::vector<RunnableTurn> turns = {Reading(1000), Reading(1000), Reading(1000)};
  std::vector<int> sum(3, 0);
  for (int64_t step = 0; step < 3; ++step) {
    const std::vector<int> rows = Rows(turns, 10, step);
    EXPECT_EQ(rows[0] + rows[1] + rows[2], 10);
    for (int i = 0; i < 3; ++i) sum[i] += rows[i];
  }
  EXPECT_EQ(sum, (std::vector<int>{10, 10, 10}));
}

TEST(ScheduleStepTest, BoundsHoldForRandomTurns) {
  std::mt19937 random(7);
  const auto draw = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  for (int round = 0; round < 20000; ++round) {
    std::vector<RunnableTurn> turns(static_cast<size_t>(draw(0, 12)));
    int decoding = 0;
    for (RunnableTurn& turn : turns) {
      turn = draw(0, 1) ? Decoding() : Reading(draw(1, 300), draw(1, 64));
      decoding += turn.decoding;
    }
    const int max_rows = static_cast<int>(turns.size()) + draw(turns.empty() ? 1 : 0, 100);
    const std::vector<int> rows = Rows(turns, max_rows, draw(0, 1000));
    int total = 0;
    int wanted = decoding;
    const int readers = static_cast<int>(turns.size()) - decoding;
    for (size_t i = 0; i < turns.size(); ++i) {
      total += rows[i];
      if (turns[i].decoding) {
        ASSERT_EQ(rows[i], 1);
        continue;
      }
      const int need = static_cast<int>(std::min<int64_t>(turns[i].rows_left, turns[i].tokens_until_cut));
      wanted += need;
      ASSERT_LE(rows[i], need);
      ASSERT_GE(rows[i], std::min(need, (max_rows - decoding) / readers));
    }
    ASSERT_EQ(total, std::min(wanted, max_rows)) << "rows left unused";
  }
}

}  // namespace
}  // namespace cascade
