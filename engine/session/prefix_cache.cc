#include "engine/session/prefix_cache.h"

#include <algorithm>
#include <functional>
#include <iterator>

#include "engine/base/token_digest.h"
#include "kernels/base/check.h"

namespace cascade {
namespace {

constexpr size_t kStep = 16;

}  // namespace

DigestTrail::DigestTrail(std::span<const int32_t> ids) {
  every_.reserve(ids.size() / kStep);
  uint64_t digest = 0;
  for (size_t end = kStep; end <= ids.size(); end += kStep) {
    digest = ExtendTokenDigest(digest, ids.subspan(end - kStep, kStep));
    every_.push_back(digest);
  }
}

uint64_t DigestTrail::At(std::span<const int32_t> ids, size_t length) const {
  const size_t steps = std::min(length / kStep, every_.size());
  const uint64_t digest = steps == 0 ? 0 : every_[steps - 1];
  return ExtendTokenDigest(digest, ids.subspan(steps * kStep, length - steps * kStep));
}

uint64_t PrefixCache::PlaceKey(std::string_view tenant, int64_t length, uint64_t digest) {
  return digest ^ (std::hash<std::string_view>()(tenant) + static_cast<uint64_t>(length) * 0x9E3779B97F4A7C15u);
}

// Only the lengths that entries have are looked at, the longest first; ids are compared where the digest agrees.
std::optional<PrefixCache::Place> PrefixCache::Find(const PrefixQuery& query, int64_t at_most, int64_t at_least) const {
  for (auto it = lengths_.upper_bound(at_most); it != lengths_.begin();) {
    const int64_t length = (--it)->first;
    if (length < at_least) break;
    const auto ids = query.ids.first(static_cast<size_t>(length));
    const uint64_t key = PlaceKey(query.tenant, length, query.digests.At(query.ids, ids.size()));
    const auto [first, last] = places_.equal_range(key);
    for (auto place = first; place != last; ++place) {
      const Prefix& prefix = entries_.at(place->second.entry).prefix;
      const int64_t has = place->second.at_mark ? prefix.mark : static_cast<int64_t>(prefix.ids.size());
      if (has == length && prefix.tenant == query.tenant && std::equal(ids.begin(), ids.end(), prefix.ids.begin())) {
        return place->second;
      }
    }
  }
  return std::nullopt;
}

uint64_t PrefixCache::Insert(Prefix prefix, std::vector<int>& free_slots) {
  const auto count = static_cast<int64_t>(prefix.ids.size());
  if (count < kMinPrefixTokens || count > max_ids_) {
    free_slots.push_back(prefix.slot);
    return 0;
  }
  if (prefix.mark < kMinPrefixTokens || prefix.mark >= count || prefix.mark_scores == nullptr) {
    prefix.mark = 0;
    prefix.mark_scores.reset();
  }
  int64_t uses = 0;
  const DigestTrail digests(prefix.ids);
  if (const auto same = Find({prefix.tenant, prefix.ids, digests}, count, count); same.has_value() && !same->at_mark) {
    uses = entries_.at(same->entry).uses;
    free_slots.push_back(Remove(same->entry).slot);
  }
  while (ids_ + count > max_ids_) free_slots.push_back(*Evict());

  const uint64_t id = next_++;
  ids_ += count;
  Entry& entry = entries_[id];
  entry.prefix = std::move(prefix);
  entry.uses = uses;
  AddPlace(id, entry.prefix, false);
  if (entry.prefix.mark > 0) AddPlace(id, entry.prefix, true);
  Order(id, /*spent=*/false);
  if (const auto sibling = entries_.find(entry.prefix.sibling); sibling != entries_.end()) {
    sibling->second.prefix.sibling = id;
  }
  return id;
}

std::optional<PrefixStart> PrefixCache::Begin(const PrefixQuery& query, std::vector<int>& free_slots) {
  const std::optional<Place> place = Find(query, static_cast<int64_t>(query.ids.size()) - 1, kMinPrefixTokens);
  if (!place.has_value()) return std::nullopt;
  Entry& entry = entries_.at(place->entry);
  Prefix& prefix = entry.prefix;
  PrefixStart start;
  start.tokens = place->at_mark ? prefix.mark : static_cast<int64_t>(prefix.ids.size());
  start.digest = place->at_mark ? prefix.mark_digest : prefix.digest;
  if (place->at_mark) start.scores = prefix.mark_scores;
  std::optional<int> slot;
  if (!free_slots.empty()) {
    slot = free_slots.back();
    free_slots.pop_back();
  } else {
    slot = Evict(place->entry, /*spent_only=*/true);
    if (!slot.has_value() && entry.uses > 0) slot = Evict(place->entry, /*spent_only=*/false);
  }
  Spend(prefix.sibling);
  if (!slot.has_value()) {
    start.slot = Remove(place->entry).slot;
    return start;
  }
  start.slot = *slot;
  start.from = prefix.slot;
  Order(place->entry, /*spent=*/++entry.uses == 1);
  return start;
}

bool PrefixCache::Touch(const PrefixQuery& query) {
  const auto count = static_cast<int64_t>(query.ids.size());
  const std::optional<Place> place = Find(query, count, count);
  if (!place.has_value() || place->at_mark) return false;
  Order(place->entry, /*spent=*/false);
  return true;
}

void PrefixCache::Clear(std::vector<int>& free_slots) {
  while (const std::optional<int> slot = Evict()) free_slots.push_back(*slot);
}

std::optional<int> PrefixCache::Evict(uint64_t except, bool spent_only) {
  auto first = by_order_.begin();
  if (first != by_order_.end() && first->second == except) ++first;
  if (first == by_order_.end() || (spent_only && first->first.first)) return std::nullopt;
  return Remove(first->second).slot;
}

Prefix PrefixCache::Remove(uint64_t id) {
  const auto found = entries_.find(id);
  CASCADE_CHECK(found != entries_.end());
  Prefix prefix = std::move(found->second.prefix);
  RemovePlace(id, prefix, false);
  if (prefix.mark > 0) RemovePlace(id, prefix, true);
  by_order_.erase(found->second.order);
  entries_.erase(found);
  ids_ -= static_cast<int64_t>(prefix.ids.size());
  return prefix;
}

void PrefixCache::Order(uint64_t id, bool spent) {
  Entry& entry = entries_.at(id);
  by_order_.erase(entry.order);
  entry.order = {!spent, next_++};
  by_order_[entry.order] = id;
}

void PrefixCache::Spend(uint64_t id) {
  if (entries_.count(id) > 0) Order(id, /*spent=*/true);
}

void PrefixCache::AddPlace(uint64_t id, const Prefix& prefix, bool at_mark) {
  const int64_t length = at_mark ? prefix.mark : static_cast<int64_t>(prefix.ids.size());
  const uint64_t digest = at_mark ? prefix.mark_digest : prefix.digest;
  places_.emplace(PlaceKey(prefix.tenant, length, digest), Place{id, at_mark});
  ++lengths_[length];
}

void PrefixCache::RemovePlace(uint64_t id, const Prefix& prefix, bool at_mark) {
  const int64_t length = at_mark ? prefix.mark : static_cast<int64_t>(prefix.ids.size());
  const uint64_t digest = at_mark ? prefix.mark_digest : prefix.digest;
  const auto [first, last] = places_.equal_range(PlaceKey(prefix.tenant, length, digest));
  const auto place = std::find_if(
      first, last, [&](const auto& one) { return one.second.entry == id && one.second.at_mark == at_mark; });
  CASCADE_CHECK(place != last);
  places_.erase(place);
  if (const auto counted = lengths_.find(length); --counted->second == 0) lengths_.erase(counted);
}

}  // namespace cascade
