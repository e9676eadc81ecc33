// Sampling on every back end, against its definition (kernels/sampler.h) in double.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <string>

#include "tests/kernels/backend_under_test.h"

namespace cascade::kernels {
namespace {

constexpr int kRows = 6;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

SampleRequest Params(float temperature, int top_k = 0, float top_p = 1, float min_p = 0, double u = 0.5) {
  return {.slot = 0, .temperature = temperature, .top_k = top_k, .top_p = top_p, .min_p = min_p, .u = u};
}

// The ids that the filters leave, best first, and their weights.
struct Filtered {
  std::vector<int32_t> ids;
  std::vector<double> weights;
};

Filtered Filter(std::span<const float> logits, const SampleRequest& request, double top_p, double min_p) {
  Filtered all;
  all.ids.resize(logits.size());
  std::iota(all.ids.begin(), all.ids.end(), 0);
  std::stable_sort(all.ids.begin(), all.ids.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  if (request.top_k > 0 && static_cast<size_t>(request.top_k) < all.ids.size()) all.ids.resize(request.top_k);
  for (const int32_t id : all.ids) {
    all.weights.push_back(std::exp((double{logits[id]} - logits[all.ids[0]]) / request.temperature));
  }
  size_t kept = all.ids.size();
  if (request.top_p < 1) {
    const double wanted = top_p * std::accumulate(all.weights.begin(), all.weights.end(), 0.0);
    double sum = 0;
    for (kept = 0; kept < all.ids.size() && (kept == 0 || sum < wanted); ++kept) sum += all.weights[kept];
  }
  size_t above = 1;
  while (above < kept && all.weights[above] >= min_p) ++above;
  all.ids.resize(above);
  all.weights.resize(above);
  return all;
}

// The ids that may be chosen: with a u at the boundary of two, or a filter at the boundary of one more, float32
// decides.
std::set<int32_t> Choices(std::span<const float> logits, const SampleRequest& request) {
  constexpr double kNear = 1e-5;  // relative error of a sum of float32 exponentials, with room
  const bool filtered = (request.top_k > 0 && static_cast<size_t>(request.top_k) < logits.size()) ||
                        request.top_p < 1 || request.min_p > 0;
  std::set<int32_t> choices;
  for (const double p_shift : {-kNear, kNear}) {
    for (const double min_shift : {-kNear, kNear}) {
      Filtered kept = Filter(logits, request, request.top_p * (1 + p_shift), request.min_p * (1 + min_shift));
      if (!filtered) {  // by id
        std::vector<double> by_id(logits.size());
        for (size_t i = 0; i < kept.ids.size(); ++i) by_id[kept.ids[i]] = kept.weights[i];
        std::iota(kept.ids.begin(), kept.ids.end(), 0);
        kept.weights = by_id;
      }
      const double total = std::accumulate(kept.weights.begin(), kept.weights.end(), 0.0);
      double begin = 0;
      for (size_t i = 0; i < kept.ids.size(); ++i) {
        const double end = begin + kept.weights[i];
        const double wanted = request.u * total;
        if (kept.weights[i] > 0 && wanted >= begin - kNear * total && wanted <= end + kNear * total) {
          choices.insert(kept.ids[i]);
        }
        begin = end;
      }
    }
  }
  return choices;
}

class SampleTest : public BackendTest {
 protected:
  // One back end for rows of logits of up to `cols`.
  void Prepare(int64_t cols) {
    backend_ = Create();
    logits_ = std::make_unique<DeviceMatrix>(*backend_, kRows, cols, Precision::kFull);
    CreateSmallCaches(*backend_, GetParam(), kRows, kRows);
  }
  // A step of one row for each of `logits`; the requests' slots are set.
  std::vector<int32_t> Sample(const std::vector<std::vector<float>>& logits, std::vector<SampleRequest> requests,
                              int vocabulary) {
    const int rows = static_cast<int>(logits.size());
    std::vector<float> all;
    for (const std::vector<float>& row : logits) all.insert(all.end(), row.begin(), row.end());
    const TensorView view = logits_->Rows(0, rows);
    backend_->CopyFromHost(all, view);
    const CacheScript script(SmallCache(GetParam(), kRows));
    std::vector<Segment> segments;
    std::vector<Slice> slices(rows, script.NextSlice(1, segments));
    for (int row = 0; row < rows; ++row) {
      slices[row].slot = requests[row].slot = row;
      slices[row].first_row = row;
    }
    const std::vector<int32_t> ids(rows, 0);
    backend_->BeginStep({.slices = slices, .ids = ids, .samples = requests});
    backend_->Sample(view, vocabulary, 0);
    backend_->EndStep();
    std::vector<int32_t> sampled;
    EXPECT_TRUE(backend_->WaitStep(sampled).ok());
    EXPECT_EQ(sampled.size(), requests.size());
    return sampled;
  }
  std::vector<float> Logits(int64_t count, float spread, bool ties) {
    std::normal_distribution<float> normal(0, spread);
    std::vector<float> logits(count);
    for (float& logit : logits) logit = ties ? std::round(normal(random_) * 2) / 2 : normal(random_);
    return logits;
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<DeviceMatrix> logits_;
};

TEST_P(SampleTest, GreedyTakesTheFirstOfTheLargest) {
  Prepare(7);
  // Column 6 is no token.
  const std::vector<float> row = {1, 5, 2, 5, -3, 5, 9};
  EXPECT_EQ(Sample({row, row, row}, {Params(0), Params(9e-6f), Params(0, 1, 0.1f, 1, 0.99)}, 6),
            (std::vector<int32_t>{1, 1, 1}));
  EXPECT_EQ(Sample({row}, {Params(0)}, 1), (std::vector<int32_t>{0}));
}

TEST_P(SampleTest, GreedyOfManyIds) {
  const int64_t cols = GetParam().slow() ? 9001 : 128256;
  Prepare(cols);
  for (int round = 0; round < 3; ++round) {
    std::vector<std::vector<float>> rows;
    std::vector<int32_t> expected;
    for (int r = 0; r < kRows; ++r) {
      rows.push_back(Logits(cols, 3.0f, r % 2 == 0));
      expected.push_back(
          static_cast<int32_t>(std::max_element(rows.back().begin(), rows.back().end()) - rows.back().begin()));
    }
    EXPECT_EQ(Sample(rows, std::vector<SampleRequest>(kRows, Params(0)), static_cast<int>(cols)), expected);
  }
}

TEST_P(SampleTest, LogitsThatAreNotFinite) {
  Prepare(5);
  const std::vector<std::vector<float>> rows = {{1, NAN, 2, 0, 0},
                                                {1, 2, 3, 4, NAN},
                                                {1, kInfinity, 0, 0, 0},
                                                std::vector<float>(5, -kInfinity),
                                                {NAN, 1, 2, 3, 4}};
  for (const SampleRequest& params : {Params(0), Params(1), Params(1, 2), Params(1, 0, 0.5f), Params(1, 0, 1, 0.1f)}) {
    EXPECT_EQ(Sample(rows, std::vector<SampleRequest>(5, params), 5), std::vector<int32_t>(5, kNoId));
    const std::vector<float> masked = {-kInfinity, 3, -kInfinity, -kInfinity, -kInfinity};  // allowed: probability 0
    for (const double u : {0.0, 0.5, 0.999999}) {
      SampleRequest with_u = params;
      with_u.u = u;
      EXPECT_EQ(Sample({masked}, {with_u}, 5), std::vector<int32_t>{1});
    }
  }
}

TEST_P(SampleTest, DrawsAgreeWithTheirDefinition) {
  const float top_ps[] = {1.0f, 0.95f, 0.5f, 0.1f, 1e-6f};
  const float min_ps[] = {0.0f, 0.0f, 0.05f, 0.5f, 1.0f};
  const int top_ks[] = {0, 1, 40, 600, 1 << 20};
  const double last = std::nextafter(1.0, 0.0);
  int exact = 0, all = 0;
  for (const int64_t cols : {1, 30, 2500, GetParam().slow() ? 6000 : 49152}) {
    Prepare(cols);
    const int rounds = GetParam().slow() ? 5 : cols > 10000 ? 6 : 25;
    for (int round = 0; round < rounds; ++round) {
      std::vector<std::vector<float>> rows;
      std::vector<SampleRequest> requests;
      for (int r = 0; r < kRows; ++r) {
        rows.push_back(Logits(cols, round % 3 == 0 ? 0.5f : 3.0f, round % 4 == 0));
        const double us[] = {0.0, 1e-300, last, std::uniform_real_distribution<double>(0, 1)(random_)};
        requests.push_back(Params(0.3f + 0.1f * static_cast<float>(random_() % 15), top_ks[random_() % 5],
                                  top_ps[random_() % 5], min_ps[random_() % 5], us[r < 3 && round < 2 ? r : 3]));
        if (r == 4) requests.back() = Params(1, 0, 1, 0, requests.back().u);  // no filter
      }
      const std::vector<int32_t> sampled = Sample(rows, requests, static_cast<int>(cols));
      for (int r = 0; r < kRows; ++r) {
        const std::set<int32_t> choices = Choices(rows[r], requests[r]);
        ASSERT_TRUE(choices.contains(sampled[r]))
            << cols << " ids, round " << round << ", row " << r << ": " << sampled[r] << ", not " << *choices.begin()
            << "; temperature " << requests[r].temperature << " k " << requests[r].top_k << " p " << requests[r].top_p
            << " min " << requests[r].min_p << " u " << requests[r].u;
        exact += choices.size() == 1;
        ++all;
      }
      // A row alone, and the same again.
      const int one = round % kRows;
      EXPECT_EQ(Sample({rows[one]}, {requests[one]}, static_cast<int>(cols)), (std::vector<int32_t>{sampled[one]}));
    }
  }
  EXPECT_GT(exact, all * 0.9);
}

TEST_P(SampleTest, CallsTakeTheirPartOfTheSamples) {
  Prepare(4);
  const std::vector<float> logits = {0, 0, 9, 0, 0, 9, 0, 0, 9, 0, 0, 0};  // 2, 1, 0
  backend_->CopyFromHost(logits, logits_->Rows(0, 3));
  const CacheScript script(SmallCache(GetParam(), kRows));
  std::vector<Segment> segments;
  std::vector<Slice> slices(5, script.NextSlice(1, segments));
  std::vector<SampleRequest> requests(5, Params(0));
  for (int row = 0; row < 5; ++row) slices[row].slot = slices[row].first_row = requests[row].slot = row;
  const std::vector<int32_t> ids(5, 0);
  backend_->BeginStep({.slices = slices, .ids = ids, .samples = requests});
  backend_->Sample(logits_->Rows(0, 3), 4, 0);
  backend_->Sample(logits_->Rows(0, 3), 4, 3);  // two of them
  backend_->EndStep();
  std::vector<int32_t> sampled;
  ASSERT_TRUE(backend_->WaitStep(sampled).ok());
  EXPECT_EQ(sampled, (std::vector<int32_t>{2, 1, 0, 2, 1}));
}

INSTANTIATE_TEST_SUITE_P(Backends, SampleTest, testing::ValuesIn(BackendsUnderTest()), NameOfBackend);

}  // namespace
}  // namespace cascade::kernels
