// The plan's integers, executed on plain arrays, against the reference bookkeeping: random geometries, token by token.
#include "engine/cache/cascade_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "tests/support/paper_policy.h"
#include "tests/support/random_geometry.h"
#include "tests/support/reference_policy.h"
#include "tests/support/replayed_cache.h"

namespace cascade {
namespace {

using test::Pick;
using test::RandomGeometry;
using test::ReferenceCascade;
using test::ReferenceEntry;
using test::ReplayedHead;

// Scores are a function of the token, and move before each close by a function of token and stride: so two runs with
// different slices see the same numbers.
float FirstScore(int64_t token) { return static_cast<float>(token * 7919 % 10); }
float Distinctness(int64_t token) { return static_cast<float>(token * 104729 % 11); }
void Fold(ReferenceEntry& entry, int64_t stride) {
  entry.score = entry.score * 0.5f + static_cast<float>((7 * entry.token + 3 * stride) % 5);
}

// A plan, the head that executes it and the reference, fed together.
class Trio {
 public:
  explicit Trio(const CascadeGeometry& geometry)
      : geometry_(geometry), plan_(geometry_), head_(geometry_), reference_(geometry_) {}

  // Feeds one slice of `count` <= TokensUntilCut() tokens; closes the stride if it became full.
  void Feed(int count, bool check_positions) {
    std::vector<kernels::Segment> segments;
    const kernels::Slice slice = plan_.NextSlice(count, segments);
    ASSERT_EQ(slice.first_token, plan_.tokens_seen());
    ASSERT_EQ(slice.num_rows, count);
    std::vector<float> scores;
    std::vector<float> distinctness;
    for (int j = 0; j < count; ++j) {
      scores.push_back(FirstScore(slice.first_token + j));
      distinctness.push_back(Distinctness(slice.first_token + j));
    }
    head_.Append(slice, scores, distinctness);
    ASSERT_EQ(head_.fault(), "");
    for (int j = 0; j < count; ++j) {
      reference_.Feed(scores[j], distinctness[j]);
      if (check_positions) CheckRow(slice, j);
    }
    plan_.Advance(count);
    ASSERT_EQ(plan_.StrideIsFull(), reference_.StrideIsFull());
    if (plan_.StrideIsFull()) Close();
    ASSERT_EQ(plan_.tokens_seen(), reference_.tokens_seen());
    ASSERT_EQ(plan_.tokens_evicted(), reference_.evicted());
  }

  void Close() {
    const int64_t stride = plan_.strides_closed();
    head_.ForEach([&](ReferenceEntry& entry) { Fold(entry, stride); });
    reference_.ForEach([&](ReferenceEntry& entry) { Fold(entry, stride); });
    const bool was_full = plan_.tokens_resident() == geometry_.slots();
    std::vector<kernels::CloseMove> moves;
    const kernels::Close close = plan_.CloseStride(moves);
    head_.Close(close, plan_);
    ASSERT_EQ(head_.fault(), "");
    reference_.CloseStride();
    ASSERT_EQ(plan_.strides_closed(), stride + 1);
    int rows = 0;
    for (const kernels::CloseMove& move : moves) rows += move.select ? move.count / 2 : move.count;
    if (was_full) {
      ASSERT_LT(rows, geometry_.stride);
    } else {
      ASSERT_EQ(plan_.tokens_evicted(), 0) << "attention is dense until the cache is full";
    }
    CheckContent();
  }

  void CheckContent() const {
    const int n = geometry_.num_sub_caches();
    for (int i = 0; i <= n; ++i) {
      const std::vector<ReferenceEntry> got = head_.Ring(plan_, i);
      const std::vector<ReferenceEntry>& want = i < n ? reference_.sub_cache(i) : reference_.open();
      if (i < n) {
        ASSERT_EQ(plan_.appended(i), reference_.appended(i));
        ASSERT_EQ(plan_.resident(i), static_cast<int>(want.size()));
      }
      ASSERT_EQ(got.size(), want.size());
      for (size_t e = 0; e < got.size(); ++e) {
        ASSERT_EQ(got[e].token, want[e].token) << "sub-cache " << i << " entry " << e;
        ASSERT_EQ(got[e].index, want[e].index);
        ASSERT_EQ(got[e].score, want[e].score);
        ASSERT_EQ(got[e].distinctness, want[e].distinctness);
      }
    }
  }

