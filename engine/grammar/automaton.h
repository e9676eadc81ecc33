// A pushdown automaton over bytes: what the replies of a grammar look like.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cascade::grammar {

using ByteSet = std::bitset<256>;

struct ByteRange {
  uint8_t first = 0;
  uint8_t last = 0;
  bool operator==(const ByteRange&) const = default;
};

// State 0 of every automaton: the end of the rule that is being read.
inline constexpr uint32_t kEnd = 0;

struct Edge {
  ByteRange bytes;
  uint32_t target = 0;
};

// Goes to `target` without a byte. Where that reaches kEnd, reading goes on at `then`; with then == kEnd nothing is to
// be remembered, which makes a jump of what would be a call.
struct Jump {
  uint32_t target = 0;
  uint32_t then = kEnd;
};

// Collects states; never fails, but stops adding when `max_states` are there (full()), so that callers need to look
// once in a while only.
class AutomatonBuilder {
 public:
  explicit AutomatonBuilder(size_t max_states) : max_states_(max_states) { states_.resize(1); }

  uint32_t AddState();
  void AddEdge(uint32_t from, ByteRange bytes, uint32_t target);
  void AddEdge(uint32_t from, char byte, uint32_t target) {
    AddEdge(from, {static_cast<uint8_t>(byte), static_cast<uint8_t>(byte)}, target);
  }
  void AddJump(uint32_t from, uint32_t target) { AddCall(from, target, kEnd); }
  void AddCall(uint32_t from, uint32_t callee, uint32_t then);

  bool full() const { return full_; }

 private:
  friend class Automaton;
  struct State {
    std::vector<Edge> edges;
    std::vector<Jump> jumps;
  };

  size_t max_states_;
  size_t links_ = 0;
  bool full_ = false;
  std::vector<State> states_;
};

// Immutable; any thread.
class Automaton {
 public:
  // From a state that cannot reach its end.
  static constexpr uint8_t kNever = 255;

  Automaton() = default;
  Automaton(const AutomatonBuilder& builder, uint32_t start);

  uint32_t start() const { return start_; }
  size_t size() const { return edge_begin_.size() - 1; }
  // In the order of their first bytes.
  std::span<const Edge> edges(uint32_t state) const {
    return {edges_.data() + edge_begin_[state], edge_begin_[state + 1] - edge_begin_[state]};
  }
  std::span<const Jump> jumps(uint32_t state) const {
    return {jumps_.data() + jump_begin_[state], jump_begin_[state + 1] - jump_begin_[state]};
  }

  // Bytes that no state tells apart share a class.
  int classes() const { return classes_; }
  uint8_t class_of(uint8_t byte) const { return class_of_[byte]; }

  // [states]: the smallest depth of calls with which a state reaches its end by bytes of `usable` alone; kNever if it
  // takes more than `max_depth` (below kNever).
  std::vector<uint8_t> DepthToEnd(const ByteSet& usable, int max_depth) const;
  // [states]: whether a state reached its end if every rule that it calls did. `is_rule`: [states], where rules begin.
  std::vector<bool> EndsIfRulesDo(const std::vector<bool>& is_rule) const;

 private:
  uint32_t start_ = kEnd;
  std::vector<uint32_t> edge_begin_{0, 0};
  std::vector<Edge> edges_;
  std::vector<uint32_t> jump_begin_{0, 0};
  std::vector<Jump> jumps_;
  int classes_ = 1;
  std::array<uint8_t, 256> class_of_{};
};

}  // namespace cascade::grammar
