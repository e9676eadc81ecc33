// The bytes of all tokens of a vocabulary as a tree.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/tokenizer.h"

namespace cascade {

// Made once for a tokenizer, of which it keeps nothing. Control tokens, the unknown token and tokens without bytes are
// not in it. Immutable; any thread. About 20 bytes for each byte of the vocabulary.
class TokenTrie {
 public:
  struct Node {
    uint8_t byte = 0;
    uint32_t depth = 0;        // bytes up to here
    uint32_t skip = 0;         // the next node that is not below this one
    uint32_t first_token = 0;  // of tokens(); those of this node end where the next one's begin
  };

  explicit TokenTrie(const Tokenizer& tokenizer);

  // Tells tries apart, also from one that was destroyed.
  uint64_t number() const { return number_; }
  int32_t vocabulary_size() const { return static_cast<int32_t>(begin_.size()) - 1; }
  // Words that a set of its tokens takes.
  size_t mask_words() const { return (static_cast<size_t>(vocabulary_size()) + 63) / 64; }

  // In the order of a walk, each node before what is below it, and an end behind them.
  std::span<const Node> nodes() const { return nodes_; }
  std::span<const int32_t> tokens() const { return tokens_; }
  uint32_t depth() const { return depth_; }
  // Bytes that are a token by themselves.
  const std::bitset<256>& single_bytes() const { return single_bytes_; }
  // Tokens with a quote in them.
  std::span<const int32_t> quoting() const { return quoting_; }

  // The bytes of a token; "" for one that is not in the trie, or an id outside the vocabulary.
  std::string_view bytes(int32_t id) const {
    if (id < 0 || id >= vocabulary_size()) return "";
    const size_t begin = begin_[static_cast<size_t>(id)];
    return std::string_view(text_).substr(begin, begin_[static_cast<size_t>(id) + 1] - begin);
  }

 private:
  uint64_t number_;
  std::string text_;
  std::vector<size_t> begin_;  // [vocabulary + 1], in text_
  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_;
  uint32_t depth_ = 0;
  std::bitset<256> single_bytes_;
  std::vector<int32_t> quoting_;
};

}  // namespace cascade
