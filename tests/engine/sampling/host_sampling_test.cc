// Rules, picks and log-probabilities against a plain second implementation, written from the definitions
// (cascade/v1/generate.proto, engine/sampling/logit_rules.h, kernels/sampler.h) in double.
#include "engine/sampling/host_sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "engine/sampling/counter_random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cascade {
namespace {

using Ids = std::vector<int32_t>;

constexpr double kNever = -std::numeric_limits<double>::infinity();

struct PlainCase {
  SamplingParams sampling;
  Ids end_ids;
  int64_t min_tokens = 0;
  uint64_t seed = 0;
  Ids conversation;  // before the reply
};

std::vector<double> PlainRules(const PlainCase& c, const std::vector<float>& row, const Ids& reply) {
  std::vector<double> logits(row.begin(), row.end());
  const SamplingParams& s = c.sampling;
  Ids all = c.conversation;
  all.insert(all.end(), reply.begin(), reply.end());
  std::set<int32_t> recent;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all.size() - i <= static_cast<size_t>(s.repeat_last_n)) recent.insert(all[i]);
  }
  for (int32_t id = 0; id < static_cast<int32_t>(logits.size()); ++id) {
    double& logit = logits[static_cast<size_t>(id)];
    const auto& allowed = s.allowed_token_ids;
    if (!allowed.empty() && std::count(allowed.begin(), allowed.end(), id) == 0) logit = kNever;
    if (static_cast<int64_t>(reply.size()) < c.min_tokens && std::count(c.end_ids.begin(), c.end_ids.end(), id) > 0) {
      logit = kNever;
    }
    if (recent.contains(id)) logit = logit > 0 ? logit / s.repetition_penalty : logit * s.repetition_penalty;
    const auto times = static_cast<double>(std::count(reply.begin(), reply.end(), id));
    logit -= times * s.frequency_penalty;
    if (times > 0) logit -= s.presence_penalty;
    for (const auto& [biased, bias] : s.logit_bias) {
      if (biased == id) logit = bias == -100.0f ? kNever : logit + bias;
    }
  }
  return logits;
}

// -1: nothing is left. `nudge` moves every threshold a little: where that changes the pick, rounding may too.
int32_t PlainPick(const std::vector<double>& logits, const SamplingParams& s, double u, double nudge) {
  Ids ranked(logits.size());
  std::iota(ranked.begin(), ranked.end(), 0);
  const auto at = [&](int32_t id) { return logits[static_cast<size_t>(id)]; };
  std::stable_sort(ranked.begin(), ranked.end(), [&](int32_t a, int32_t b) { return at(a) > at(b); });
  while (!ranked.empty() && at(ranked.back()) == kNever) ranked.pop_back();
  if (ranked.empty()) return -1;
  if (s.temperature == 0) return ranked.front();
  if (s.top_k > 0 && static_cast<size_t>(s.top_k) < ranked.size()) ranked.resize(static_cast<size_t>(s.top_k));
  const auto weight = [&](int32_t id) { return std::exp((at(id) - at(ranked.front())) / s.temperature); };
  if (s.top_p < 1) {
    double total = 0, sum = 0;
    for (const int32_t id : ranked) total += weight(id);
    size_t kept = 0;
    while (kept < ranked.size() && (kept == 0 || sum < (s.top_p + nudge) * total)) sum += weight(ranked[kept++]);
    ranked.resize(kept);
  }
  std::erase_if(ranked, [&](int32_t id) { return weight(id) < s.min_p * (1 + nudge); });
  // Without a filter ids are drawn in their own order, else in that of their rank.
  const bool top_k = s.top_k > 0 && static_cast<size_t>(s.top_k) < logits.size();
  const bool filtered = top_k || s.top_p < 1 || s.min_p > 0;
  if (!filtered) std::sort(ranked.begin(), ranked.end());
  double total = 0;
  for (const int32_t id : ranked) total += std::exp(at(id) / s.temperature - 50);
  double rest = (u + nudge) * total;
  for (const int32_t id : ranked) {
    rest -= std::exp(at(id) / s.temperature - 50);
    if (rest < 0) return id;
  }
  return ranked.back();
}

