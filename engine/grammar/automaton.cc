#include "engine/grammar/automaton.h"

#include <algorithm>

namespace cascade::grammar {
namespace {

// Edges and jumps of an automaton, for each of its states. A rule of thumb: text has one or two, a character of a
// pattern up to thirty.
constexpr size_t kLinksPerState = 8;

bool Meets(ByteRange range, const ByteSet& set) {
  for (int byte = range.first; byte <= range.last; ++byte) {
    if (set[static_cast<size_t>(byte)]) return true;
  }
  return false;
}

// Backwards over what leads to a state.
struct Backlinks {
  std::vector<uint32_t> begin;
  std::vector<uint32_t> from;
};

// `each(visit)` calls visit(from, to) for every link.
template <class Each>
Backlinks Reverse(size_t states, const Each& each) {
  Backlinks back;
  back.begin.assign(states + 1, 0);
  each([&](uint32_t, uint32_t to) { ++back.begin[to + 1]; });
  for (size_t i = 1; i <= states; ++i) back.begin[i] += back.begin[i - 1];
  back.from.resize(back.begin[states]);
  std::vector<uint32_t> next(back.begin.begin(), back.begin.end() - 1);
  each([&](uint32_t from, uint32_t to) { back.from[next[to]++] = from; });
  return back;
}

}  // namespace

uint32_t AutomatonBuilder::AddState() {
  if (states_.size() >= max_states_) {
    full_ = true;
    return kEnd;
  }
  states_.emplace_back();
  return static_cast<uint32_t>(states_.size() - 1);
}

void AutomatonBuilder::AddEdge(uint32_t from, ByteRange bytes, uint32_t target) {
  if (++links_ > max_states_ * kLinksPerState) full_ = true;
  if (!full_) states_[from].edges.push_back({bytes, target});
}

void AutomatonBuilder::AddCall(uint32_t from, uint32_t callee, uint32_t then) {
  if (++links_ > max_states_ * kLinksPerState) full_ = true;
  if (!full_) states_[from].jumps.push_back({callee, then});
}

Automaton::Automaton(const AutomatonBuilder& builder, uint32_t start) : start_(start) {
  edge_begin_.assign(1, 0);
  jump_begin_.assign(1, 0);
  std::bitset<257> begins;
  for (const AutomatonBuilder::State& state : builder.states_) {
    edges_.insert(edges_.end(), state.edges.begin(), state.edges.end());
    std::stable_sort(edges_.begin() + edge_begin_.back(), edges_.end(),
                     [](const Edge& a, const Edge& b) { return a.bytes.first < b.bytes.first; });
    jumps_.insert(jumps_.end(), state.jumps.begin(), state.jumps.end());
    edge_begin_.push_back(static_cast<uint32_t>(edges_.size()));
    jump_begin_.push_back(static_cast<uint32_t>(jumps_.size()));
    for (const Edge& edge : state.edges) {
      begins[edge.bytes.first] = true;
      begins[edge.bytes.last + 1u] = true;
    }
  }
  for (size_t byte = 1; byte < 256; ++byte) {
    if (begins[byte]) ++classes_;
    class_of_[byte] = static_cast<uint8_t>(classes_ - 1);
  }
}

std::vector<uint8_t> Automaton::DepthToEnd(const ByteSet& usable, int max_depth) const {
  // What a byte or a jump leads to, without depth; and calls, to be seen again when either part becomes known.
  const Backlinks plain = Reverse(size(), [&](const auto& visit) {
    for (uint32_t state = 0; state < size(); ++state) {
      for (const Edge& edge : edges(state)) {
        if (Meets(edge.bytes, usable)) visit(state, edge.target);
      }
      for (const Jump& jump : jumps(state)) {
        if (jump.then == kEnd) visit(state, jump.target);
      }
    }
  });
  struct Call {
    uint32_t from, callee, then;
  };
  std::vector<Call> calls;
  for (uint32_t state = 0; state < size(); ++state) {
    for (const Jump& jump : jumps(state)) {
      if (jump.then != kEnd) calls.push_back({state, jump.target, jump.then});
    }
  }
  const auto each_call = [&](uint32_t Call::*part) {
    return Reverse(size(), [&](const auto& visit) {
      for (uint32_t i = 0; i < calls.size(); ++i) visit(i, calls[i].*part);
    });
  };
  const Backlinks of_callee = each_call(&Call::callee);
  const Backlinks of_then = each_call(&Call::then);

  std::vector<uint8_t> need(size(), kNever);
  std::vector<uint32_t> reached = {kEnd};  // at the present depth
  std::vector<uint32_t> todo;
  need[kEnd] = 0;
  for (int depth = 0; depth <= max_depth && !reached.empty(); ++depth) {
    const uint8_t now = static_cast<uint8_t>(depth);
    const auto reach = [&](uint32_t state) {
      if (need[state] != kNever) return;
      need[state] = now;
      reached.push_back(state);
    };
    for (size_t next = 0; next < reached.size(); ++next) {
      const uint32_t state = reached[next];
      for (uint32_t i = plain.begin[state]; i < plain.begin[state + 1]; ++i) reach(plain.from[i]);
      for (uint32_t i = of_then.begin[state]; i < of_then.begin[state + 1]; ++i) {
        const Call& call = calls[of_then.from[i]];
        if (need[call.callee] < depth) reach(call.from);
      }
    }
    // One deeper, the callers of what was reached: those whose other part is known begin the next depth.
    todo.clear();
    if (depth == max_depth) break;
    for (const uint32_t state : reached) {
      for (uint32_t i = of_callee.begin[state]; i < of_callee.begin[state + 1]; ++i) {
        const Call& call = calls[of_callee.from[i]];
        if (need[call.then] == kNever || need[call.from] != kNever) continue;
        need[call.from] = static_cast<uint8_t>(depth + 1);
        todo.push_back(call.from);
      }
    }
    reached.swap(todo);
  }
  return need;
}

std::vector<bool> Automaton::EndsIfRulesDo(const std::vector<bool>& is_rule) const {
  const Backlinks back = Reverse(size(), [&](const auto& visit) {
    for (uint32_t state = 0; state < size(); ++state) {
      for (const Edge& edge : edges(state)) visit(state, edge.target);
      for (const Jump& jump : jumps(state)) visit(state, is_rule[jump.target] ? jump.then : jump.target);
    }
  });
  std::vector<bool> ends(size(), false);
  std::vector<uint32_t> reached = {kEnd};
  ends[kEnd] = true;
  for (size_t next = 0; next < reached.size(); ++next) {
    for (uint32_t i = back.begin[reached[next]]; i < back.begin[reached[next] + 1]; ++i) {
      if (ends[back.from[i]]) continue;
      ends[back.from[i]] = true;
      reached.push_back(back.from[i]);
    }
  }
  return ends;
}

}  // namespace cascade::grammar
