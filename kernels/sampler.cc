#include "kernels/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/base/check.h"

namespace cascade::kernels {
namespace {

constexpr size_t kBlock = 512;
// Up to here a heap of k entries beats partitioning the whole vocabulary: nearly all entries fail one comparison.
constexpr int kHeapMax = 512;

// exp(x) for x <= 0, to 2 ulp; 0 below -87. Branch-free, so that compilers vectorise the loop around it: std::exp over
// a vocabulary of 49,152 costs about 0.3 ms, this about 0.03 ms. (Cephes' expf.)
inline float ExpNonPositive(float x) {
  const float clamped = x < -87.0f ? -87.0f : x;
  const float shifted = clamped * 1.44269504088896341f + 12582912.0f;  // rounds to an integer in the low mantissa bits
  const float n = shifted - 12582912.0f;
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t exponent = std::bit_cast<int32_t>(shifted) - 0x4B400000 + 127;
  const float scaled = p * std::bit_cast<float>(exponent << 23);
  return x < -87.0f ? 0.0f : scaled;
}

// Candidate a comes before b.
bool Before(const Sampler::Candidate& a, const Sampler::Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

}  // namespace

// Four chains, because a maximum's latency is what a plain loop would wait for.
float LargestLogit(std::span<const float> logits) {
  float best[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
  bool nan = false;
  size_t i = 0;
  for (; i + 4 <= logits.size(); i += 4) {
    for (size_t lane = 0; lane < 4; ++lane) {
      const float x = logits[i + lane];
      nan |= x != x;
      best[lane] = x > best[lane] ? x : best[lane];
    }
  }
  for (; i < logits.size(); ++i) {
    nan |= logits[i] != logits[i];
    best[0] = std::max(best[0], logits[i]);
  }
  return nan ? NAN : std::max({best[0], best[1], best[2], best[3]});
}

double LogSumExp(std::span<const float> logits, float largest) {
  double total = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    const size_t end = std::min(begin + kBlock, logits.size());
    float weights[kBlock];
    for (size_t i = begin; i < end; ++i) weights[i - begin] = ExpNonPositive(logits[i] - largest);
    double lanes[4] = {0, 0, 0, 0};
    size_t i = 0;
    for (; i + 4 <= end - begin; i += 4) {
      for (size_t lane = 0; lane < 4; ++lane) lanes[lane] += weights[i + lane];
    }
    for (; i < end - begin; ++i) lanes[0] += weights[i];
    total += lanes[0] + lanes[1] + lanes[2] + lanes[3];
  }
  return static_cast<double>(largest) + std::log(total);
}

int32_t Sampler::Sample(std::span<const float> logits, const SampleRequest& request) {
  const float largest = LargestLogit(logits);
  if (!std::isfinite(largest)) return kNoId;
  if (request.temperature < kGreedyBelow) {
    return static_cast<int32_t>(std::find(logits.begin(), logits.end(), largest) - logits.begin());
  }
  ComputeWeights(logits, largest, request.temperature);
  const bool all = (request.top_k == 0 || static_cast<size_t>(request.top_k) >= logits.size()) &&
                   request.top_p >= 1.0f && request.min_p <= 0.0f;
  if (all) return DrawFromAll(request.u);
  FilterRow(logits, request);
  return DrawFromCandidates(request.u);
}

std::span<const Sampler::Candidate> Sampler::Filter(std::span<const float> logits, const SampleRequest& request) {
  const float largest = LargestLogit(logits);
  if (!std::isfinite(largest)) return {};
  ComputeWeights(logits, largest, request.temperature);
  FilterRow(logits, request);
  return candidates_;
}

void Sampler::FilterRow(std::span<const float> logits, const SampleRequest& request) {
  const bool top_k = request.top_k > 0 && static_cast<size_t>(request.top_k) < logits.size();
  candidates_.clear();
  if (top_k) KeepTopK(logits, request.top_k);
  if (request.top_p < 1.0f) {
    KeepTopP(top_k ? std::span<const float>() : logits, request.top_p);
  } else if (!top_k) {
    GatherFrom(logits, request.min_p);  // min_p comes next anyway, and need not sort more than it keeps
  }
  // The largest weight is exp(0) = 1, so min_p is a bound on weights themselves; the candidates are in order.
  const auto end = std::find_if(candidates_.begin() + 1, candidates_.end(),
                                [&](const Candidate& candidate) { return candidate.weight < request.min_p; });
  candidates_.erase(end, candidates_.end());
}

void Sampler::ComputeWeights(std::span<const float> logits, float largest, float temperature) {
  weights_.resize(logits.size());
  const float inverse = 1.0f / temperature;
  const float* in = logits.data();
  float* out = weights_.data();
  for (size_t i = 0; i < logits.size(); ++i) out[i] = ExpNonPositive((in[i] - largest) * inverse);
  block_sums_.clear();
  for (size_t begin = 0; begin < weights_.size(); begin += kBlock) {
    const size_t end = std::min(begin + kBlock, weights_.size());
    double lanes[4] = {0, 0, 0, 0};
    size_t i = begin;
    for (; i + 4 <= end; i += 4) {
      for (size_t lane = 0; lane < 4; ++lane) lanes[lane] += out[i + lane];
    }
    for (; i < end; ++i) lanes[0] += out[i];
    block_sums_.push_back(lanes[0] + lanes[1] + lanes[2] + lanes[3]);
  }
}

void Sampler::KeepTopK(std::span<const float> logits, int k) {
  const auto candidate = [&](size_t i) { return Candidate{logits[i], weights_[i], static_cast<int32_t>(i)}; };
  if (k <= kHeapMax) {
    size_t i = 0;
    for (; i < static_cast<size_t>(k); ++i) candidates_.push_back(candidate(i));
    std::make_heap(candidates_.begin(), candidates_.end(), Before);  // the last of them on top
    for (; i < logits.size(); ++i) {
      if (!(logits[i] > candidates_.front().logit)) continue;  // an equal one has the larger id and comes after
      std::pop_heap(candidates_.begin(), candidates_.end(), Before);
      candidates_.back() = candidate(i);
      std::push_heap(candidates_.begin(), candidates_.end(), Before);
    }
    std::sort_heap(candidates_.begin(), candidates_.end(), Before);
    return;
  }
  for (size_t i = 0; i < logits.size(); ++i) candidates_.push_back(candidate(i));
  std::nth_element(candidates_.begin(), candidates_.begin() + k, candidates_.end(), Before);
  candidates_.resize(static_cast<size_t>(k));
  std::sort(candidates_.begin(), candidates_.end(), Before);
}

// Candidates of weight >= `smallest_weight`, sorted.
void Sampler::GatherFrom(std::span<const float> logits, float smallest_weight) {
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (weights_[i] >= smallest_weight) candidates_.push_back({logits[i], weights_[i], static_cast<int32_t>(i)});
  }
  std::sort(candidates_.begin(), candidates_.end(), Before);
}

// Of `candidates_` when `logits` is empty, else of the whole row.
void Sampler::KeepTopP(std::span<const float> logits, float top_p) {
  const auto mass_of_candidates = [this] {
    return std::accumulate(candidates_.begin(), candidates_.end(), 0.0,
                           [](double sum, const Candidate& candidate) { return sum + candidate.weight; });
  };
  double total = 0;
  if (logits.empty()) {
    total = mass_of_candidates();
  } else {
    total = std::accumulate(block_sums_.begin(), block_sums_.end(), 0.0);
    // All tokens above some weight are a prefix of the ranking. If they hold enough mass the nucleus lies within, and
    // the long tail need not be sorted.
    for (const float smallest : {0x1.0p-7f, 0x1.0p-12f, 0x1.0p-18f, 0.0f}) {
      GatherFrom(logits, smallest);
      if (mass_of_candidates() >= top_p * total) break;
    }
  }
  const double wanted = top_p * total;
  double sum = 0;
  size_t kept = 0;
  while (kept < candidates_.size() && (kept == 0 || sum < wanted)) sum += candidates_[kept++].weight;
  candidates_.resize(kept);
}

// By blocks, then within one. Rounding may leave `rest` a little over at the end: then it is the last token that has
// any weight.
int32_t Sampler::DrawFromAll(double u) const {
  double rest = u * std::accumulate(block_sums_.begin(), block_sums_.end(), 0.0);
  size_t chosen = 0;
  for (size_t block = 0; block < block_sums_.size(); ++block) {
    if (block_sums_[block] <= 0) continue;
    chosen = block;
    if (rest < block_sums_[block]) break;
    rest -= block_sums_[block];
  }
  const size_t end = std::min((chosen + 1) * kBlock, weights_.size());
  size_t last = chosen * kBlock;
  for (size_t i = chosen * kBlock; i < end; ++i) {
    if (weights_[i] <= 0) continue;
    last = i;
    if (rest < weights_[i]) break;
    rest -= weights_[i];
  }
  return static_cast<int32_t>(last);
}

int32_t Sampler::DrawFromCandidates(double u) const {
  CASCADE_CHECK(!candidates_.empty());
  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  double rest = u * total;
  int32_t chosen = candidates_.front().id;
  for (const Candidate& candidate : candidates_) {
    if (candidate.weight <= 0) break;  // they are in order
    chosen = candidate.id;
    if (rest < candidate.weight) break;
    rest -= candidate.weight;
  }
  return chosen;
}

}  // namespace cascade::kernels
