// One row of logits to one token id.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/backend.h"

namespace cascade::kernels {

// NaN if one of them is.
float LargestLogit(std::span<const float> logits);
// Natural logarithm of the sum of exp(logit). `largest`: of them, finite.
double LogSumExp(std::span<const float> logits, float largest);

// Owns scratch only: the result is a function of the arguments. One thread.
//
// Order, as in the transformers library: temperature; top_k; top_p, over what top_k left; min_p. Tokens are ranked by
// logit, equal ones by smaller id first.
//   top_k  the k first.
//   top_p  the shortest prefix whose probabilities sum to at least top_p; never empty.
//   min_p  those whose probability is at least min_p times the largest.
// Exact over the whole vocabulary; it is sorted only as far as the result depends on it.
class Sampler {
 public:
  // Below this temperature sampling is greedy: the first of the largest logits.
  static constexpr float kGreedyBelow = 1e-5f;

  struct Candidate {
    float logit;
    float weight;  // exp((logit - largest) / temperature), unnormalised
    int32_t id;
  };

  // `u` chooses among what the filters leave, in proportion to probability. kNoId when a logit is NaN or +inf, or none
  // is finite. The request's numbers are in their ranges: temperature >= 0, top_p in (0, 1], min_p in [0, 1].
  int32_t Sample(std::span<const float> logits, const SampleRequest& request);

  // What the filters leave, best first; until the next call. Not for greedy. Empty where Sample gives kNoId.
  std::span<const Candidate> Filter(std::span<const float> logits, const SampleRequest& request);

 private:
  void ComputeWeights(std::span<const float> logits, float largest, float temperature);
  void KeepTopK(std::span<const float> logits, int k);
  void KeepTopP(std::span<const float> logits, float top_p);
  void GatherFrom(std::span<const float> logits, float smallest_weight);
  void FilterRow(std::span<const float> logits, const SampleRequest& request);
  int32_t DrawFromAll(double u) const;
  int32_t DrawFromCandidates(double u) const;

  std::vector<float> weights_;      // [vocabulary]
  std::vector<double> block_sums_;  // of weights_, by kBlock
  std::vector<Candidate> candidates_;
};

}  // namespace cascade::kernels
