// The automaton made deterministic as far as replies need it.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "engine/grammar/automaton.h"

namespace cascade::grammar {

// A configuration is the list of all places (a state of the automaton, and a stack of states to return to) where a
// reader of the bytes so far may be: several where the text can still be read in several ways. Each is found once, when
// it is first stepped into, and then has a number; a step from it is a look into a table from the second time on.
//
// What is found depends on the bytes alone, never on what was found before. One thread at a time; grows until its owner
// makes a new one.
class Configurations {
 public:
  static constexpr uint32_t kDead = 0;  // no place at all
  // Readings beyond so many are dropped. Each that is kept can be finished, so this only narrows what may come; a list
  // of properties needs one for every optional one that may be next.
  static constexpr size_t kMaxPlaces = 1024;

  using Depths = std::shared_ptr<const std::vector<uint8_t>>;  // of Automaton::DepthToEnd

  // `max_depth`: of stacks. `depth_to_end`: by all bytes. `usable_depth_to_end`: by those bytes alone that are tokens
  // by themselves, with which a reply must be able to go on wherever a token ends.
  Configurations(std::shared_ptr<const Automaton> automaton, int max_depth, Depths depth_to_end,
                 Depths usable_depth_to_end);

  Configurations(const Configurations&) = delete;  // numbers_ points to this
  Configurations& operator=(const Configurations&) = delete;

  uint32_t start() const { return start_; }
  uint32_t Step(uint32_t from, uint8_t byte);
  // The same configuration, found by another one for the same automaton and depth.
  uint32_t Import(const Configurations& other, uint32_t id);

  bool MayEnd(uint32_t id) const { return all_[id].may_end; }
  // Whether a token may end here: the document may, or bytes that are tokens lead to its end.
  bool IsLive(uint32_t id) const { return all_[id].live; }

  // For one walk over many tokens: like Step, but the first use of each step costs its number of places from `budget`,
  // and where that is spent the answer is kDead unless `free`.
  struct Walk {
    uint64_t number = 0;
    int64_t budget = 0;
  };
  Walk StartWalk(int64_t budget) { return {++walks_, budget}; }
  uint32_t StepInWalk(uint32_t from, uint8_t byte, bool free, Walk* walk) {
    Configuration& configuration = all_[from];
    if (configuration.walk != walk->number) {
      configuration.walk = walk->number;
      configuration.walked.reset();
    }
    const uint8_t byte_class = automaton_->class_of(byte);
    if (!configuration.walked[byte_class]) {
      const int64_t cost = static_cast<int64_t>(configuration.places.size());
      if (!free && walk->budget < cost) return kDead;
      configuration.walked[byte_class] = true;
      walk->budget -= cost;
    }
    if (configuration.next != nullptr && configuration.next[byte_class] != kUnknown) {
      return configuration.next[byte_class];
    }
    return Find(from, byte);
  }

  // About, of what has been found.
  size_t bytes() const { return bytes_; }
  size_t size() const { return all_.size(); }

 private:
  static constexpr uint32_t kUnknown = UINT32_MAX;
  static constexpr uint32_t kBottom = 0;  // the empty stack

  struct Place {
    uint32_t state = 0;
    uint32_t stack = kBottom;
    bool operator==(const Place&) const = default;
    template <typename H>
    friend H AbslHashValue(H h, const Place& place) {
      return H::combine(std::move(h), place.state, place.stack);
    }
  };
  struct Stack {
    uint32_t below = kBottom;
    uint32_t top = 0;  // the state to return to
    int depth = 0;
  };
  struct Configuration {
    std::vector<Place> places;         // in the order in which they were found
    std::unique_ptr<uint32_t[]> next;  // [classes], once a step was taken
    bool may_end = false;
    bool live = false;
    uint64_t walk = 0;  // the last one that came here, and the steps that it took
    std::bitset<256> walked;
  };
  struct HashOf {
    const Configurations* owner;
    size_t operator()(uint32_t id) const;
  };
  struct SameAs {
    const Configurations* owner;
    bool operator()(uint32_t a, uint32_t b) const;
  };

  // Whether the end can be reached from a place without more depth than there is.
  bool CanEnd(const Place& place, const Depths& depths) const {
    const uint8_t need = (*depths)[place.state];
    return need != Automaton::kNever && stacks_[place.stack].depth + need <= max_depth_;
  }
  uint32_t Find(uint32_t from, uint8_t byte);
  uint32_t Push(uint32_t stack, uint32_t state);
  // Everything that is reached from `todo_` without a byte.
  void Close(Configuration* configuration);
  uint32_t Number(Configuration configuration);

  std::shared_ptr<const Automaton> automaton_;
  int max_depth_;
  Depths depth_to_end_;         // [states]
  Depths usable_depth_to_end_;  // [states]
  std::vector<Stack> stacks_;
  absl::flat_hash_map<std::pair<uint32_t, uint32_t>, uint32_t> stack_numbers_;  // by below and top
  std::vector<Configuration> all_;
  absl::flat_hash_set<uint32_t, HashOf, SameAs> numbers_;
  uint32_t start_ = kDead;
  uint64_t walks_ = 0;
  size_t bytes_ = 0;
  std::vector<Place> todo_;  // room for Close
  absl::flat_hash_set<Place> seen_;
};

}  // namespace cascade::grammar
