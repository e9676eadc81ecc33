#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace cascade {

// Tokens that are found in text as they are, before it is cut into pieces: a trie of their bytes. Immutable after the
// last Add; any thread may call. Finding costs at most the longest token's length per byte of text.
class SpecialTokens {
 public:
  // `text` must not be empty or there already.
  void Add(std::string_view text, int32_t id);
  bool empty() const { return nodes_.size() == 1; }

  // The token that is exactly `text`, or -1.
  int32_t Find(std::string_view text) const;
  // The longest token that `text` has at `pos`: its id and length; {-1, 0} if none.
  std::pair<int32_t, size_t> Match(std::string_view text, size_t pos) const;

 private:
  int32_t Child(int32_t node, char byte) const;

  std::vector<int32_t> nodes_ = {-1};                // the token that ends at the node, or -1; 0 is the root
  absl::flat_hash_map<uint64_t, int32_t> children_;  // node * 256 + byte
  bool first_[256] = {};                             // a token begins with this byte: most positions stop here
};

}  // namespace cascade
