#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "engine/turn_request.h"

namespace cascade {

// Log-probabilities of one row of logits. The row outlives it.
class RowLogprobs {
 public:
  // No value: the logits are not finite. Only the first `vocabulary` of the row are tokens, but all count.
  static std::optional<RowLogprobs> Of(std::span<const float> logits, int32_t vocabulary);
  // Of `id`, and the `top` most probable tokens: best first, of equal ones the smaller id.
  TokenLogprobs Describe(int32_t id, int top) const;

 private:
  RowLogprobs(std::span<const float> logits, double log_sum) : logits_(logits), log_sum_(log_sum) {}
  float Logprob(int32_t id) const {
    return static_cast<float>(static_cast<double>(logits_[static_cast<size_t>(id)]) - log_sum_);
  }

  std::span<const float> logits_;  // of tokens
  double log_sum_;
};

}  // namespace cascade
