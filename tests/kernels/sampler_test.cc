#include "kernels/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "engine/sampling/counter_random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cascade::kernels {
namespace {

SampleRequest Params(float temperature, int top_k = 0, float top_p = 1, float min_p = 0) {
  SampleRequest params;
  params.temperature = temperature;
  params.top_k = top_k;
  params.top_p = top_p;
  params.min_p = min_p;
  return params;
}

int32_t SampleWith(Sampler& sampler, std::span<const float> logits, SampleRequest params, double u) {
  params.u = u;
  return sampler.Sample(logits, params);
}

int32_t Sample(std::span<const float> logits, const SampleRequest& params, double u) {
  Sampler sampler;
  return SampleWith(sampler, logits, params, u);
}

std::vector<float> RandomLogits(std::mt19937& random, size_t count, float spread) {
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(count);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

// The definition, by sorting everything, in double.
std::vector<int32_t> ReferenceFilter(std::span<const float> logits, const SampleRequest& params) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < order.size()) order.resize(params.top_k);
  std::vector<double> weights;
  for (const int32_t id : order)
    weights.push_back(std::exp((double{logits[id]} - logits[order[0]]) / params.temperature));
  if (params.top_p < 1) {
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    size_t kept = 0;
    for (double sum = 0; kept < weights.size() && (kept == 0 || sum < params.top_p * total); ++kept)
      sum += weights[kept];
    order.resize(kept);
  }
  size_t kept = 1;
  while (kept < order.size() && weights[kept] >= params.min_p) ++kept;
  order.resize(kept);
  return order;
}

TEST(SamplerTest, GreedyTakesTheFirstOfTheLargest) {
  const std::vector<float> logits = {1, 5, 2, 5, -3};
  for (const float temperature : {0.0f, 9e-6f}) EXPECT_EQ(Sample(logits, Params(temperature), 0.99), 1);
  EXPECT_EQ(Sample(std::vector<float>{-7}, Params(0), 0.5), 0);
}

TEST(SamplerTest, GreedyIgnoresFilters) { EXPECT_EQ(Sample(std::vector<float>{0, 9}, Params(0, 1, 0.1f, 1), 0), 1); }

TEST(SamplerTest, LogitsThatAreNotFinite) {
  Sampler sampler;
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<std::vector<float>> rows = {{1, NAN, 2}, {1, 2, 3, 4, NAN}, {1, inf}, {-inf, -inf}, {NAN, 1, 2, 3}};
  for (const auto& row : rows) {
    for (const float temperature : {0.0f, 1.0f}) {
      EXPECT_EQ(SampleWith(sampler, row, Params(temperature), 0.5), kNoId);
      EXPECT_TRUE(temperature == 0.0f || sampler.Filter(row, Params(temperature)).empty());
    }
  }
  const std::vector<float> masked = {-inf, 3, -inf};  // allowed: probability 0
  for (const double u : {0.0, 0.5, 0.999999}) EXPECT_EQ(Sample(masked, Params(1), u), 1);
}

TEST(SamplerTest, FiltersEqualTheirDefinition) {
  std::mt19937 random(11);
  Sampler sampler;
  int compared = 0;
  for (int round = 0; round < 600; ++round) {
    const size_t count = round % 20 == 0 ? 49152 : 1 + random() % 3000;
    std::vector<float> logits = RandomLogits(random, count, round % 3 == 0 ? 0.5f : 3.0f);
    if (round % 4 == 0) {
      for (float& logit : logits) logit = std::round(logit * 2) / 2;  // ties
    }
    const float top_ps[] = {1.0f, 0.95f, 0.5f, 0.1f, 1e-6f};
    const float min_ps[] = {0.0f, 0.0f, 0.05f, 0.5f, 1.0f};
    const int top_ks[] = {0, 1, 40, 511, 600, 1 << 20};
    const SampleRequest params = Params(0.3f + 0.1f * static_cast<float>(random() % 15), top_ks[random() % 6],
                                        top_ps[random() % 5], min_ps[random() % 5]);
    const auto got = sampler.Filter(logits, params);
    std::vector<int32_t> ids;
    for (const Sampler::Candidate& candidate : got) ids.push_back(candidate.id);
    std::vector<int32_t> want = ReferenceFilter(logits, params);
    // Sums in float and double part at the last candidate only.
    const bool near = ids.size() + 1 == want.size() || ids.size() == want.size() + 1;
    if (near) {
      const size_t common = std::min(ids.size(), want.size());
      ids.resize(common);
      want.resize(common);
    } else {
      ++compared;
    }
    ASSERT_EQ(ids, want) << "round " << round << " k " << params.top_k << " p " << params.top_p << " min "
                         << params.min_p;
  }
  EXPECT_GT(compared, 590);
}