class RandomCases {
 public:
  explicit RandomCases(unsigned seed) : random_(seed) {}
  bool Chance(double p) { return std::uniform_real_distribution<>()(random_) < p; }
  int Int(int low, int high) { return std::uniform_int_distribution<>(low, high)(random_); }
  float Real(double low, double high) {
    return static_cast<float>(std::uniform_real_distribution<>(low, high)(random_));
  }
  std::vector<float> Row(int vocabulary) {
    std::vector<float> row(static_cast<size_t>(vocabulary));
    for (float& logit : row) logit = static_cast<float>(std::normal_distribution<>(0, 3)(random_));
    return row;
  }
  PlainCase Next(int vocabulary) {
    PlainCase c;
    SamplingParams& s = c.sampling;
    s.temperature = Chance(0.2) ? 0 : Real(0.3, 2);
    if (Chance(0.4)) s.top_k = Int(1, vocabulary);
    if (Chance(0.4)) s.top_p = Real(0.2, 1);
    if (Chance(0.4)) s.min_p = Real(0, 0.3);
    if (Chance(0.5)) s.repetition_penalty = Real(0.5, 2);
    if (Chance(0.5)) s.repeat_last_n = Int(0, 12);
    if (Chance(0.5)) s.frequency_penalty = Real(-2, 2);
    if (Chance(0.5)) s.presence_penalty = Real(-2, 2);
    if (Chance(0.4)) {
      std::map<int32_t, float> bias;
      for (int i = 0; i < 8; ++i) bias[Int(0, vocabulary - 1)] = Chance(0.3) ? -100.0f : Real(-5, 5);
      s.logit_bias.assign(bias.begin(), bias.end());
    }
    if (Chance(0.3)) {
      std::set<int32_t> allowed;
      for (int i = Int(1, 6); i > 0; --i) allowed.insert(Int(0, vocabulary - 1));
      s.allowed_token_ids.assign(allowed.begin(), allowed.end());
    }
    c.end_ids = {1, 5};
    if (Chance(0.4)) c.min_tokens = Int(1, 6);
    c.seed = random_();
    for (int i = Int(0, 30); i > 0; --i) c.conversation.push_back(Int(0, vocabulary - 1));
    return c;
  }

 private:
  std::mt19937 random_;
};

LogitRules RulesOf(const PlainCase& c, int vocabulary) {
  return LogitRules({.sampling = c.sampling,
                     .vocabulary = vocabulary,
                     .end_ids = c.end_ids,
                     .min_tokens = c.min_tokens,
                     .mask = nullptr},
                    c.conversation);
}

// No log-probabilities.
HostSampling::Setup SetupOf(uint64_t seed, int vocabulary) {
  HostSampling::Setup setup;
  setup.seed = seed;
  setup.vocabulary = vocabulary;
  setup.model_vocabulary = vocabulary + 3;
  return setup;
}

HostResult RunOnce(HostSampling& host, HostRows rows, kernels::Sampler& sampler) {
  HostResult result;
  host.Run(std::move(rows), sampler, [&](HostResult got) { result = std::move(got); });
  return result;
}

TEST(HostSamplingTest, PicksAreThoseOfThePlainImplementation) {
  RandomCases cases(2024);
  kernels::Sampler sampler;
  int picks = 0, on_the_edge = 0, empty = 0;
  for (int round = 0; round < 2500; ++round) {
    const int vocabulary = cases.Int(8, 200);
    const PlainCase c = cases.Next(vocabulary);
    HostSampling host(SetupOf(c.seed, vocabulary), c.sampling, RulesOf(c, vocabulary));
    Ids reply;
    for (int i = 0; i < 8; ++i) {
      const std::vector<float> row = cases.Row(vocabulary);
      const auto position = static_cast<uint64_t>(100 + i);
      const double u = static_cast<double>(CounterRandom64(c.seed, position) >> 11) * std::pow(2.0, -53);
      const std::vector<double> logits = PlainRules(c, row, reply);
      const int32_t expected = PlainPick(logits, c.sampling, u, 0);
      const HostResult got =
          RunOnce(host, {.logits = row, .targets = {}, .samples = true, .position = position}, sampler);
      if (expected < 0) {
        EXPECT_TRUE(absl::IsInvalidArgument(got.status)) << round;
        ++empty;
        break;
      }
      ASSERT_TRUE(got.status.ok()) << got.status;
      ++picks;
      // Rounding of single precision may decide here.
      std::vector<double> sorted = logits;
      std::sort(sorted.rbegin(), sorted.rend());
      const bool tie = c.sampling.temperature == 0 && sorted[0] - sorted[1] < 1e-5;
      if (tie || PlainPick(logits, c.sampling, u, 1e-5) != expected ||
          PlainPick(logits, c.sampling, u, -1e-5) != expected) {
        ++on_the_edge;
      } else {
        ASSERT_EQ(*got.id, expected) << "round " << round << " token " << i;
      }
      reply.push_back(*got.id);
    }
  }
  EXPECT_GT(picks, 15000);
  EXPECT_LT(on_the_edge, picks / 200);
  EXPECT_GT(empty, 0);
}

