// The paper's own per-token cache update (arXiv 2406.17808): sub-cache i accepts every 2^i-th token, a clock that no
// score changes, with four cases at a sub-cache. Our strides contain it: with equal sub-caches, selection by attention
// and groups of 1 they keep the same tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace cascade::test {

class PaperCascade {
 public:
  struct Entry {
    int64_t token = 0;
    float score = 0;
  };

  PaperCascade(int num_sinks, int num_sub_caches, int sub_cache_tokens)
      : num_sinks_(num_sinks), width_(sub_cache_tokens), sub_caches_(num_sub_caches) {}

  // `token` counts from the session's start, sinks included; sinks are not inserted.
  void Insert(int64_t token, float score);
  std::vector<int64_t> Tokens() const;  // old to new
  template <class F>
  void ForEach(F f) {
    for (auto& sub_cache : sub_caches_) {
      for (Entry& entry : sub_cache) f(entry);
    }
  }

 private:
  const int num_sinks_;
  const int width_;
  std::vector<std::vector<Entry>> sub_caches_;  // each oldest first; 0 is the newest
};

}  // namespace cascade::test
