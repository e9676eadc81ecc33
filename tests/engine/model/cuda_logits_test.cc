// The tiny models of the goldens on a CUDA device: our logits against transformers' in float32.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/model/llama.h"
#include "kernels/cuda_backend.h"
#include "tests/engine/model/folder_test_util.h"
#include "tests/support/session_runner.h"

namespace cascade::test {
namespace {

// As in logits_golden_test.cc, with what rounds to bfloat16, by 2^-9 of its size at one deviation: values (once in a
// head's output), keys and turned queries of size 1.5 (three times each, through its scores), probabilities (once).
// Two layers: * sqrt(2); the logits' deviation is 3, and the largest of 1,360 errors lies within five deviations:
// 8 * 2^-9 * sqrt(2) * 3 * 5 = 0.33. Measured: 0.14. With bfloat16 activations the inputs of a layer's four products round
// as well: 12 * 2^-9 * .. = 0.50. Measured: 0.26.
constexpr double kHalfTolerance = 0.33;
constexpr double kBf16Tolerance = 0.50;

struct Case {
  const char* model;
  kernels::DType compute;
  bool deterministic;
  int max_slice;  // 1: as replies are made
};

void PrintTo(const Case& value, std::ostream* out) { *out << value.model; }

class CudaLogitsTest : public ::testing::TestWithParam<Case> {};

TEST_P(CudaLogitsTest, AgreeWithTransformers) {
  using Json = nlohmann::json;
  const Case& test_case = GetParam();
  const Json golden = Json::parse(ReadWhole(GoldenModels() + "/" + test_case.model + ".logits.json"));
  const auto ids = golden.at("ids").get<std::vector<int32_t>>();
  const auto positions = golden.at("positions").get<std::vector<size_t>>();
  auto source = OpenModel(GoldenModels() + "/" + test_case.model + "-files");
  ASSERT_TRUE(source.ok()) << source.status();
  auto geometry = MakeGeometry({.sub_cache_tokens = {64}, .stride = 16}, (*source)->config().max_positions);
  ASSERT_TRUE(geometry.ok()) << geometry.status();
  auto backend =
      kernels::CreateCudaBackend({.compute = test_case.compute, .deterministic = test_case.deterministic});
  ASSERT_TRUE(backend.ok()) << backend.status();
  auto llama = Llama::Create(**source, *geometry, kernels::DType::kBF16, 1, 64, **backend);
  ASSERT_TRUE(llama.ok()) << llama.status();
  SessionRunner runner(**llama, *geometry, 0, test_case.max_slice);
  const double tolerance = test_case.compute == kernels::DType::kBF16 ? kBf16Tolerance : kHalfTolerance;
  double worst = 0;
  for (size_t i = 0, fed = 0; i < positions.size(); fed = positions[i++] + 1) {
    const auto expected = golden.at("logits").at(i).get<std::vector<float>>();
    const std::vector<float> logits = runner.Feed(std::span(ids).subspan(fed, positions[i] + 1 - fed));
    ASSERT_EQ(logits.size(), expected.size());
    for (size_t id = 0; id < logits.size(); ++id) {
      const double difference = std::abs(logits[id] - expected[id]);
      ASSERT_LE(difference, tolerance) << "position " << positions[i] << ", id " << id << ": found " << logits[id]
                                       << ", expected " << expected[id];
      worst = std::max(worst, difference);
    }
  }
  std::printf("largest difference %.2g\n", worst);
}

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const char* model : {"llama", "llama3", "linear", "mistral", "qwen2"}) {
    for (const kernels::DType compute : {kernels::DType::kBF16, kernels::DType::kF16}) {
      for (const bool deterministic : {false, true}) {
        for (const int max_slice : {1, 64}) cases.push_back({model, compute, deterministic, max_slice});
      }
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Models, CudaLogitsTest, ::testing::ValuesIn(Cases()), [](const auto& info) {
  return std::string(info.param.model) + (info.param.compute == kernels::DType::kBF16 ? "_bf16" : "_half") +
         (info.param.deterministic ? "_deterministic" : "") + (info.param.max_slice == 1 ? "_rows" : "_slices");
});

}  // namespace
}  // namespace cascade::test
