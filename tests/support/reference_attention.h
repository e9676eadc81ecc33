// One session's cache and the ops on it as the specification words them (cache.md, sections 2 to 4), per query and key
// and in double. What is stored is rounded to the cache's type where the product rounds: when a key is appended or
// moved. Slow on purpose.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/backend.h"

namespace cascade::kernels {

class ReferenceCache {
 public:
  struct Entry {
    std::vector<double> key;    // [head_dim], rotated at its append index
    std::vector<double> value;  // [head_dim]
    std::vector<double> mass;   // [G], of the open stride
    double score = 0;           // as of the last close
    double distinctness = 0;
    uint32_t token = 0;
  };
  // Which of two candidates of a group the tested cache kept: decisions between near-ties are its own.
  using Kept = std::function<bool(int layer, int kv_head, int ring, uint32_t token)>;

  explicit ReferenceCache(const CacheShape& shape);

  // k, v: [slice rows, kv_heads * head_dim]; q, result: [slice rows, kv_heads * G * head_dim].
  void Append(const Slice& slice, int layer, const float* k, const float* v);
  std::vector<double> Attend(const Slice& slice, int layer, const float* q);
  // Selects what `kept` says and counts where the reference would have chosen otherwise.
  void CloseStride(const Close& close, const Kept& kept);

  Entry& At(int layer, int kv_head, int segment, int slot) {
    return entries_[layer * shape_.num_kv_heads + kv_head][segment][slot];
  }
  int selections() const { return selections_; }
  int disagreements() const { return disagreements_; }

 private:
  double Round(double x) const;  // to the cache's type
  std::vector<double> Turned(const std::vector<double>& x, int64_t position) const;
  void CloseHead(const Close& close, int layer, int kv_head, const Kept& kept);

  const CacheShape shape_;
  std::vector<std::vector<std::vector<Entry>>> entries_;  // [layers * kv_heads][segments][slots]
  int selections_ = 0;
  int disagreements_ = 0;
};

// The candidates that stay of a group, by sorting; `candidates` values each.
std::vector<bool> ReferenceSelection(const std::vector<double>& scores, const std::vector<double>& distinctness,
                                     Selection selection);

}  // namespace cascade::kernels
