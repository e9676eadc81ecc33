#include "engine/grammar/configurations.h"

#include <algorithm>

#include "absl/hash/hash.h"

namespace cascade::grammar {
namespace {

// Places looked at in one step; more than what a list of properties needs.
constexpr size_t kMaxSeen = 16 * Configurations::kMaxPlaces;

}  // namespace

size_t Configurations::HashOf::operator()(uint32_t id) const {
  const Configuration& configuration = owner->all_[id];
  return absl::HashOf(configuration.places, configuration.may_end);
}

bool Configurations::SameAs::operator()(uint32_t a, uint32_t b) const {
  const Configuration& left = owner->all_[a];
  const Configuration& right = owner->all_[b];
  return left.may_end == right.may_end && left.places == right.places;
}

Configurations::Configurations(std::shared_ptr<const Automaton> automaton, int max_depth, Depths depth_to_end,
                               Depths usable_depth_to_end)
    : automaton_(std::move(automaton)),
      max_depth_(max_depth),
      depth_to_end_(std::move(depth_to_end)),
      usable_depth_to_end_(std::move(usable_depth_to_end)),
      numbers_(64, HashOf{this}, SameAs{this}) {
  stacks_.resize(1);
  Number({});  // kDead
  Configuration start;
  todo_.push_back({automaton_->start(), kBottom});
  Close(&start);
  start_ = Number(std::move(start));
}

uint32_t Configurations::Step(uint32_t from, uint8_t byte) {
  const Configuration& configuration = all_[from];
  if (configuration.next != nullptr) {
    const uint32_t known = configuration.next[automaton_->class_of(byte)];
    if (known != kUnknown) return known;
  }
  return Find(from, byte);
}

uint32_t Configurations::Find(uint32_t from, uint8_t byte) {
  Configuration next;
  for (const Place& place : all_[from].places) {
    for (const Edge& edge : automaton_->edges(place.state)) {
      if (edge.bytes.first > byte) break;
      if (byte <= edge.bytes.last) todo_.push_back({edge.target, place.stack});
    }
  }
  std::reverse(todo_.begin(), todo_.end());  // taken from the back
  Close(&next);
  const uint32_t id = Number(std::move(next));
  Configuration& configuration = all_[from];
  if (configuration.next == nullptr) {
    const size_t classes = static_cast<size_t>(automaton_->classes());
    configuration.next = std::make_unique<uint32_t[]>(classes);
    std::fill_n(configuration.next.get(), classes, kUnknown);
    bytes_ += classes * sizeof(uint32_t);
  }
  configuration.next[automaton_->class_of(byte)] = id;
  return id;
}

void Configurations::Close(Configuration* configuration) {
  seen_.clear();
  while (!todo_.empty()) {
    Place place = todo_.back();
    todo_.pop_back();
    if (seen_.size() >= kMaxSeen || configuration->places.size() >= kMaxPlaces) continue;
    // What cannot be finished within the depth is no reading of a reply.
    if (!CanEnd(place, depth_to_end_)) continue;
    if (!seen_.insert(place).second) continue;
    if (place.state == kEnd) {
      if (place.stack == kBottom) {
        configuration->may_end = configuration->live = true;
      } else {
        todo_.push_back({stacks_[place.stack].top, stacks_[place.stack].below});
      }
      continue;
    }
    if (!automaton_->edges(place.state).empty()) {
      configuration->places.push_back(place);
      configuration->live = configuration->live || CanEnd(place, usable_depth_to_end_);
    }
    const auto jumps = automaton_->jumps(place.state);
    for (size_t i = jumps.size(); i-- > 0;) {
      const Jump& jump = jumps[i];
      todo_.push_back({jump.target, jump.then == kEnd ? place.stack : Push(place.stack, jump.then)});
    }
  }
}

uint32_t Configurations::Push(uint32_t stack, uint32_t state) {
  const auto [known, added] = stack_numbers_.try_emplace({stack, state}, static_cast<uint32_t>(stacks_.size()));
  if (added) {
    stacks_.push_back({stack, state, stacks_[stack].depth + 1});
    bytes_ += 2 * sizeof(Stack) + 16;
  }
  return known->second;
}

uint32_t Configurations::Number(Configuration configuration) {
  const uint32_t id = static_cast<uint32_t>(all_.size());
  all_.push_back(std::move(configuration));
  const auto [known, added] = numbers_.insert(id);
  if (!added) {
    all_.pop_back();
  } else {
    bytes_ += sizeof(Configuration) + all_.back().places.size() * sizeof(Place) + 16;
  }
  return *known;
}

uint32_t Configurations::Import(const Configurations& other, uint32_t id) {
  const Configuration& theirs = other.all_[id];
  Configuration ours;
  ours.may_end = theirs.may_end;
  ours.live = theirs.may_end;
  std::vector<uint32_t> states;  // of a stack, from the top
  for (const Place& place : theirs.places) {
    states.clear();
    for (uint32_t stack = place.stack; stack != kBottom; stack = other.stacks_[stack].below) {
      states.push_back(other.stacks_[stack].top);
    }
    uint32_t stack = kBottom;
    for (size_t i = states.size(); i-- > 0;) stack = Push(stack, states[i]);
    ours.places.push_back({place.state, stack});
    ours.live = ours.live || CanEnd(ours.places.back(), usable_depth_to_end_);
  }
  return Number(std::move(ours));
}

}  // namespace cascade::grammar
