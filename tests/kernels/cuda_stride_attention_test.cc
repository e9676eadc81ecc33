// The kernels for strides of one kind of device against those for all devices, which attend_test.cc compares with the
// reference, over caches of many tiles; scores by predictions against their certificates.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

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

// Both round probabilities and outputs to bfloat16; values are below 1.5, and one has four million of them at most.
void ExpectSameOutputs(const CacheRun& run, const CacheRun& other) {
  ASSERT_EQ(run.outputs.size(), other.outputs.size());
  for (size_t s = 0; s < run.outputs.size(); ++s) {
    ASSERT_EQ(run.outputs[s].size(), other.outputs[s].size());
    double worst = 0;
    for (size_t i = 0; i < run.outputs[s].size(); ++i) {
      worst = std::max(worst, static_cast<double>(std::abs(run.outputs[s][i] - other.outputs[s][i])));
    }
    EXPECT_LE(worst, 3 * 1.5 * 0x1p-8);
  }
}

// What differs in all scores of a head and what there is, over all heads.
struct Difference {
  double share = 0;     // of the head where most differs
  double relative = 0;  // of a key, of scores that are not tiny
};
Difference DifferenceOfScores(const CacheRun& run, const CacheRun& other) {
  Difference most;
  for (size_t s = 0; s < run.heads.size(); ++s) {
    for (size_t head = 0; head < run.heads[s].size(); ++head) {
      const HeadContents &a = run.heads[s][head], &b = other.heads[s][head];
      EXPECT_EQ(a.tokens, b.tokens);
      double all = 0, differs = 0;
      for (size_t segment = 1; segment < a.scores.size(); ++segment) {
        for (size_t slot = 0; slot < a.scores[segment].size(); ++slot) {
          const double x = a.scores[segment][slot], y = b.scores[segment][slot];
          all += y, differs += std::abs(x - y);
          if (y > 1e-6) most.relative = std::max(most.relative, std::abs(x - y) / y);
        }
      }
      most.share = std::max(most.share, differs / all);
    }
  }
  return most;
}

TEST_P(CudaStrideAttentionTest, ExactScoresAgree) {
  const StrideRun plain = RunWith(Case(), {.deterministic = true});
  const StrideRun exact = RunWith(Case(), {.score_kernel = ScoreKernel::kExact});
  ExpectSameOutputs(exact.run, plain.run);
  EXPECT_LE(DifferenceOfScores(exact.run, plain.run).relative, 1e-3);
  EXPECT_EQ(exact.certificates.heads, 0);
}

TEST_P(CudaStrideAttentionTest, ExactIsRepeatable) {
  const CudaOptions options = {.score_kernel = ScoreKernel::kExact};
  ExpectSameRun(RunWith(Case(), options).run, RunWith(Case(), options).run);
}

TEST_P(CudaStrideAttentionTest, PredictedScoresAreWithinTheirCertificate) {
  const StrideRun exact = RunWith(Case(), {.score_kernel = ScoreKernel::kExact});
  for (const bool slices : {false, true}) {
    const Slicing slicing = slices ? Slicing{.sessions = 2, .most_rows = 90, .seed = 3} : Slicing{};
    const StrideRun fast = RunWith(Case(), {.score_kernel = ScoreKernel::kFast, .certificate_limit = 10}, slicing);
    CacheRun first = fast.run;
    first.outputs.resize(1), first.heads.resize(1);
    ExpectSameOutputs(first, exact.run);
    // Of what sinks take nothing is scored, so the share of what is scored may be larger than that of all attention.
    const Difference difference = DifferenceOfScores(first, exact.run);
    RecordProperty("share_of_scores", std::to_string(difference.share));
    RecordProperty("worst_certificate", std::to_string(fast.certificates.worst));
    std::printf("worst certificate %.4f of %lld heads; scores differ by %.5f\n", fast.certificates.worst,
                static_cast<long long>(fast.certificates.heads), difference.share);
    EXPECT_GT(fast.certificates.heads, 0);
    EXPECT_EQ(fast.certificates.rejected, 0);
    EXPECT_LE(difference.share, (Case().heavy ? 20 : 1) * fast.certificates.worst + 1e-3);
  }
}

TEST_P(CudaStrideAttentionTest, AboveTheLimitScoresAreExact) {
  const StrideRun exact = RunWith(Case(), {.score_kernel = ScoreKernel::kExact});
  const StrideRun fast = RunWith(Case(), {.score_kernel = ScoreKernel::kFast, .certificate_limit = 0});
  ExpectSameOutputs(fast.run, exact.run);
  EXPECT_GT(fast.certificates.rejected, 0);
  EXPECT_LE(DifferenceOfScores(fast.run, exact.run).relative, 1e-3);
}

std::vector<CacheCase> Cases() {
  constexpr auto kHalves = RopePairs::kHalves, kInterleaved = RopePairs::kInterleaved;
  return {Long(MakeCase("group_of_4", 128, 4, {1024, 512}, 256, 4), 3, false, kHalves),
          Long(MakeCase("heavy_group_of_4", 128, 4, {1024, 512}, 256, 4), 3, true, kHalves),
          Long(MakeCase("heavy_head_of_64", 64, 3, {1500, 500, 500}, 250, 4), 3, true, kInterleaved),
          Long(MakeCase("head_of_80", 80, 1, {700}, 150, 1), 2, false, kHalves),
          Long(MakeCase("group_of_7", 64, 7, {1000}, 333, 0), 2, false, kHalves),
          Long(MakeCase("heavy_group_of_16", 128, 16, {512}, 129, 5), 2, true, kHalves)};
}

INSTANTIATE_TEST_SUITE_P(Cases, CudaStrideAttentionTest, testing::ValuesIn(Cases()), NameOf);

}  // namespace
}  // namespace cascade::kernels
