// One session's cache and the ops on it as the specification words them (cache.md, sections 2 to 4), per query and key
// and in double. What is stored is rounded to the cache's type where the product rounds: when a key is appended or
// moved. Slow on purpose. Beside every result it keeps the variance that the back end's own roundings give it
// (rounding.h).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/backend.h"

namespace cascade::kernels {

// Roundings of a back end that the reference does not make, as relative deviations (rounding.h), and what else differs.
struct CacheRounding {
  double query = 0;     // of a rotated query's elements
  double weight = 0;    // of a probability before it multiplies a value
  double output = 0;    // of an output
  double key = 0;       // largest relative error of a key's element: one that was rounded the other way
  double floor = 5e-5;  // float32's sums, exponentials and rotations, for results of size 1; as measured, with room

  // Of a back end that computes in `compute`. The CPU, in float32, does what the reference does; float16 keys that
  // rounded the other way are in the floor. CUDA rotates queries to bfloat16 and rounds probabilities to it.
  static CacheRounding Of(DType compute, DType kv_type);
  double Bound(double size, double variance) const;
};

class ReferenceCache {
 public:
  struct Entry {
    std::vector<double> key;            // [head_dim], rotated at its append index
    std::vector<double> value;          // [head_dim]
    std::vector<double> mass;           // [G], of the open stride
    std::vector<double> mass_variance;  // [G]
    double score = 0;                   // as of the last close
    double score_variance = 0;
    double distinctness = 0;
    double distinctness_bound = 0;
    uint32_t token = 0;
  };
  // Which of two candidates of a group the tested cache kept: decisions between near-ties are its own.
  using Kept = std::function<bool(int layer, int kv_head, int ring, uint32_t token)>;

  ReferenceCache(const CacheShape& shape, const CacheRounding& rounding);

  // k, v: [slice rows, kv_heads * head_dim]; q, result: [slice rows, kv_heads * G * head_dim].
  void Append(const Slice& slice, int layer, const float* k, const float* v);
  // variance: [as the result].
  std::vector<double> Attend(const Slice& slice, int layer, const float* q, std::vector<double>& variance);
  // Selects what `kept` says and counts where the reference would have chosen otherwise; and groups in which it could
  // not: all candidates are further apart than the errors of what they are ordered by.
  void CloseStride(const Close& close, const Kept& kept);

  Entry& At(int layer, int kv_head, int segment, int slot) {
    return entries_[layer * shape_.num_kv_heads + kv_head][segment][slot];
  }
  int selections() const { return selections_; }
  int disagreements() const { return disagreements_; }
  int clear_groups() const { return clear_groups_; }
  int wrong_clear_groups() const { return wrong_clear_groups_; }
  double ScoreBound(const Entry& entry) const { return rounding_.Bound(1 + entry.score, entry.score_variance); }

 private:
  std::vector<double> Turned(const std::vector<double>& x, int64_t position) const;
  void FoldScore(Entry& entry) const;
  void SetDistinctness(const Close& close, int layer, int kv_head);
  // Whether no two candidates are so near that errors could exchange them.
  bool IsClear(const std::vector<const Entry*>& candidates) const;
  void CloseHead(const Close& close, int layer, int kv_head, const Kept& kept);
  Entry& AtIndex(int layer, int kv_head, int ring, int64_t index) {
    return At(layer, kv_head, ring + 1, static_cast<int>(index % shape_.ring_slots[ring]));
  }

  const CacheShape shape_;
  const CacheRounding rounding_;
  std::vector<std::vector<std::vector<Entry>>> entries_;  // [layers * kv_heads][segments][slots]
  int selections_ = 0;
  int disagreements_ = 0;
  int clear_groups_ = 0;
  int wrong_clear_groups_ = 0;
};

// The candidates that stay of a group, by sorting; `candidates` values each.
std::vector<bool> ReferenceSelection(const std::vector<double>& scores, const std::vector<double>& distinctness,
                                     Selection selection);

}  // namespace cascade::kernels
