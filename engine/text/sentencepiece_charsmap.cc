#include "engine/text/sentencepiece_charsmap.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/text/utf8.h"

namespace cascade {
namespace {

constexpr size_t kBlock = 256;  // units; the array is a multiple of it
constexpr int kMaxDepth = 512;  // bytes of the longest rule; Unicode's have up to 18
constexpr int kMaxRules = 32;   // that are prefixes of one another: the library's array has this many places
constexpr size_t kMaxReplacementBytes = 256;  // Unicode's longest (NFKC of U+FDFA) has 33

// A unit of the double array, as Darts-clone lays it out: bits 0-7 label, 8 has a leaf, 9 and 10-31 offset; a leaf has
// bit 31 and its value in the rest.
struct Trie {
  std::vector<uint32_t> units;

  // Of the block that the unit's children are in: child `label` is at base ^ label.
  size_t Base(size_t unit) const {
    const uint32_t bits = units[unit];
    return unit ^ static_cast<size_t>((bits >> 10) << ((bits & (1u << 9)) >> 6));
  }
  bool HasLeaf(size_t unit) const { return (units[unit] >> 8 & 1) != 0; }
  bool IsLeaf(size_t unit) const { return (units[unit] >> 31) != 0; }
  size_t Label(size_t unit) const { return units[unit] & 0xFF; }
  size_t Value(size_t unit) const { return units[unit] & 0x7FFFFFFFu; }
};

// Walks all that can be reached from the root, without recursion. Units that share their base share their children: the
// trie is a graph, and each base is walked once.
class Walk {
 public:
  Walk(const Trie& trie, std::string_view replacements) : trie_(trie), replacements_(replacements) {}

  absl::Status Run() {
    Group();
    std::vector<size_t> stack;
    if (absl::Status status = Enter(0, &stack); !status.ok()) return status;
    while (!stack.empty()) {
      Node& node = nodes_[stack.back()];
      if (node.next == first_[stack.back() + 1]) {
        node.done = true;
        stack.pop_back();
        continue;
      }
      const size_t child = children_[node.next];
      if (trie_.HasLeaf(child)) {
        if (absl::Status status = CheckReplacement(child); !status.ok()) return status;
      }
      const size_t base = trie_.Base(child);
      if (base >= nodes_.size() || !nodes_[base].entered) {
        if (absl::Status status = Enter(child, &stack); !status.ok()) return status;
        continue;  // again when it is done
      }
      if (!nodes_[base].done) return absl::InvalidArgumentError("its trie leads in a circle");
      node.depth = std::max(node.depth, 1 + nodes_[base].depth);
      node.rules = std::max(node.rules, (trie_.HasLeaf(child) ? 1 : 0) + nodes_[base].rules);
      if (node.depth > kMaxDepth) {
        return absl::InvalidArgumentError(absl::StrCat("it has rules of more than ", kMaxDepth, " bytes"));
      }
      if (node.rules > kMaxRules) {
        return absl::InvalidArgumentError(absl::StrCat("more than ", kMaxRules, " rules apply at one place"));
      }
      ++node.next;
    }
    return absl::OkStatus();
  }

 private:
  struct Node {
    bool entered = false;
    bool done = false;
    int depth = 0;  // of what is below: bytes
    int rules = 0;  // most on one way down
    size_t next = 0;
  };

  // children_[first_[base] .. first_[base + 1]): the units that are children of this base.
  void Group() {
    const size_t size = trie_.units.size();
    nodes_.resize(size);
    first_.assign(size + 1, 0);
    for (size_t unit = 0; unit < size; ++unit) {
      if (!trie_.IsLeaf(unit)) ++first_[(unit ^ trie_.Label(unit)) + 1];
    }
    for (size_t base = 0; base < size; ++base) first_[base + 1] += first_[base];
    children_.resize(first_[size]);
    std::vector<size_t> next(first_.begin(), first_.end() - 1);
    for (size_t unit = 0; unit < size; ++unit) {
      if (!trie_.IsLeaf(unit)) children_[next[unit ^ trie_.Label(unit)]++] = unit;
    }
  }

  absl::Status Enter(size_t unit, std::vector<size_t>* stack) {
    const size_t base = trie_.Base(unit);
    if (base >= nodes_.size()) return absl::InvalidArgumentError("its trie leads outside itself");
    nodes_[base].entered = true;
    nodes_[base].next = first_[base];
    stack->push_back(base);
    return absl::OkStatus();
  }

  absl::Status CheckReplacement(size_t unit) const {
    const size_t base = trie_.Base(unit);
    if (base >= nodes_.size()) return absl::InvalidArgumentError("its trie leads outside itself");
    const size_t begin = trie_.Value(base);
    if (begin >= replacements_.size()) return absl::OkStatus();  // the library leaves such a rule out
    const std::string_view head = replacements_.substr(begin, kMaxReplacementBytes + 1);
    const size_t length = head.find('\0');
    if (length == std::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat("a replacement has more than ", kMaxReplacementBytes, " bytes"));
    }
    if (FindInvalidUtf8(head.substr(0, length)) != std::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat("the replacement at byte ", begin, " is not UTF-8"));
    }
    return absl::OkStatus();
  }

  const Trie& trie_;
  const std::string_view replacements_;
  std::vector<Node> nodes_;  // by base
  std::vector<size_t> first_;
  std::vector<size_t> children_;
};

}  // namespace

absl::Status CheckCharsMap(std::string_view map) {
  uint32_t bytes = 0;
  if (map.size() <= sizeof(bytes)) return absl::InvalidArgumentError(absl::StrCat("it has ", map.size(), " bytes"));
  std::memcpy(&bytes, map.data(), sizeof(bytes));
  map.remove_prefix(sizeof(bytes));
  if (bytes == 0 || bytes % (kBlock * sizeof(uint32_t)) != 0 || bytes >= map.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("its trie has ", bytes, " bytes of ", map.size(), "; expected a multiple of 1024 and less"));
  }
  const std::string_view replacements = map.substr(bytes);
  if (replacements.back() != '\0') return absl::InvalidArgumentError("its last replacement has no end");
  Trie trie;
  trie.units.resize(bytes / sizeof(uint32_t));
  std::memcpy(trie.units.data(), map.data(), bytes);
  return Walk(trie, replacements).Run();
}

}  // namespace cascade