  // Row j of the slice, just fed to the reference as its newest token: it sees every sink and resident, and each
  // difference of RoPE positions is that of the cache positions.
  void CheckRow(const kernels::Slice& slice, int j) const {
    const int n = geometry_.num_sub_caches();
    const std::vector<ReferenceEntry> residents = reference_.Residents();
    const int64_t query = reference_.sinks() + static_cast<int64_t>(residents.size()) - 1;  // cache position
    const std::vector<ReferenceEntry> sinks = head_.Seen(slice, 0, j);
    ASSERT_EQ(static_cast<int>(sinks.size()), reference_.sinks());
    for (size_t e = 0; e < sinks.size(); ++e) {
      ASSERT_EQ(sinks[e].token, static_cast<int64_t>(e));
      ASSERT_EQ(slice.segments[0].query_position + j - sinks[e].index, query - static_cast<int64_t>(e));
    }
    if (slice.sinks) {
      for (int i = 1; i <= n; ++i) ASSERT_TRUE(head_.Seen(slice, i, j).empty());
      return;
    }
    size_t rank = 0;
    for (int i = n - 1; i >= 0; --i) {
      const int64_t query_index = slice.segments[i + 1].query_position + j;
      ASSERT_EQ(query_index, reference_.QueryIndex(i, slice.open_place + j));
      for (const ReferenceEntry& entry : head_.Seen(slice, i + 1, j)) {
        ASSERT_LT(rank, residents.size());
        ASSERT_EQ(entry.token, residents[rank].token);
        ASSERT_EQ(entry.index, residents[rank].index);
        ASSERT_EQ(query_index - entry.index, query - reference_.sinks() - static_cast<int64_t>(rank));
        ++rank;
      }
    }
    ASSERT_EQ(rank, residents.size());
  }

  const CascadePlan& plan() const { return plan_; }
  const ReplayedHead& head() const { return head_; }
  const ReferenceCascade& reference() const { return reference_; }

