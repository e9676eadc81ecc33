// Which tokens may come next, for configurations that were asked about lately.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/grammar/configurations.h"
#include "engine/grammar/token_trie.h"

namespace cascade::grammar {

// For one trie and one object of configurations; one thread at a time.
class MaskCache {
 public:
  explicit MaskCache(size_t max_bytes) : max_bytes_(max_bytes) {}

  // `bits`: at least trie.mask_words(); more are cleared. The work is bounded, see mask_cache.cc.
  void Read(const TokenTrie& trie, Configurations* configurations, uint32_t id, std::span<uint64_t> bits);

 private:
  struct Mask {
    uint32_t id = 0;
    std::vector<uint64_t> bits;
  };

  size_t max_bytes_;
  size_t bytes_ = 0;
  std::list<Mask> masks_;  // the one used last first
  absl::flat_hash_map<uint32_t, std::list<Mask>::iterator> places_;
};

}  // namespace cascade::grammar
