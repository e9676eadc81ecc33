// The kernels for strides of one kind of device against those for all devices, which attend_test.cc compares with the
// reference, over caches of many tiles; scores by predictions against their certificates.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/cuda_backend.h"
#include "tests/support/cache_script.h"

namespace cascade::kernels {

// For GoogleTest.
void PrintTo(const CacheCase& test_case, std::ostream* out) { *out << test_case.name; }

namespace {

struct StrideRun {
  CacheRun run;
  ScoreCertificates certificates;
};

StrideRun RunWith(const CacheCase& test_case, const CudaOptions& options, const Slicing& slicing = {}) {
  absl::StatusOr<std::unique_ptr<Backend>> backend = CreateCudaBackend(options);
  CASCADE_CHECK(backend.ok());
  CacheRun run = RunCache(**backend, test_case, slicing);
  return {std::move(run), (*backend)->TakeScoreCertificates()};
}

// Who stays does not depend on scores, so that runs hold the same tokens.
CacheCase Long(CacheCase test_case, int closes, bool heavy, RopePairs pairs) {
  test_case.shape.kv_type = DType::kBF16;
  test_case.shape.selection = Selection::kDistinctness;
  test_case.shape.rope.pairs = pairs;
  test_case.shape.ema_decay = 0.999;
  test_case.heavy = heavy;
  test_case.tokens = TokensToWrap(test_case.shape, closes);
  return test_case;
}

std::string NameOf(const testing::TestParamInfo<CacheCase>& info) { return info.param.name; }

class CudaStrideAttentionTest : public testing::TestWithParam<CacheCase> {
 protected:
  const CacheCase& Case() const { return GetParam(); }
};

std::vector<CacheCase> Cases() {
  constexpr auto kHalves = RopePairs::kHalves, kInterleaved = RopePairs::kInterleaved;
  return {Long(MakeCase("group_of_4", 128, 4, {1024, 512}, 256, 4), 3, false, kHalves),
          Long(MakeCase("heavy_group_of_4", 128, 4, {1024, 512}, 256, 4), 3, true, kHalves),
          Long(MakeCase("heavy_head_of_64", 64, 3, {1500, 500, 500}, 250, 4), 3, true, kInterleaved),
          Long(MakeCase("head_of_80", 80, 1, {700}, 150, 1), 2, false, kHalves),
          Long(MakeCase("group_of_7", 64, 7, {1000}, 333, 0), 2, false, kHalves),
          Long(MakeCase("heavy_group_of_16", 128, 16, {512}, 129, 5), 2, true, kHalves),
          // Of every 8th and of every 16th key.
          Long(MakeCase("keys_8k", 64, 1, {8000}, 1000, 4), 1, false, kHalves),
          Long(MakeCase("keys_16k", 128, 2, {16000}, 1000, 4), 1, false, kHalves)};
}

// Whether the device has predictions. Else asking for them must say so.
bool Predicts() {
  absl::StatusOr<std::unique_ptr<Backend>> backend = CreateCudaBackend({.score_kernel = ScoreKernel::kFast});
  CASCADE_CHECK(backend.ok());
  const absl::Status status = (*backend)->CreateCaches(Cases().front().shape, 1, 16);
  if (status.ok()) return true;
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT((*backend)->Description(), testing::Not(testing::ContainsRegex("H(20|100|200|800)")));
  return false;
}

// A NaN fails, whatever it is compared with.
void ExpectAtMost(double error, double bound, const std::string& what) {
  if (!(error <= bound)) ADD_FAILURE() << what << ": " << error << " is not at most " << bound;
}

// Both round probabilities and outputs to bfloat16, and values are below 1.5.
void ExpectSameOutputs(const CacheRun& run, const CacheRun& other) {
  ASSERT_EQ(run.outputs.size(), other.outputs.size());
  for (size_t s = 0; s < run.outputs.size(); ++s) {
    ASSERT_EQ(run.outputs[s].size(), other.outputs[s].size());
    for (size_t i = 0; i < run.outputs[s].size() && !testing::Test::HasFailure(); ++i) {
      const double error = std::abs(run.outputs[s][i] - other.outputs[s][i]);
      if (!(error <= 3 * 1.5 * 0x1p-8)) ExpectAtMost(error, 3 * 1.5 * 0x1p-8, "output " + std::to_string(i));
    }
  }
}

// Calls compare(a score, what it should be, ring, slot) for all keys of all heads, and end(head) after each head.
template <class Compare, class End>
void ForScores(const CacheRun& run, const CacheRun& other, Compare compare, End end) {
  ASSERT_EQ(run.heads.size(), other.heads.size());
  for (size_t s = 0; s < run.heads.size(); ++s) {
    for (size_t head = 0; head < run.heads[s].size(); ++head) {
      const HeadContents &a = run.heads[s][head], &b = other.heads[s][head];
      ASSERT_EQ(a.tokens, b.tokens);
      for (size_t segment = 1; segment < a.scores.size(); ++segment) {
        for (size_t slot = 0; slot < a.scores[segment].size(); ++slot) {
          compare(a.scores[segment][slot], b.scores[segment][slot], segment - 1, slot);
        }
      }
      end(head);
    }
  }
}

void ExpectSameScores(const CacheRun& run, const CacheRun& other) {
  ForScores(
      run, other,
      [](double score, double right, size_t ring, size_t slot) {
        if (std::abs(score - right) <= 1e-3 * right + 1e-9 || testing::Test::HasFailure()) return;
        ADD_FAILURE() << "ring " << ring << " slot " << slot << ": " << score << " instead of " << right;
      },
      [](size_t) {});
}

TEST_P(CudaStrideAttentionTest, ExactScoresAgree) {
  const StrideRun plain = RunWith(Case(), {.deterministic = true});
  const StrideRun exact = RunWith(Case(), {.score_kernel = ScoreKernel::kExact});
  ExpectSameOutputs(exact.run, plain.run);
  ExpectSameScores(exact.run, plain.run);
  EXPECT_EQ(exact.certificates.heads, 0);
}

TEST_P(CudaStrideAttentionTest, ExactIsRepeatable) {
  const CudaOptions options = {.score_kernel = ScoreKernel::kExact};
  const StrideRun first = RunWith(Case(), options);
  for (const float x : first.run.outputs[0]) ASSERT_TRUE(std::isfinite(x));
  ExpectSameRun(first.run, RunWith(Case(), options).run);
}

TEST_P(CudaStrideAttentionTest, PredictedScoresAreWithinTheirCertificate) {
  if (!Predicts()) return;
  // What a head's keys may have in all: each row gives its weight's worth.
  const double beta = Case().shape.ema_decay;
  const double weights = (1 - std::pow(beta, Case().tokens)) / (1 - beta);
  for (const DType compute : {DType::kBF16, DType::kF16}) {
    const StrideRun exact = RunWith(Case(), {.compute = compute, .score_kernel = ScoreKernel::kExact});
    for (const bool slices : {false, true}) {
      const Slicing slicing = slices ? Slicing{.sessions = 2, .most_rows = 90, .seed = 3} : Slicing{};
      StrideRun fast =
          RunWith(Case(), {.compute = compute, .score_kernel = ScoreKernel::kFast, .certificate_limit = 10}, slicing);
      fast.run.outputs.resize(1), fast.run.heads.resize(1);
      ExpectSameOutputs(fast.run, exact.run);
      EXPECT_GT(fast.certificates.heads, 0);
      EXPECT_EQ(fast.certificates.rejected, 0);
      double differs = 0, most = 0;
      ForScores(
          fast.run, exact.run, [&](double score, double right, size_t, size_t) { differs += std::abs(score - right); },
          [&](size_t head) {
            ExpectAtMost(differs, (fast.certificates.worst + 1e-3) * weights, "head " + std::to_string(head));
            most = std::max(most, differs / weights);
            differs = 0;
          });
      std::printf("worst certificate %.4f of %lld heads, scores differ by %.5f of all attention\n",
                  fast.certificates.worst, static_cast<long long>(fast.certificates.heads), most);
    }
  }
}

TEST_P(CudaStrideAttentionTest, AboveTheLimitScoresAreExact) {
  if (!Predicts()) return;
  const StrideRun exact = RunWith(Case(), {.score_kernel = ScoreKernel::kExact});
  const StrideRun fast = RunWith(Case(), {.score_kernel = ScoreKernel::kFast, .certificate_limit = 0});
  ExpectSameOutputs(fast.run, exact.run);
  EXPECT_GT(fast.certificates.rejected, 0);
  ExpectSameScores(fast.run, exact.run);
}

TEST_P(CudaStrideAttentionTest, ANeighboursNaNsStayItsOwn) {
  if (!Predicts()) return;
  const CudaOptions options = {.score_kernel = ScoreKernel::kFast};
  CacheCase test_case = Case();
  for (const int most_rows : {1 << 20, 90}) {
    const Slicing slicing = {.sessions = 2, .most_rows = most_rows, .seed = most_rows < 100 ? 3u : 0u};
    test_case.nan_session = -1;
    CacheRun healthy = RunWith(test_case, options, slicing).run;
    test_case.nan_session = 1;
    const CacheRun beside = RunWith(test_case, options, slicing).run;
    healthy.outputs.resize(1), healthy.heads.resize(1);
    for (const float x : healthy.outputs[0]) ASSERT_TRUE(std::isfinite(x));
    ExpectSameRun(healthy, beside);
  }
}

// What `auto` takes by itself: rows times slots (sm90/stride_attention.cc).
TEST_P(CudaStrideAttentionTest, AutoPredictsLargeStrides) {
  if (!Predicts()) return;
  const StrideRun chosen = RunWith(Case(), {.score_kernel = ScoreKernel::kAuto, .certificate_limit = 10});
  EXPECT_EQ(chosen.certificates.heads > 0, Case().shape.ring_slots[0] >= 8000);
}

INSTANTIATE_TEST_SUITE_P(Cases, CudaStrideAttentionTest, testing::ValuesIn(Cases()), NameOf);

}  // namespace
}  // namespace cascade::kernels
