// Tiny models of every architecture in every form that they are saved in: our logits against transformers' in float32.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/model/llama.h"
#include "kernels/cpu_backend.h"
#include "tests/engine/model/folder_test_util.h"
#include "tests/support/session_runner.h"

namespace cascade::test {
namespace {

constexpr int kMaxSlice = 64;

// F16 keys and values are what rounds here (the activations' halves are for quantised weights), by 2^-12 of their size
// at one deviation. A head's output errs by that once for its values and, with queries and keys of size 1.5, about
// three times for its scores: 4 * 2^-12. Two layers: * sqrt(2). The logits' deviation is 3, and of 1,360 errors the
// largest lies within five deviations: 4 * 2^-12 * sqrt(2) * 3 * 5 = 0.021. Measured: 0.0096.
constexpr double kDefaultTolerance = 0.021;

struct Case {
  const char* model;
  const char* form;
};

void PrintTo(const Case& value, std::ostream* out) { *out << value.model << value.form; }

class LogitsGoldenTest : public ::testing::TestWithParam<Case> {
 protected:
  // All weights at odd addresses: a header of odd length before, one more byte behind.
  absl::StatusOr<std::unique_ptr<ModelSource>> OpenMisaligned() {
    files_ = GoldenFolder(std::string(GetParam().model) + "-files");
    std::string& bytes = files_.contents.at("model/model.safetensors");
    const std::string header = HeaderOf(bytes);
    const std::string data = bytes.substr(8 + header.size());
    bytes = SafetensorsBytes(header + (header.size() % 2 == 0 ? " " : ""), data + "x");
    return OpenFolderModel(files_, "model");
  }

  absl::StatusOr<std::unique_ptr<ModelSource>> OpenForm() {
    const std::string form = GetParam().form;
    if (form == "-misaligned") return OpenMisaligned();
    return OpenModel(GoldenModels() + "/" + GetParam().model + form);
  }

  // The largest difference at the golden's positions.
  void Compare(kernels::Activations activations, kernels::DType kv_type, double tolerance) {
    const Json golden = Json::parse(ReadWhole(GoldenModels() + "/" + GetParam().model + ".logits" + ".json"));
    const auto ids = golden.at("ids").get<std::vector<int32_t>>();
    const auto positions = golden.at("positions").get<std::vector<size_t>>();
    ASSERT_GE(positions.size(), 4u);
    ASSERT_EQ(positions.back() + 1, ids.size());

    auto source = OpenForm();
    ASSERT_TRUE(source.ok()) << source.status();
    const auto table = (*source)->FindWeight("token_embd.weight");
    ASSERT_TRUE(table.ok()) << table.status();
    const bool odd = reinterpret_cast<uintptr_t>(table->data) % 2 != 0;
    ASSERT_EQ(odd, GetParam().form == std::string_view("-misaligned"));
    // One sub-cache that holds the whole text: nothing is evicted, and positions in the cache are those of the text.
    auto geometry = MakeGeometry({.sub_cache_tokens = {64}, .stride = 16}, (*source)->config().max_positions);
    ASSERT_TRUE(geometry.ok()) << geometry.status();
    ASSERT_LT(ids.size(), 64u);
    auto backend = kernels::CreateCpuBackend({.num_threads = 1, .activations = activations});
    ASSERT_TRUE(backend.ok()) << backend.status();
    auto llama = Llama::Create(**source, *geometry, kv_type, 1, kMaxSlice, **backend);
    ASSERT_TRUE(llama.ok()) << llama.status();
    SessionRunner runner(**llama, *geometry, 0, kMaxSlice);
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
    RecordProperty("worst_in_millionths", static_cast<int>(worst * 1e6));
    std::printf("largest difference %.2g\n", worst);
  }

  using Json = nlohmann::json;
  MemoryFiles files_;
};

TEST_P(LogitsGoldenTest, Float32) { Compare(kernels::Activations::kFloat32, kernels::DType::kF32, 1e-3); }
TEST_P(LogitsGoldenTest, Default) { Compare(kernels::Activations::kInt16, kernels::DType::kF16, kDefaultTolerance); }

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const char* model : {"llama", "llama3", "linear", "mistral", "qwen2"}) {
    for (const char* form : {"-files", "-shards", "-misaligned", ".gguf"}) cases.push_back({model, form});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Models, LogitsGoldenTest, ::testing::ValuesIn(Cases()), [](const auto& info) {
  return std::string(info.param.model) + "_" + std::string(info.param.form).substr(1);
});

}  // namespace
}  // namespace cascade::test
