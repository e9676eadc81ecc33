#include "engine/session/prefix_cache.h"

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>

#include "engine/base/token_digest.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cascade {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

using Ids = std::vector<int32_t>;

class Scores final : public kernels::HostMemory {
 public:
  std::span<std::byte> bytes() override { return {}; }
};

// `count` ids from `first` on.
Ids Count(int32_t first, int count) {
  Ids ids(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) ids[static_cast<size_t>(i)] = first + i;
  return ids;
}

Ids Join(Ids a, const Ids& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Prefix Entry(Ids ids, int slot, int64_t mark = 0, const std::string& tenant = "") {
  Prefix prefix;
  prefix.tenant = tenant;
  prefix.digest = ExtendTokenDigest(0, ids);
  prefix.slot = slot;
  if (mark > 0) {
    prefix.mark = mark;
    prefix.mark_digest = ExtendTokenDigest(0, std::span<const int32_t>(ids).first(static_cast<size_t>(mark)));
    prefix.mark_scores = std::make_shared<Scores>();
  }
  prefix.ids = std::move(ids);
  return prefix;
}

class PrefixCacheTest : public ::testing::Test {
 protected:
  uint64_t Insert(Prefix prefix) { return cache_.Insert(std::move(prefix), free_); }
  std::optional<PrefixStart> Begin(const Ids& ids, const std::string& tenant = "") {
    const DigestTrail digests(ids);
    return cache_.Begin({tenant, ids, digests}, free_);
  }
  bool Touch(const Ids& ids) {
    const DigestTrail digests(ids);
    return cache_.Touch({"", ids, digests});
  }

  PrefixCache cache_{10000};
  std::vector<int> free_;
};

TEST(DigestTrail, IsTheDigestOfEveryBegin) {
  for (const int count : {0, 1, 15, 16, 17, 32, 100}) {
    const Ids ids = Count(7, count);
    const DigestTrail trail(ids);
    for (size_t length = 0; length <= ids.size(); ++length) {
      EXPECT_EQ(trail.At(ids, length), ExtendTokenDigest(0, std::span<const int32_t>(ids).first(length)));
    }
  }
}

TEST_F(PrefixCacheTest, OnlyAPromptThatBeginsWithAllOfItAndGoesOnFindsAnEntry) {
  Insert(Entry(Count(0, 40), 3));
  EXPECT_FALSE(Begin(Count(0, 39)).has_value());  // shorter
  EXPECT_FALSE(Begin(Count(0, 40)).has_value());  // nothing is left to feed
  EXPECT_FALSE(Begin(Join(Count(0, 39), {7, 8})).has_value());
  EXPECT_FALSE(Begin(Join(Count(1, 40), {7, 8})).has_value());
  EXPECT_EQ(cache_.size(), 1);
  const auto start = Begin(Count(0, 41));
  ASSERT_TRUE(start.has_value());
  EXPECT_EQ(start->slot, 3);
  EXPECT_EQ(start->from, -1);
  EXPECT_EQ(start->tokens, 40);
  EXPECT_EQ(start->digest, ExtendTokenDigest(0, Count(0, 40)));
  EXPECT_EQ(start->scores, nullptr);
  EXPECT_EQ(cache_.size(), 0);
  EXPECT_EQ(cache_.ids(), 0);
}

TEST_F(PrefixCacheTest, TheLongestIsFound) {
  Insert(Entry(Count(0, 40), 1));
  Insert(Entry(Count(0, 60), 2));
  Insert(Entry(Count(0, 50), 3));
  Insert(Entry(Count(0, 90), 4));
  const auto start = Begin(Count(0, 80));
  ASSERT_TRUE(start.has_value());
  EXPECT_EQ(start->slot, 2);
  EXPECT_EQ(start->tokens, 60);
}

TEST_F(PrefixCacheTest, TenantsAreApart) {
  Insert(Entry(Count(0, 40), 1, 0, "a"));
  EXPECT_FALSE(Begin(Count(0, 50)).has_value());
  EXPECT_FALSE(Begin(Count(0, 50), "b").has_value());
  Insert(Entry(Count(0, 40), 2, 0, "b"));  // and is no repetition
  EXPECT_EQ(cache_.size(), 2);
  EXPECT_EQ(Begin(Count(0, 50), "b")->slot, 2);
  EXPECT_EQ(Begin(Count(0, 50), "a")->slot, 1);
}

TEST_F(PrefixCacheTest, AMarkIsAnotherPlaceOfAnEntry) {
  Insert(Entry(Count(0, 60), 1, 40));
  const auto other = Begin(Join(Count(0, 45), {7}));
  ASSERT_TRUE(other.has_value());
  EXPECT_EQ(other->tokens, 40);
  EXPECT_NE(other->scores, nullptr);
  EXPECT_EQ(other->digest, ExtendTokenDigest(0, Count(0, 40)));

  Insert(Entry(Count(0, 60), 1, 40));
  const auto same = Begin(Count(0, 41));  // the prompt that it was made from
  ASSERT_TRUE(same.has_value());
  EXPECT_EQ(same->tokens, 40);

  Insert(Entry(Count(0, 60), 1, 40));
  const auto grown = Begin(Count(0, 70));
  ASSERT_TRUE(grown.has_value());
  EXPECT_EQ(grown->tokens, 60);
  EXPECT_EQ(grown->scores, nullptr);
}

TEST_F(PrefixCacheTest, MarksThatAreOfNoUseAreDropped) {
  Insert(Entry(Count(0, 60), 1, kMinPrefixTokens - 1));
  Insert(Entry(Count(100, 60), 2, 60));
  Prefix without_scores = Entry(Count(200, 60), 3, 40);
  without_scores.mark_scores.reset();
  Insert(std::move(without_scores));
  EXPECT_FALSE(Begin(Count(0, 60)).has_value());
  EXPECT_FALSE(Begin(Count(100, 60)).has_value());
  EXPECT_FALSE(Begin(Count(200, 60)).has_value());
  EXPECT_EQ(cache_.size(), 3);
}

TEST_F(PrefixCacheTest, ShortOnesAreNotKept) {
  EXPECT_EQ(Insert(Entry(Count(0, kMinPrefixTokens - 1), 1)), 0u);
  EXPECT_THAT(free_, ElementsAre(1));
  EXPECT_NE(Insert(Entry(Count(0, kMinPrefixTokens), 2)), 0u);
  EXPECT_THAT(free_, ElementsAre(1));
}

TEST_F(PrefixCacheTest, WithAFreeSlotItIsCopiedAndSpent) {
  Insert(Entry(Count(0, 40), 1));
  Insert(Entry(Count(1000, 40), 2));
  free_ = {5};
  const auto start = Begin(Count(0, 50));
  ASSERT_TRUE(start.has_value());
  EXPECT_EQ(start->slot, 5);
  EXPECT_EQ(start->from, 1);
  EXPECT_THAT(free_, IsEmpty());
  EXPECT_EQ(cache_.size(), 2);
  // It goes first, although the other one was not used since.
  EXPECT_EQ(cache_.Evict(), 1);
  EXPECT_EQ(cache_.Evict(), 2);
  EXPECT_EQ(cache_.Evict(), std::nullopt);
}

TEST_F(PrefixCacheTest, SpentOnesGiveTheirSlotsForCopies) {
  Insert(Entry(Count(0, 40), 1));
  Insert(Entry(Count(1000, 40), 2));
  free_ = {5};
  Begin(Count(0, 50));
  const auto start = Begin(Count(1000, 50));
  ASSERT_TRUE(start.has_value());
  EXPECT_EQ(start->slot, 1);
  EXPECT_EQ(start->from, 2);
  // The only other one is not spent: this one is taken.
  Insert(Entry(Count(0, 60), 7));
  const auto taken = Begin(Count(0, 70));
  ASSERT_TRUE(taken.has_value());
  EXPECT_EQ(taken->from, 7);
  EXPECT_EQ(taken->slot, 2);
  const auto last = Begin(Count(0, 65));
  ASSERT_TRUE(last.has_value());
  EXPECT_EQ(last->slot, 7);
  EXPECT_EQ(last->from, -1);
  EXPECT_EQ(cache_.size(), 0);
}

TEST_F(PrefixCacheTest, WhatManyShareStays) {
  Insert(Entry(Count(0, 40), 1));
  Insert(Entry(Count(1000, 40), 2));
  Insert(Entry(Count(2000, 40), 3));
  free_ = {5};
  EXPECT_EQ(Begin(Count(0, 50))->slot, 5);
  const auto second = Begin(Count(0, 60));
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->from, 1);
  EXPECT_EQ(second->slot, 2);  // of those used longest ago
  EXPECT_EQ(Begin(Count(0, 60))->slot, 3);
  // Alone, it is taken after all.
  const auto last = Begin(Count(0, 60));
  ASSERT_TRUE(last.has_value());
  EXPECT_EQ(last->slot, 1);
  EXPECT_EQ(last->from, -1);
}

