// What finished one-shot turns have left in their slots, for prompts that go on from there.
//
// DESIGN. An entry is a slot and the ids that its state is a function of. A state cannot be cut, only continued, so an
// entry serves prompts that begin with all of its ids; or, while no stride has closed since, with those up to its mark:
// the place before the last id of the prompt that it was made from, whose scores were kept. (Before that stride closes
// the turn makes an entry of its own of it, the sibling.) A conversation that is sent
// again is found at the whole of the entry if the reply is tokenised now as it was sampled, else at its mark.
//
// A prompt that is found copies the entry's slot to a free one, or to that of an entry that is spent. Without such a
// slot it takes the entry's own, unless another prompt has gone on from it before: a conversation grows in its slot,
// the begin that many prompts share stays, at the price of the entry used longest ago. Spent is an entry that just one
// prompt went on from: a conversation's past. First to go are those, then who was used longest ago.
//
// Memory: a slot each, 4 bytes per id, of which there are `max_ids` at most in all, and a slot's scores for a mark.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kernels/slot_copy.h"

namespace cascade {

// Fewer are read as fast as they are found.
inline constexpr int64_t kMinPrefixTokens = 32;

// Digests of the begins of a list of ids, each in a moment. Made once, in the time of one pass.
class DigestTrail {
 public:
  DigestTrail() = default;
  explicit DigestTrail(std::span<const int32_t> ids);
  // `ids`: the same. length <= their number.
  uint64_t At(std::span<const int32_t> ids, size_t length) const;

 private:
  std::vector<uint64_t> every_;  // of the first kStep, 2 kStep, .. ids
};

struct PrefixQuery {
  std::string_view tenant;  // only its own entries are found
  std::span<const int32_t> ids;
  const DigestTrail& digests;
};

struct Prefix {
  std::string tenant;
  std::vector<int32_t> ids;  // fed to the slot, all that were
  uint64_t digest = 0;       // of them
  int slot = -1;
  int64_t mark = 0;  // with these scores the slot is what it was after so many ids; 0: there is none
  uint64_t mark_digest = 0;
  std::shared_ptr<kernels::HostMemory> mark_scores;
  uint64_t sibling =
      0;  // an entry for the same continuations: when one of them is found, the other one is spent. 0: none
};

// Where a turn begins.
struct PrefixStart {
  int slot = -1;
  int from = -1;       // -1: the state is in `slot`; else it is to be copied from here
  int64_t tokens = 0;  // 0: there is no state, and nothing of the rest is set
  uint64_t digest = 0;
  std::shared_ptr<kernels::HostMemory> scores;  // not null: to be written to `slot` then
};

// Not synchronised. Slots that it frees are appended to the caller's.
class PrefixCache {
 public:
  explicit PrefixCache(int64_t max_ids) : max_ids_(max_ids) {}

  // The new entry; 0: its slot was freed, for it is too short or too long. One with the same ids goes.
  uint64_t Insert(Prefix prefix, std::vector<int>& free_slots);
  // From the longest begin of `query.ids`, short of all, that an entry has. Takes a slot of `free_slots` if there is
  // one. nullopt: no entry has any.
  std::optional<PrefixStart> Begin(const PrefixQuery& query, std::vector<int>& free_slots);
  // Whether an entry has just these ids; it counts as used.
  bool Touch(const PrefixQuery& query);
  // The slot of the entry that is first to go.
  std::optional<int> Evict() { return Evict(0, /*spent_only=*/false); }
  void Clear(std::vector<int>& free_slots);
  int size() const { return static_cast<int>(entries_.size()); }
  int64_t ids() const { return ids_; }

 private:
  struct Entry {
    Prefix prefix;
    int64_t uses = 0;
    std::pair<bool, uint64_t> order;  // not spent; when it was used last
  };
  struct Place {
    uint64_t entry = 0;
    bool at_mark = false;
  };

  static uint64_t PlaceKey(std::string_view tenant, int64_t length, uint64_t digest);
  // The longest place in ids[0 .. at_most).
  std::optional<Place> Find(const PrefixQuery& query, int64_t at_most, int64_t at_least) const;
  void AddPlace(uint64_t id, const Prefix& prefix, bool at_mark);
  void RemovePlace(uint64_t id, const Prefix& prefix, bool at_mark);
  void Order(uint64_t id, bool spent);
  void Spend(uint64_t id);
  Prefix Remove(uint64_t id);
  std::optional<int> Evict(uint64_t except, bool spent_only);

  const int64_t max_ids_;
  std::unordered_map<uint64_t, Entry> entries_;
  std::unordered_multimap<uint64_t, Place> places_;         // by PlaceKey
  std::map<int64_t, int> lengths_;                          // of places, and how many have it
  std::map<std::pair<bool, uint64_t>, uint64_t> by_order_;  // first to go first
  int64_t ids_ = 0;
  uint64_t next_ = 1;  // id, or time of use
};

}  // namespace cascade