// Draws follow the probabilities: chi-squared over the tokens that the filters leave.
TEST(SamplerTest, DrawsFollowTheProbabilities) {
  std::mt19937 random(5);
  const std::vector<float> logits = RandomLogits(random, 50, 1.0f);
  Sampler sampler;
  for (const SampleRequest& params : {Params(1), Params(0.7f), Params(2), Params(1, 10), Params(1, 0, 0.8f),
                                      Params(1, 0, 1, 0.2f), Params(0.9f, 20, 0.9f, 0.05f)}) {
    const std::vector<int32_t> kept = ReferenceFilter(logits, params);
    double total = 0;
    for (const int32_t id : kept) total += std::exp(logits[id] / params.temperature);
    constexpr int kDraws = 40000;
    std::vector<int> counts(logits.size(), 0);
    for (int i = 0; i < kDraws; ++i) {
      const int32_t id = SampleWith(sampler, logits, params, CounterRandomUniform(99, static_cast<uint64_t>(i)));
      ASSERT_GE(id, 0);
      ++counts[static_cast<size_t>(id)];
    }
    double chi_squared = 0;
    int drawn = 0;
    for (const int32_t id : kept) {
      const double expected = kDraws * std::exp(logits[id] / params.temperature) / total;
      chi_squared += std::pow(counts[id] - expected, 2) / expected;
      drawn += counts[id];
    }
    EXPECT_EQ(drawn, kDraws) << "a token that the filters removed was drawn";
    const double freedom = static_cast<double>(kept.size()) - 1;
    EXPECT_LT(chi_squared, freedom + 5 * std::sqrt(2 * freedom) + 5) << kept.size() << " tokens";
  }
}

TEST(SamplerTest, TheWholeRangeOfUIsValid) {
  std::mt19937 random(6);
  const std::vector<float> logits = RandomLogits(random, 5000, 4.0f);
  const double last = std::nextafter(1.0, 0.0);
  for (const SampleRequest& params : {Params(1), Params(2, 7), Params(1, 0, 0.5f)}) {
    for (const double u : {0.0, 1e-300, 0.5, last}) {
      const int32_t id = Sample(logits, params, u);
      EXPECT_GE(id, 0);
      EXPECT_LT(id, 5000);
    }
  }
}

TEST(SamplerTest, ExponentialIsAccurate) {
  std::vector<float> logits = {0};
  for (int i = 1; i < 20000; ++i) logits.push_back(-0.005f * static_cast<float>(i));
  Sampler sampler;
  const auto kept = sampler.Filter(logits, Params(1));
  ASSERT_EQ(kept.size(), logits.size());
  for (const Sampler::Candidate& candidate : kept) {
    const double want = std::exp(double{candidate.logit});
    if (candidate.logit < -87) {
      EXPECT_EQ(candidate.weight, 0.0f);
    } else {
      EXPECT_NEAR(candidate.weight / want, 1.0, 3e-7) << candidate.logit;
    }
  }
}

}  // namespace
}  // namespace cascade::kernels