TEST_F(PrefixCacheTest, ASiblingIsSpentWithIt) {
  Insert(Entry(Count(1000, 40), 3));
  const uint64_t mark = Insert(Entry(Count(0, 40), 1));
  Prefix whole = Entry(Count(0, 60), 2);
  whole.sibling = mark;
  Insert(std::move(whole));
  EXPECT_EQ(Begin(Count(0, 70))->slot, 2);  // taken: there was no slot for a copy
  EXPECT_EQ(cache_.Evict(), 1);             // although another was used longer ago

  const uint64_t again = Insert(Entry(Count(0, 40), 1));
  whole = Entry(Count(0, 60), 2);
  whole.sibling = again;
  Insert(std::move(whole));
  EXPECT_EQ(Begin(Join(Count(0, 40), {7}))->slot, 1);
  EXPECT_EQ(cache_.Evict(), 2);
  EXPECT_EQ(cache_.Evict(), 3);
}

TEST_F(PrefixCacheTest, TheSameIdsAreKeptOnce) {
  Insert(Entry(Count(0, 60), 1));
  Insert(Entry(Count(0, 60), 2, 40));
  EXPECT_THAT(free_, ElementsAre(1));
  EXPECT_EQ(cache_.size(), 1);
  EXPECT_EQ(cache_.ids(), 60);
  EXPECT_TRUE(Touch(Count(0, 60)));
  EXPECT_FALSE(Touch(Count(0, 40)));  // a mark goes with its entry
  EXPECT_FALSE(Touch(Count(0, 50)));
}

