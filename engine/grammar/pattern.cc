#include "engine/grammar/pattern.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/grammar/pattern_parser.h"

namespace cascade::grammar {
namespace {

using Kind = PatternNode::Kind;

constexpr size_t kMaxPositions = 4000;  // of the expression with its repetitions written out
constexpr size_t kMaxStates = 2000;

// Thompson's automaton: what may come next, with and without a character.
struct Position {
  std::vector<std::pair<size_t, uint32_t>> characters;  // index of the set, position behind it
  std::vector<uint32_t> empty;
  std::vector<uint32_t> at_begin;  // only before the first character
  std::vector<uint32_t> at_end;    // only behind the last one
};

class Positions {
 public:
  Positions() : all_(1) {}

  uint32_t Add() {
    if (all_.size() < kMaxPositions)
      all_.emplace_back();
    else
      full_ = true;
    return static_cast<uint32_t>(all_.size() - 1);
  }

  // From `from` on; returns where it ends. The depth of the recursion is that of the groups.
  uint32_t AddNode(const PatternNode& node, uint32_t from) {
    if (full_) return from;
    switch (node.kind) {
      case Kind::kSequence:
        for (const PatternNode& child : node.children) from = AddNode(child, from);
        return from;
      case Kind::kChoice: {
        const uint32_t end = Add();
        for (const PatternNode& child : node.children) {
          const uint32_t begin = Add();
          all_[from].empty.push_back(begin);
          all_[AddNode(child, begin)].empty.push_back(end);
        }
        return end;
      }
      case Kind::kRepeat:
        return AddRepeat(node, from);
      case Kind::kSet: {
        const uint32_t end = Add();
        all_[from].characters.emplace_back(sets_.size(), end);
        sets_.push_back(node.set);
        return end;
      }
      case Kind::kBegin: {
        const uint32_t end = Add();
        all_[from].at_begin.push_back(end);
        return end;
      }
      case Kind::kEnd: {
        const uint32_t end = Add();
        all_[from].at_end.push_back(end);
        return end;
      }
    }
    return from;
  }

  void AddLoop(uint32_t position) {
    all_[position].characters.emplace_back(sets_.size(), position);
    sets_.push_back({{0, kLastCodePoint}});
  }
  void AddEmpty(uint32_t from, uint32_t to) { all_[from].empty.push_back(to); }

  const Position& operator[](uint32_t position) const { return all_[position]; }
  const std::vector<CharacterSet>& sets() const { return sets_; }
  bool full() const { return full_; }

 private:
  uint32_t AddRepeat(const PatternNode& node, uint32_t from) {
    for (int i = 0; i < node.min && !full_; ++i) from = AddNode(node.children[0], from);
    const uint32_t end = Add();
    if (node.max < 0) {
      const uint32_t loop = Add();
      AddEmpty(from, loop);
      AddEmpty(AddNode(node.children[0], loop), loop);
      AddEmpty(loop, end);
      return end;
    }
    AddEmpty(from, end);
    for (int i = node.min; i < node.max && !full_; ++i) {
      from = AddNode(node.children[0], from);
      AddEmpty(from, end);
    }
    return end;
  }

  std::vector<Position> all_;
  std::vector<CharacterSet> sets_;
  bool full_ = false;
};

// Rabin and Scott's construction of sets.
class Determinizer {
 public:
  Determinizer(const Positions& positions, uint32_t accepting, int64_t* steps)
      : positions_(positions), accepting_(accepting), steps_left_(*steps) {
    std::set<char32_t> cuts = {0, 0xD800, 0xE000, kLastCodePoint + 1};
    for (const CharacterSet& set : positions.sets()) {
      for (const CodePoints& range : set) cuts.insert({range.first, range.last + 1});
    }
    for (auto cut = cuts.begin(); std::next(cut) != cuts.end(); ++cut) {
      if (*cut != 0xD800 && (*cut < 0xD800 || *cut >= 0xE000)) classes_.push_back({*cut, *std::next(cut) - 1});
    }
    for (const CharacterSet& set : positions.sets()) {
      std::vector<bool> members;
      for (const CodePoints& one : classes_) {
        members.push_back(std::any_of(set.begin(), set.end(), [&](const CodePoints& range) {
          return range.first <= one.first && one.last <= range.last;
        }));
      }
      members_.push_back(std::move(members));
    }
  }