 private:
  const CascadeGeometry geometry_;
  CascadePlan plan_;
  ReplayedHead head_;
  ReferenceCascade reference_;
};

void ExpectSamePlan(const CascadePlan& a, const CascadePlan& b, const CascadeGeometry& geometry) {
  ASSERT_EQ(a.tokens_seen(), b.tokens_seen());
  ASSERT_EQ(a.sinks(), b.sinks());
  ASSERT_EQ(a.open_tokens(), b.open_tokens());
  ASSERT_EQ(a.strides_closed(), b.strides_closed());
  ASSERT_EQ(a.tokens_resident(), b.tokens_resident());
  ASSERT_EQ(a.TokensUntilCut(), b.TokensUntilCut());
  for (int i = 0; i < geometry.num_sub_caches(); ++i) {
    ASSERT_EQ(a.resident(i), b.resident(i));
    ASSERT_EQ(a.appended(i), b.appended(i));
  }
}

TEST(CascadePlanTest, TokenByTokenEqualsTheReferenceOnRandomGeometries) {
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    const CascadeGeometry geometry = RandomGeometry(random, Pick(random, {1, 2, 3, 4}));
    SCOPED_TRACE(geometry.ToString());
    ASSERT_TRUE(geometry.Validate().ok()) << geometry.Validate();
    Trio trio(geometry);
    const int tokens = geometry.slots() + static_cast<int>(random() % (4 * geometry.slots()));
    for (int t = 0; t < tokens; ++t) {
      trio.Feed(1, /*check_positions=*/random() % 8 == 0);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(CascadePlanTest, ManySubCaches) {
  std::mt19937 random(2);
  for (int n = 5; n <= 8; ++n) {
    for (int round = 0; round < 10; ++round) {
      const CascadeGeometry geometry = RandomGeometry(random, n);
      SCOPED_TRACE(geometry.ToString());
      ASSERT_TRUE(geometry.Validate().ok()) << geometry.Validate();
      Trio trio(geometry);
      const int tokens = 4 * geometry.slots();
      while (trio.plan().tokens_seen() < tokens) {
        trio.Feed(std::min(trio.plan().TokensUntilCut(), 1 + static_cast<int>(random() % 40)), random() % 16 == 0);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(CascadePlanTest, AnySlicingGivesTheSameState) {
  std::mt19937 random(3);
  for (int round = 0; round < 1000; ++round) {
    const CascadeGeometry geometry = RandomGeometry(random, Pick(random, {1, 2, 3, 4}));
    SCOPED_TRACE(geometry.ToString());
    Trio single(geometry);
    Trio sliced(geometry);
    const int64_t tokens = 1 + static_cast<int64_t>(random() % (4 * geometry.slots()));
    for (int64_t t = 0; t < tokens; ++t) single.Feed(1, false);
    while (sliced.plan().tokens_seen() < tokens) {
      const int64_t most = std::min<int64_t>(sliced.plan().TokensUntilCut(), tokens - sliced.plan().tokens_seen());
      sliced.Feed(1 + static_cast<int>(random() % most), true);
      if (HasFatalFailure()) return;
    }
    if (HasFatalFailure()) return;
    ExpectSamePlan(single.plan(), sliced.plan(), geometry);
    sliced.CheckContent();
    const kernels::HeadContents a = single.head().Contents();
    const kernels::HeadContents b = sliced.head().Contents();
    ASSERT_EQ(a.tokens, b.tokens);  // slot by slot, stale ones included
    ASSERT_EQ(a.scores, b.scores);
    ASSERT_EQ(a.distinctness, b.distinctness);
  }
}

TEST(CascadePlanTest, MadeAtAnyTokenItEqualsTheOneThatCameThere) {
  std::mt19937 random(4);
  for (int round = 0; round < 300; ++round) {
    const CascadeGeometry geometry = RandomGeometry(random, 1 + round % 8);
    SCOPED_TRACE(geometry.ToString());
    CascadePlan stepped(geometry);
    std::vector<kernels::CloseMove> moves;
    const int64_t tokens = 3 * geometry.slots();
    for (int64_t t = 0; t <= tokens; ++t) {
      ExpectSamePlan(CascadePlan(geometry, t), stepped, geometry);
      if (HasFatalFailure()) return;
      std::vector<kernels::Segment> a;
      std::vector<kernels::Segment> b;
      const kernels::Slice made = CascadePlan(geometry, t).NextSlice(1, a);
      const kernels::Slice came = stepped.NextSlice(1, b);
      ASSERT_EQ(made.write_slot, came.write_slot);
      for (size_t i = 0; i < a.size(); ++i) {
        ASSERT_EQ(a[i].first_slot, b[i].first_slot);
        ASSERT_EQ(a[i].count, b[i].count);
        ASSERT_EQ(a[i].query_position, b[i].query_position);
      }
      stepped.Advance(1);
      if (stepped.StrideIsFull()) stepped.CloseStride(moves);
    }
  }
}

TEST(CascadePlanTest, TenMillionTokensKeepTheCounts) {
  const CascadeGeometry geometry = *MakeGeometry({.cache_tokens = 4096}, 8192);
  const int64_t tokens = 4 + 10'000'000;
  CascadePlan plan(geometry, tokens);
  EXPECT_EQ(plan.tokens_seen(), tokens);
  EXPECT_EQ(plan.tokens_resident(), 4 + 4096 + 10'000'000 % geometry.stride);
  EXPECT_EQ(plan.strides_closed(), 10'000'000 / geometry.stride);
  EXPECT_EQ(plan.appended(0), 10'000'000 / geometry.stride * geometry.stride);
}

// A steady close: one move per older sub-cache, the oldest blocks, from the oldest sub-cache on.
TEST(CascadePlanTest, ASteadyCloseMovesWholeAlignedBlocks) {
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    const CascadeGeometry geometry = RandomGeometry(random, 1 + round % 6);
    SCOPED_TRACE(geometry.ToString());
    const int n = geometry.num_sub_caches();
    CascadePlan plan(geometry, geometry.num_sinks + geometry.cache_tokens() + 5 * geometry.stride);
    plan.Advance(geometry.stride);
    std::vector<kernels::CloseMove> moves;
    plan.CloseStride(moves);
    ASSERT_EQ(static_cast<int>(moves.size()), n - 1);
    for (int m = 0; m < n - 1; ++m) {
      const kernels::CloseMove& move = moves[m];
      const int to = n - 1 - m;
      EXPECT_EQ(move.to_ring, to);
      EXPECT_EQ(move.from_ring, to - 1);
      EXPECT_TRUE(move.select);
      EXPECT_EQ(move.count, geometry.stride >> (to - 1));
      EXPECT_EQ(move.from_index % move.count, 0);
      EXPECT_EQ(move.to_index % (move.count / 2), 0);
    }
  }
}

TEST(CascadePlanTest, HeldTokensAreChronological) {
  std::mt19937 random(6);
  for (int round = 0; round < 300; ++round) {
    const CascadeGeometry geometry = RandomGeometry(random, 1 + round % 5);
    SCOPED_TRACE(geometry.ToString());
    Trio trio(geometry);
    const int64_t tokens = 1 + static_cast<int64_t>(random() % (4 * geometry.slots()));
    for (int64_t t = 0; t < tokens; ++t) trio.Feed(1, false);
    const std::vector<HeldToken> held = HeldTokens(geometry, trio.plan(), trio.head().Contents());
    ASSERT_EQ(static_cast<int64_t>(held.size()), trio.plan().tokens_resident());
    const std::vector<ReferenceEntry> residents = trio.reference().Residents();
    for (size_t e = 0; e < held.size(); ++e) {
      if (e > 0) {
        ASSERT_GT(held[e].token, held[e - 1].token);
      }
      const int sinks = trio.plan().sinks();
      if (static_cast<int>(e) < sinks) {
        ASSERT_EQ(held[e].sub_cache, -1);
        ASSERT_EQ(held[e].score, 0.0f);
        continue;
      }
      ASSERT_EQ(held[e].token, residents[e - sinks].token);
      ASSERT_EQ(held[e].score, residents[e - sinks].score);
    }
  }
}

TEST(CascadePlanTest, GroupsOfOneByAttentionAreThePapersPolicy) {
  std::mt19937 random(7);
  for (int round = 0; round < 400; ++round) {
    CascadeGeometry geometry;
    const int n = Pick(random, {1, 2, 3, 4});
    geometry.num_sinks = Pick(random, {0, 1, 4});
    geometry.stride = (1 << (n - 1)) * Pick(random, {1, 2, 3});
    const int width = geometry.stride * Pick(random, {1, 2, 3});
    geometry.sub_cache_tokens.assign(n, width);
    geometry.selection_group = 1;
    geometry.selection = kernels::Selection::kAttention;
    SCOPED_TRACE(geometry.ToString());

    test::PaperCascade paper(geometry.num_sinks, n, width);
    CascadePlan plan(geometry);
    ReplayedHead head(geometry);
    std::vector<kernels::Segment> segments;
    std::vector<kernels::CloseMove> moves;
    const int strides = (n * width << n) / geometry.stride * 2 + 3;
    const int64_t tokens = geometry.num_sinks + static_cast<int64_t>(strides) * geometry.stride;
    for (int64_t t = 0; t < tokens; ++t) {
      const float score = static_cast<float>(random() % 6);
      const float distinctness = static_cast<float>(random() % 6);  // must not matter
      head.Append(plan.NextSlice(1, segments), {&score, 1}, {&distinctness, 1});
      plan.Advance(1);
      if (!plan.StrideIsFull()) continue;
      const auto fold = [&](auto& entry) {
        entry.score = entry.score * 0.5f + static_cast<float>((7 * entry.token + t) % 5);
      };
      head.ForEach(fold);
      paper.ForEach(fold);
      for (const ReferenceEntry& entry : head.Ring(plan, n)) paper.Insert(entry.token, entry.score);
      head.Close(plan.CloseStride(moves), plan);
      ASSERT_EQ(head.fault(), "");
    }
    std::vector<int64_t> held;
    for (int i = n - 1; i >= 0; --i) {
      for (const ReferenceEntry& entry : head.Ring(plan, i)) held.push_back(entry.token);
    }
    ASSERT_EQ(held, paper.Tokens());
  }
}

}  // namespace
}  // namespace cascade