TEST_F(PrefixCacheTest, TouchedOnesGoLater) {
  Insert(Entry(Count(0, 40), 1));
  Insert(Entry(Count(1000, 40), 2));
  EXPECT_TRUE(Touch(Count(0, 40)));
  EXPECT_EQ(cache_.Evict(), 2);
}

TEST_F(PrefixCacheTest, IdsAreBounded) {
  Insert(Entry(Count(0, 4000), 1));
  Insert(Entry(Count(10000, 4000), 2));
  Insert(Entry(Count(20000, 4000), 3));
  EXPECT_THAT(free_, ElementsAre(1));
  EXPECT_EQ(cache_.ids(), 8000);
  EXPECT_EQ(Insert(Entry(Count(0, 10001), 4)), 0u);
  EXPECT_THAT(free_, ElementsAre(1, 4));
  Insert(Entry(Count(0, 10000), 5));
  EXPECT_THAT(free_, UnorderedElementsAre(1, 2, 3, 4));
  EXPECT_EQ(cache_.size(), 1);
}

TEST_F(PrefixCacheTest, ClearedItGivesAllSlots) {
  Insert(Entry(Count(0, 60), 1, 40));
  Insert(Entry(Count(1000, 60), 2));
  cache_.Clear(free_);
  EXPECT_THAT(free_, UnorderedElementsAre(1, 2));
  EXPECT_EQ(cache_.size(), 0);
  EXPECT_FALSE(Begin(Count(0, 70)).has_value());
}