  absl::StatusOr<Pattern> Run() {
    // The start is not looked up by its set: only there ^ holds.
    sets_.push_back(Closure({0}, /*begin=*/true, /*end=*/false));
    pattern_.states.push_back({Accepts(Closure({0}, true, true)), {}});
    for (uint32_t state = 0; state < sets_.size(); ++state) {
      for (size_t i = 0; i < classes_.size(); ++i) {
        std::vector<uint32_t> reached;
        for (const uint32_t position : sets_[state]) {
          for (const auto& [set, next] : positions_[position].characters) {
            if (members_[set][i]) reached.push_back(next);
          }
        }
        steps_left_ -= static_cast<int64_t>(sets_[state].size()) + 1;
        if (reached.empty()) continue;
        const uint32_t target = Find(Closure(reached, false, false));
        if (sets_.size() > kMaxStates || steps_left_ < 0) {
          return absl::InvalidArgumentError("it needs too many states; make it shorter or anchor it with ^ and $");
        }
        auto& next = pattern_.states[state].next;
        if (!next.empty() && next.back().second == target && next.back().first.last + 1 == classes_[i].first) {
          next.back().first.last = classes_[i].last;
        } else {
          next.emplace_back(classes_[i], target);
        }
      }
    }
    Trim();
    return std::move(pattern_);
  }

 private:
  using Set = std::vector<uint32_t>;

  Set Closure(Set todo, bool begin, bool end) {
    std::vector<bool> seen(kMaxPositions, false);
    Set all;
    while (!todo.empty()) {
      const uint32_t position = todo.back();
      todo.pop_back();
      if (seen[position]) continue;
      seen[position] = true;
      if (position == accepting_ && !end) return {accepting_};  // found: whatever follows, it stays found
      all.push_back(position);
      const Position& at = positions_[position];
      todo.insert(todo.end(), at.empty.begin(), at.empty.end());
      if (begin) todo.insert(todo.end(), at.at_begin.begin(), at.at_begin.end());
      if (end) todo.insert(todo.end(), at.at_end.begin(), at.at_end.end());
    }
    std::sort(all.begin(), all.end());
    steps_left_ -= static_cast<int64_t>(all.size()) + 100;  // clearing `seen`
    return all;
  }

  bool Accepts(const Set& at_end) const { return std::binary_search(at_end.begin(), at_end.end(), accepting_); }

  uint32_t Find(Set set) {
    const auto [known, added] = known_.try_emplace(set, static_cast<uint32_t>(sets_.size()));
    if (added) {
      pattern_.states.push_back({Accepts(Closure(set, false, true)), {}});
      sets_.push_back(std::move(set));
    }
    return known->second;
  }

  // Takes away what leads nowhere.
  void Trim() {
    std::vector<std::vector<uint32_t>> back(pattern_.states.size());
    std::vector<uint32_t> todo;
    std::vector<bool> live(pattern_.states.size(), false);
    for (uint32_t state = 0; state < pattern_.states.size(); ++state) {
      for (const auto& [range, next] : pattern_.states[state].next) back[next].push_back(state);
      if (!pattern_.states[state].accepts) continue;
      live[state] = true;
      todo.push_back(state);
    }
    while (!todo.empty()) {
      const uint32_t state = todo.back();
      todo.pop_back();
      for (const uint32_t before : back[state]) {
        if (live[before]) continue;
        live[before] = true;
        todo.push_back(before);
      }
    }
    for (Pattern::State& state : pattern_.states) {
      std::erase_if(state.next, [&](const auto& next) { return !live[next.second]; });
    }
  }

  const Positions& positions_;
  uint32_t accepting_;
  std::vector<CodePoints> classes_;         // code points that no set tells apart
  std::vector<std::vector<bool>> members_;  // [set][class]
  std::vector<Set> sets_;                   // [state of pattern_]
  std::map<Set, uint32_t> known_;
  Pattern pattern_;
  int64_t& steps_left_;
};

}  // namespace

absl::StatusOr<Pattern> CompilePattern(std::string_view pattern, int64_t* steps) {
  const absl::StatusOr<PatternNode> node = ParsePattern(pattern);
  if (!node.ok()) return node.status();
  Positions positions;
  positions.AddLoop(0);  // found anywhere
  const uint32_t begin = positions.Add();
  positions.AddEmpty(0, begin);
  const uint32_t found = positions.AddNode(*node, begin);
  positions.AddLoop(found);
  if (positions.full()) {
    return absl::InvalidArgumentError(
        absl::StrCat("it is longer than ", kMaxPositions, " characters with its repetitions written out"));
  }
  return Determinizer(positions, found, steps).Run();
}

}  // namespace cascade::grammar