TEST(HostSamplingTest, LogprobsAreThoseOfTheModel) {
  RandomCases cases(7);
  kernels::Sampler sampler;
  for (int round = 0; round < 300; ++round) {
    const int vocabulary = cases.Int(5, 3000);
    const int padded = vocabulary + cases.Int(0, 40);
    const int top = cases.Int(0, 20);
    PlainCase c;
    c.sampling.temperature = 0;
    c.sampling.logit_bias = {{3, 50.0f}};  // chooses, and changes no log-probability
    HostSampling host(
        {.seed = 1, .logprobs = top, .prompt_logprobs = 2, .vocabulary = vocabulary, .model_vocabulary = padded},
        c.sampling, RulesOf(c, vocabulary));
    ASSERT_EQ(host.row_size(), padded);
    std::vector<float> rows = cases.Row(padded);
    rows[4] = rows[2];  // equal ones: the smaller id first
    const std::vector<float> second = cases.Row(padded);
    rows.insert(rows.end(), second.begin(), second.end());
    const HostResult got = RunOnce(host, {.logits = rows, .targets = {4}, .samples = true, .position = 9}, sampler);
    ASSERT_TRUE(got.status.ok()) << got.status;
    const auto check = [&](std::span<const float> row, int32_t id, int count, const TokenLogprobs& logprobs) {
      double sum = 0;
      for (const float logit : row) sum += std::exp(static_cast<double>(logit));
      const auto plain = [&](int32_t i) { return row[static_cast<size_t>(i)] - std::log(sum); };
      EXPECT_NEAR(logprobs.logprob, plain(id), 2e-6);
      Ids ranked(static_cast<size_t>(vocabulary));
      std::iota(ranked.begin(), ranked.end(), 0);
      std::stable_sort(ranked.begin(), ranked.end(),
                       [&](int32_t a, int32_t b) { return row[static_cast<size_t>(a)] > row[static_cast<size_t>(b)]; });
      ASSERT_EQ(logprobs.top.size(), std::min<size_t>(static_cast<size_t>(count), ranked.size()));
      for (size_t i = 0; i < logprobs.top.size(); ++i) {
        EXPECT_EQ(logprobs.top[i].id, ranked[i]);
        EXPECT_NEAR(logprobs.top[i].logprob, plain(ranked[i]), 2e-6);
      }
    };
    const auto all = std::span<const float>(rows);
    ASSERT_EQ(got.prompt.size(), 1u);
    EXPECT_EQ(got.prompt[0].first, 4);
    check(all.first(static_cast<size_t>(padded)), 4, 2, got.prompt[0].second);
    EXPECT_EQ(got.id, 3);
    ASSERT_TRUE(got.logprobs.has_value());
    check(all.last(static_cast<size_t>(padded)), 3, top, *got.logprobs);
  }
}

TEST(HostSamplingTest, LogitsThatAreNotFiniteAreAnError) {
  kernels::Sampler sampler;
  for (const float bad : {NAN, INFINITY}) {
    HostSampling host(SetupOf(1, 4), SamplingParams(), RulesOf(PlainCase(), 4));
    const HostResult got =
        RunOnce(host, {.logits = {0, bad, 1, 2}, .targets = {}, .samples = true, .position = 0}, sampler);
    EXPECT_TRUE(absl::IsInternal(got.status)) << got.status;
    EXPECT_FALSE(got.id.has_value());
  }
}

}  // namespace
}  // namespace cascade