// The digest is not cryptographic: other ids may have the same one.
TEST_F(PrefixCacheTest, IdsAreComparedAndNotTheirDigestsAlone) {
  Ids a = Count(0, 40);
  Insert(Entry(a, 1));
  Prefix forged = Entry(Count(500, 40), 2);
  forged.digest = ExtendTokenDigest(0, a);
  Insert(std::move(forged));
  EXPECT_EQ(cache_.size(), 2);
  EXPECT_EQ(Begin(Join(a, {1, 2}))->slot, 1);
  EXPECT_FALSE(Begin(Join(a, {1, 2})).has_value());
}

// Against a list that is looked through: what is found is the longest there is, no slot is lost or used twice.
TEST_F(PrefixCacheTest, RandomScript) {
  std::mt19937 rng(5);
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(rng); };
  constexpr int kSlots = 12;
  for (int slot = 0; slot < kSlots; ++slot) free_.push_back(slot);
  std::map<int, Prefix> held;  // by slot
  int found = 0;
  // Few branches, so that prompts have much in common.
  const auto prompt = [&] {
    Ids ids;
    const int count = pick(20, 120);
    for (int i = 0; i < count; ++i) ids.push_back(i % 25 == 24 ? pick(0, 1) : i);
    return ids;
  };
  for (int round = 0; round < 20000; ++round) {
    const std::string tenant = pick(0, 9) == 0 ? "t" : "";
    const Ids ids = prompt();
    int64_t longest = 0;
    for (const auto& [slot, prefix] : held) {
      const auto begins = [&](int64_t length) {
        return length >= kMinPrefixTokens && length < static_cast<int64_t>(ids.size()) && prefix.tenant == tenant &&
               std::equal(prefix.ids.begin(), prefix.ids.begin() + length, ids.begin());
      };
      const auto whole = static_cast<int64_t>(prefix.ids.size());
      if (begins(whole)) longest = std::max(longest, whole);
      if (prefix.mark > 0 && begins(prefix.mark)) longest = std::max(longest, prefix.mark);
    }
    const DigestTrail digests(ids);
    std::optional<PrefixStart> start = cache_.Begin({tenant, ids, digests}, free_);
    ASSERT_EQ(start.has_value(), longest > 0);
    int slot = -1;
    if (start.has_value()) {
      ++found;
      ASSERT_EQ(start->tokens, longest);
      ASSERT_EQ(start->digest, ExtendTokenDigest(0, std::span<const int32_t>(ids).first(static_cast<size_t>(longest))));
      slot = start->slot;
      if (start->from >= 0) {
        ASSERT_NE(start->from, slot);
        ASSERT_TRUE(std::equal(ids.begin(), ids.begin() + longest, held.at(start->from).ids.begin()));
      } else {
        ASSERT_TRUE(std::equal(ids.begin(), ids.begin() + longest, held.at(slot).ids.begin()));
      }
    } else if (!free_.empty()) {
      slot = free_.back();
      free_.pop_back();
    } else {
      slot = *cache_.Evict();
    }
    held.erase(slot);
    const size_t before = free_.size();
    const int mark = std::min(pick(0, 2) == 0 ? pick(30, 60) : 0, static_cast<int>(ids.size()));
    Prefix left = Entry(ids, slot, mark, tenant);
    Prefix copy = left;
    if (copy.mark < kMinPrefixTokens || copy.mark >= static_cast<int64_t>(ids.size())) copy.mark = 0;
    const bool kept = cache_.Insert(std::move(left), free_) != 0;
    if (kept) held[slot] = std::move(copy);
    for (size_t i = before; i < free_.size(); ++i) {
      if (free_[i] != slot) held.erase(free_[i]);
    }
    ASSERT_EQ(cache_.size(), static_cast<int>(held.size()));
    ASSERT_EQ(free_.size() + held.size(), static_cast<size_t>(kSlots));
    std::set<int> all(free_.begin(), free_.end());
    for (const auto& [held_slot, prefix] : held) all.insert(held_slot);
    ASSERT_EQ(all.size(), static_cast<size_t>(kSlots));
  }
  EXPECT_GT(found, 2000);
}

}  // namespace
}  // namespace cascade
