#include "engine/sampling/logprobs.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/sampler.h"

namespace cascade {

std::optional<RowLogprobs> RowLogprobs::Of(std::span<const float> logits, int32_t vocabulary) {
  const float largest = kernels::LargestLogit(logits);
  if (!std::isfinite(largest)) return std::nullopt;
  return RowLogprobs(logits.first(static_cast<size_t>(vocabulary)), kernels::LogSumExp(logits, largest));
}

TokenLogprobs RowLogprobs::Describe(int32_t id, int top) const {
  TokenLogprobs described;
  described.logprob = Logprob(id);
  if (top == 0) return described;
  const auto before = [this](int32_t a, int32_t b) {
    const float x = logits_[static_cast<size_t>(a)], y = logits_[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  };
  // A heap with the last of the best on top: nearly all ids fail one comparison.
  std::vector<int32_t> best;
  const auto size = std::min(static_cast<size_t>(top), logits_.size());
  for (int32_t candidate = 0; candidate < static_cast<int32_t>(logits_.size()); ++candidate) {
    if (best.size() == size) {
      // An equal one has the larger id and comes after.
      if (!(logits_[static_cast<size_t>(candidate)] > logits_[static_cast<size_t>(best.front())])) continue;
      std::pop_heap(best.begin(), best.end(), before);
      best.pop_back();
    }
    best.push_back(candidate);
    std::push_heap(best.begin(), best.end(), before);
  }
  std::sort_heap(best.begin(), best.end(), before);
  for (const int32_t one : best) described.top.push_back({one, Logprob(one)});
  return described;
}

}  // namespace cascade
