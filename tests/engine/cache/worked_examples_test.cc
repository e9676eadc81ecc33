// The worked examples and checksums of the cache's specification: by the reference and by the plan's integers.
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/cache/cascade_plan.h"
#include "tests/support/reference_policy.h"
#include "tests/support/replayed_cache.h"
#include "tests/support/sha1.h"

namespace cascade {
namespace {

using kernels::Selection;
using test::ReferenceCascade;
using test::ReferenceEntry;
using test::ReplayedHead;

CascadeGeometry Geometry(int num_sinks, std::vector<int> sub_cache_tokens, int stride, int group, Selection selection) {
  CascadeGeometry geometry;
  geometry.num_sinks = num_sinks;
  geometry.sub_cache_tokens = std::move(sub_cache_tokens);
  geometry.stride = stride;
  geometry.selection_group = group;
  geometry.selection = selection;
  return geometry;
}

using Measure = std::function<float(int64_t token)>;
// Moves the score of a resident (not of the stride that closes) when the stride-th stride closes.
using Fold = std::function<void(ReferenceEntry& entry, int64_t stride)>;

struct Outcome {
  std::string content;          // old to new, " ; " between sub-caches; open stride left out
  std::string append_indices;   // likewise
  std::vector<int64_t> tokens;  // old to new, open stride last
};

// Feeds `tokens` tokens in slices of up to 3 to the plan, and one by one to the reference; both must agree.
Outcome Replay(const CascadeGeometry& geometry, int64_t tokens, const Measure& score, const Measure& distinctness,
               const Fold& fold) {
  EXPECT_TRUE(geometry.Validate().ok()) << geometry.Validate();
  CascadePlan plan(geometry);
  ReplayedHead head(geometry);
  ReferenceCascade reference(geometry);
  std::vector<kernels::Segment> segments;
  std::vector<kernels::CloseMove> moves;
  while (plan.tokens_seen() < tokens) {
    const int count = static_cast<int>(std::min<int64_t>({3, plan.TokensUntilCut(), tokens - plan.tokens_seen()}));
    std::vector<float> scores;
    std::vector<float> distinct;
    for (int64_t t = plan.tokens_seen(); t < plan.tokens_seen() + count; ++t) {
      scores.push_back(score(t));
      distinct.push_back(distinctness(t));
      reference.Feed(scores.back(), distinct.back());
    }
    head.Append(plan.NextSlice(count, segments), scores, distinct);
    plan.Advance(count);
    if (!plan.StrideIsFull()) continue;
    const int64_t stride = plan.strides_closed();
    const auto fold_residents = [&](ReferenceEntry& entry) {
      if (entry.token < plan.tokens_seen() - geometry.stride) fold(entry, stride);
    };
    head.ForEach(fold_residents);
    reference.ForEach(fold_residents);
    head.Close(plan.CloseStride(moves), plan);
    reference.CloseStride();
  }
  EXPECT_EQ(head.fault(), "");

  Outcome outcome;
  const int n = geometry.num_sub_caches();
  for (int i = n - 1; i >= 0; --i) {
    std::string separator = i < n - 1 ? " ; " : "";
    for (const ReferenceEntry& entry : head.Ring(plan, i)) {
      outcome.content += separator + std::to_string(entry.token);
      outcome.append_indices += separator + std::to_string(entry.index);
      outcome.tokens.push_back(entry.token);
      separator = " ";
    }
  }
  EXPECT_EQ(outcome.content, reference.Content());
  for (const ReferenceEntry& entry : head.Ring(plan, n)) outcome.tokens.push_back(entry.token);
  return outcome;
}

const std::vector<CascadeGeometry>& Small() {
  static const auto& geometries = *new std::vector<CascadeGeometry>{
      Geometry(2, {8, 8}, 4, 1, Selection::kAttention), Geometry(2, {8, 4, 4}, 4, 1, Selection::kAttention),
      Geometry(2, {8, 8}, 4, 2, Selection::kAttention), Geometry(2, {8, 8}, 8, 4, Selection::kBoth),
      Geometry(2, {8, 8}, 8, 4, Selection::kDistinctness)};
  return geometries;
}

float SmallDistinctness(int64_t t) { return static_cast<float>((5 * t + 1) % 13); }
void KeepScores(ReferenceEntry&, int64_t) {}

constexpr char kNewest[] = " ; 50 51 52 53 54 55 56 57";

void ExpectOlder(const std::vector<std::string>& older, const Measure& score, const Measure& distinctness,
                 const Fold& fold) {
  for (size_t g = 0; g < Small().size(); ++g) {
    SCOPED_TRACE(Small()[g].ToString());
    const Outcome outcome = Replay(Small()[g], 61, score, distinctness, fold);
    EXPECT_EQ(outcome.content, older[g] + kNewest);
    const std::vector<int64_t> open(outcome.tokens.end() - 3, outcome.tokens.end());
    EXPECT_EQ(open, (std::vector<int64_t>{58, 59, 60}));
  }
}

TEST(WorkedExamplesTest, AStaticScores) {
  const Measure score = [](int64_t t) { return static_cast<float>((7 * t + 3) % 11); };
  ExpectOlder({"34 37 38 40 43 45 46 48", "26 32 34 40 ; 43 45 46 48", "34 37 38 40 43 45 46 48",
               "34 36 37 41 45 46 48 49", "35 36 38 41 43 46 48 49"},
              score, SmallDistinctness, KeepScores);
  const std::string two = "20 21 22 23 24 25 26 27 ; 48 49 50 51 52 53 54 55";
  const std::vector<std::string> indices = {two, "10 11 12 13 ; 24 25 26 27 ; 48 49 50 51 52 53 54 55", two, two, two};
  for (size_t g = 0; g < Small().size(); ++g) {
    EXPECT_EQ(Replay(Small()[g], 61, score, SmallDistinctness, KeepScores).append_indices, indices[g]);
  }
}

TEST(WorkedExamplesTest, BTiesGoToTheLaterToken) {
  const Measure zero = [](int64_t) { return 0.0f; };
  ExpectOlder({"35 37 39 41 43 45 47 49", "29 33 37 41 ; 43 45 47 49", "36 37 40 41 44 45 48 49",
               "38 39 40 41 46 47 48 49", "38 39 40 41 46 47 48 49"},
              zero, zero, KeepScores);
}

TEST(WorkedExamplesTest, CScoresDecayAndGrow) {
  ExpectOlder(
      {"35 37 38 40 43 45 47 48", "27 32 37 38 ; 43 45 47 48", "35 37 38 40 43 45 48 49", "36 38 40 41 45 46 48 49",
       "35 36 38 41 43 46 48 49"},
      [](int64_t t) { return static_cast<float>(3 * t % 5); }, SmallDistinctness,
      [](ReferenceEntry& entry, int64_t stride) {
        entry.score = 0.5f * entry.score + static_cast<float>((5 * entry.token + 3 * stride) % 7);
      });
}

struct Checksum {
  CascadeGeometry geometry;
  int64_t tokens;
  size_t entries;
  int64_t sum;
  std::vector<int64_t> first;
  std::string sha1;
};

std::vector<float> Draws(int64_t count, uint64_t x) {
  std::vector<float> draws;
  for (int64_t t = 0; t < count; ++t) {
    x = (1103515245 * x + 12345) % (uint64_t{1} << 31);
    draws.push_back(static_cast<float>((x >> 8) % 1000));
  }
  return draws;
}

TEST(WorkedExamplesTest, DChecksums) {
  const std::vector<Checksum> cases = {
      {Geometry(4, {64, 32, 16, 16}, 16, 2, Selection::kAttention),
       3001,
       133,
       386584,
       {2676, 2687, 2692, 2694, 2711},
       "2153c7f02bd8"},
      {Geometry(4, {512, 512, 512, 512}, 512, 64, Selection::kBoth),
       20000,
       2076,
       36612092,
       {12300, 12304, 12306, 12317, 12326},
       "8ce71c74c23f"},
      {Geometry(4, {512, 256, 128, 128}, 256, 16, Selection::kBoth),
       20000,
       1052,
       20256703,
       {17412, 17422, 17423, 17427, 17434},
       "d4e4316d29fc"},
      {Geometry(4, std::vector<int>(8, 128), 128, 1, Selection::kAttention),
       20000,
       1052,
       15534366,
       {173, 174, 176, 178, 180},
       "88597bbc9bb3"},
      {Geometry(4, {32}, 16, 16, Selection::kBoth), 500, 32, 15472, {468, 469, 470, 471, 472}, "d4f113884abf"},
      {Geometry(0, {64, 64}, 32, 8, Selection::kDistinctness),
       3000,
       152,
       442304,
       {2785, 2787, 2788, 2790, 2791},
       "c02f1551b475"},
  };
  for (const Checksum& want : cases) {
    SCOPED_TRACE(want.geometry.ToString());
    const std::vector<float> scores = Draws(want.tokens, 12345);
    const std::vector<float> distinctness = Draws(want.tokens, 54321);
    const Outcome outcome = Replay(
        want.geometry, want.tokens, [&](int64_t t) { return scores[t]; }, [&](int64_t t) { return distinctness[t]; },
        KeepScores);
    EXPECT_EQ(outcome.tokens.size(), want.entries);
    int64_t sum = 0;
    std::string ids;
    for (const int64_t token : outcome.tokens) {
      sum += token;
      if (!ids.empty()) ids += ',';
      ids += std::to_string(token);
    }
    EXPECT_EQ(sum, want.sum);
    EXPECT_EQ(std::vector<int64_t>(outcome.tokens.begin(), outcome.tokens.begin() + 5), want.first);
    EXPECT_EQ(test::Sha1(ids).substr(0, 12), want.sha1);
  }
}

TEST(WorkedExamplesTest, Sha1OfTheStandard) {
  EXPECT_EQ(test::Sha1("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(test::Sha1(""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
}

}  // namespace
}  // namespace cascade
