#include "engine/schedule/batch.h"

#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cascade {
namespace {

using ::testing::ElementsAre;

CascadeGeometry SmallGeometry() {
  CascadeGeometry geometry;
  geometry.num_sinks = 2;
  geometry.sub_cache_tokens = {8, 8};
  geometry.stride = 4;
  geometry.selection_group = 1;
  return geometry;
}

TEST(BatchTest, GathersSlicesAndResults) {
  const CascadeGeometry geometry = SmallGeometry();
  CascadePlan reader(geometry, 2);
  CascadePlan writer(geometry, 7);
  const std::vector<int32_t> ids = {10, 11, 12};
  const std::vector<int32_t> targets = {11, 12, 13};
  const std::vector<int32_t> sampled = {20};
  Batch batch;
  batch.Add(5, 1, reader, ids, false, targets);
  batch.Add(6, 0, writer, sampled, true, {});

  const ForwardBatch& forward = batch.forward();
  EXPECT_THAT(forward.ids, ElementsAre(10, 11, 12, 20));
  EXPECT_THAT(forward.logit_rows, ElementsAre(3));
  EXPECT_THAT(forward.score_rows, ElementsAre(0, 1, 2));
  EXPECT_THAT(forward.score_targets, ElementsAre(11, 12, 13));
  ASSERT_EQ(forward.slices.size(), 2u);
  EXPECT_EQ(forward.slices[0].slot, 1);
  EXPECT_EQ(forward.slices[0].first_token, 2);
  EXPECT_EQ(forward.slices[1].slot, 0);
  EXPECT_EQ(forward.slices[1].first_row, 3);
  EXPECT_EQ(forward.slices[1].first_token, 7);
  EXPECT_EQ(forward.slices[1].segments.size(), 3u);
  EXPECT_TRUE(forward.closes.empty());
  ASSERT_EQ(batch.entries().size(), 2u);
  EXPECT_EQ(batch.entries()[0].turn, 5);
  EXPECT_EQ(batch.entries()[0].logits_index, -1);
  EXPECT_EQ(batch.entries()[0].num_scores, 3);
  EXPECT_EQ(batch.entries()[1].logits_index, 0);
  EXPECT_EQ(batch.entries()[1].num_scores, 0);
  EXPECT_EQ(reader.tokens_seen(), 5);
  EXPECT_EQ(writer.tokens_seen(), 8);
}

TEST(BatchTest, ClosesAStrideInTheStepThatFillsIt) {
  const CascadeGeometry geometry = SmallGeometry();
  CascadePlan plan(geometry, 2 + 16 + 3);  // the cache is full, one token lacks to the open stride
  const std::vector<int32_t> id = {1};
  Batch batch;
  batch.Add(0, 3, plan, id, true, {});
  ASSERT_EQ(batch.forward().closes.size(), 1u);
  EXPECT_EQ(batch.forward().closes[0].slot, 3);
  EXPECT_FALSE(batch.forward().closes[0].moves.empty());
  EXPECT_TRUE(batch.entries()[0].closed_stride);
  EXPECT_EQ(batch.entries()[0].evicted, 4);
  EXPECT_EQ(plan.open_tokens(), 0);
}

// The spans that the ops get point into vectors that grow meanwhile.
TEST(BatchTest, SpansStayValidForManySlices) {
  const CascadeGeometry geometry = SmallGeometry();
  Batch batch;
  const std::vector<int32_t> id = {1};
  for (int slot = 0; slot < 100; ++slot) {
    CascadePlan plan(geometry, 2 + slot);
    batch.Add(slot, slot, plan, id, false, {});
  }
  for (int slot = 0; slot < 100; ++slot) {
    CascadePlan plan(geometry, 2 + slot);
    std::vector<kernels::Segment> segments;
    plan.NextSlice(1, segments);
    const auto& got = batch.forward().slices[static_cast<size_t>(slot)].segments;
    ASSERT_EQ(got.size(), segments.size());
    for (size_t i = 0; i < segments.size(); ++i) EXPECT_EQ(got[i].count, segments[i].count) << slot;
  }
  batch.Clear();
  EXPECT_TRUE(batch.forward().ids.empty());
  EXPECT_TRUE(batch.entries().empty());
}

}  // namespace
}  // namespace cascade
