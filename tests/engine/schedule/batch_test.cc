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
  Batch batch(100);
  kernels::SampleRequest request;
  request.top_k = 7;
  batch.Add(6, 3, writer, sampled, &request, {});
  batch.Add(5, 1, reader, ids, nullptr, targets);

  const ForwardBatch& forward = batch.forward();
  EXPECT_THAT(forward.ids, ElementsAre(20, 10, 11, 12));
  EXPECT_EQ(forward.vocabulary, 100);
  EXPECT_THAT(forward.sample_rows, ElementsAre(0));
  ASSERT_EQ(forward.samples.size(), 1u);
  EXPECT_EQ(forward.samples[0].slot, 3);
  EXPECT_EQ(forward.samples[0].top_k, 7);
  EXPECT_THAT(forward.logit_rows, ElementsAre());
  EXPECT_THAT(forward.score_rows, ElementsAre(1, 2, 3));
  EXPECT_THAT(forward.score_targets, ElementsAre(11, 12, 13));
  ASSERT_EQ(forward.slices.size(), 2u);
  EXPECT_EQ(forward.slices[0].slot, 3);
  EXPECT_EQ(forward.slices[0].first_token, 7);
  EXPECT_EQ(forward.slices[1].slot, 1);
  EXPECT_EQ(forward.slices[1].first_row, 1);
  EXPECT_EQ(forward.slices[1].first_token, 2);
  EXPECT_EQ(forward.slices[1].segments.size(), 3u);
  EXPECT_TRUE(forward.closes.empty());
  ASSERT_EQ(batch.entries().size(), 2u);
  EXPECT_EQ(batch.entries()[0].turn, 6);
  EXPECT_EQ(batch.entries()[0].sample, 0);
  EXPECT_EQ(batch.entries()[0].num_scores, 0);
  EXPECT_EQ(batch.entries()[1].turn, 5);
  EXPECT_EQ(batch.entries()[1].sample, -1);
  EXPECT_EQ(batch.entries()[1].num_scores, 3);
  EXPECT_EQ(reader.tokens_seen(), 5);
  EXPECT_EQ(writer.tokens_seen(), 8);
}

TEST(BatchTest, LogitsOfSomeRows) {
  const CascadeGeometry geometry = SmallGeometry();
  CascadePlan first(geometry, 7), second(geometry, 2), third(geometry, 2);
  const std::vector<int32_t> one = {20}, three = {10, 11, 12};
  kernels::SampleRequest request;
  Batch batch(100);
  batch.Add(6, 3, first, one, &request, {}, {0, 1, true});
  batch.Add(7, 4, second, three, nullptr, {}, {3, 3, false});
  batch.Add(8, 5, third, three, nullptr, {}, {1, 3, true});
  EXPECT_THAT(batch.forward().logit_rows, ElementsAre(0, 5, 6));
  EXPECT_THAT(batch.forward().sample_rows, ElementsAre(0));
  EXPECT_TRUE(batch.entries()[0].samples_on_host);
  EXPECT_EQ(batch.entries()[1].num_logits, 0);
  EXPECT_FALSE(batch.entries()[1].samples_on_host);
  EXPECT_EQ(batch.entries()[2].first_logits, 1);
  EXPECT_EQ(batch.entries()[2].num_logits, 2);
}

TEST(BatchTest, ClosesAStrideInTheStepThatFillsIt) {
  const CascadeGeometry geometry = SmallGeometry();
  CascadePlan plan(geometry, 2 + 16 + 3);  // the cache is full, one token lacks to the open stride
  const std::vector<int32_t> id = {1};
  Batch batch(10);
  batch.Add(0, 3, plan, id, nullptr, {});
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
  Batch batch(10);
  const std::vector<int32_t> id = {1};
  for (int slot = 0; slot < 100; ++slot) {
    CascadePlan plan(geometry, 2 + slot);
    batch.Add(slot, slot, plan, id, nullptr, {});
  }
  const Batch moved = std::move(batch);
  for (int slot = 0; slot < 100; ++slot) {
    CascadePlan plan(geometry, 2 + slot);
    std::vector<kernels::Segment> segments;
    plan.NextSlice(1, segments);
    const auto& got = moved.forward().slices[static_cast<size_t>(slot)].segments;
    ASSERT_EQ(got.size(), segments.size());
    for (size_t i = 0; i < segments.size(); ++i) EXPECT_EQ(got[i].count, segments[i].count) << slot;
  }
}

}  // namespace
}  // namespace cascade
