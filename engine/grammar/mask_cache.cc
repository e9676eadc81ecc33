#include "engine/grammar/mask_cache.h"

#include <algorithm>

namespace cascade::grammar {
namespace {

// Places that the new steps of one walk may come from: some 10 ms. Schemas that people write take a few thousand; where
// hundreds of patterns are alternatives, tokens of more than one byte may be left out of a mask beyond this.
constexpr int64_t kWalkBudget = 60'000;

void Compute(const TokenTrie& trie, Configurations* configurations, uint32_t id, std::span<uint64_t> bits) {
  Configurations::Walk walk = configurations->StartWalk(kWalkBudget);
  std::vector<uint32_t> path(trie.depth() + 1, Configurations::kDead);  // [depth]
  path[0] = id;
  const std::span<const TokenTrie::Node> nodes = trie.nodes();
  const std::span<const int32_t> tokens = trie.tokens();
  for (size_t i = 0; i + 1 < nodes.size();) {
    const TokenTrie::Node& node = nodes[i];
    // Single bytes are always looked at: with them a reply can go on from wherever it is.
    const uint32_t next = configurations->StepInWalk(path[node.depth - 1], node.byte, node.depth == 1, &walk);
    if (next == Configurations::kDead) {
      i = node.skip;
      continue;
    }
    path[node.depth] = next;
    const uint32_t end = nodes[++i].first_token;
    if (node.first_token == end || !configurations->IsLive(next)) continue;
    for (uint32_t token = node.first_token; token < end; ++token) {
      const uint32_t bit = static_cast<uint32_t>(tokens[token]);
      bits[bit / 64] |= uint64_t{1} << (bit % 64);
    }
  }
}

}  // namespace

void MaskCache::Read(const TokenTrie& trie, Configurations* configurations, uint32_t id, std::span<uint64_t> bits) {
  std::fill(bits.begin(), bits.end(), 0);
  const auto known = places_.find(id);
  if (known != places_.end()) {
    masks_.splice(masks_.begin(), masks_, known->second);
  } else {
    masks_.push_front({id, std::vector<uint64_t>(trie.mask_words(), 0)});
    places_[id] = masks_.begin();
    bytes_ += trie.mask_words() * sizeof(uint64_t);
    Compute(trie, configurations, id, masks_.front().bits);
    while (bytes_ > max_bytes_ && masks_.size() > 1) {
      places_.erase(masks_.back().id);
      masks_.pop_back();
      bytes_ -= trie.mask_words() * sizeof(uint64_t);
    }
  }
  const std::vector<uint64_t>& mask = masks_.front().bits;
  std::copy_n(mask.begin(), std::min(mask.size(), bits.size()), bits.begin());
}

}  // namespace cascade::grammar
