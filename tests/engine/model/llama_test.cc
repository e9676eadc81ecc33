// The forward pass of every architecture and shape that files may have, against plain loops in double precision.
#include "engine/model/llama.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/cpu_backend.h"
#include "tests/engine/model/model_test_util.h"
#include "tests/support/reference_llama.h"
#include "tests/support/session_runner.h"
#include "tests/support/tiny_model.h"

namespace cascade {
namespace {

using kernels::DType;

// Fewer than the smallest window holds: nothing leaves the cache, so that attention is the ordinary one.
std::vector<int32_t> Ids(int count) {
  std::vector<int32_t> ids;
  for (int i = 0; i < count; ++i) ids.push_back((i * 37 + 11) % kTinyModelTokens);
  return ids;
}

std::vector<float> Logits(const ModelSource& source, const std::vector<int32_t>& ids, DType kv_type = DType::kF32) {
  const auto geometry = MakeGeometry({.cache_tokens = 64}, source.config().max_positions);
  EXPECT_TRUE(geometry.ok()) << geometry.status();
  auto backend = kernels::CreateCpuBackend({.num_threads = 2, .activations = kernels::Activations::kFloat32});
  EXPECT_TRUE(backend.ok());
  const auto llama = Llama::Create(source, *geometry, kv_type, 1, 16, **backend);
  EXPECT_TRUE(llama.ok()) << llama.status();
  return test::SessionRunner(**llama, *geometry, 0, 16).Feed(ids);
}

struct LlamaCase {
  const char* name;
  TinyModelOptions options;
};

std::vector<LlamaCase> Cases() {
  TinyModelOptions llama;
  llama.heads = 6;
  llama.head_dim = 32;  // 6 * 32 is not the hidden size
  TinyModelOptions qwen2 = llama;
  qwen2.architecture = "qwen2";
  const auto with = [](TinyModelOptions options, auto change) {
    change(options);
    return options;
  };
  std::vector<LlamaCase> cases = {
      {"llama", llama},
      {"llama_untied", with(llama, [](auto& o) { o.tied_output = false; })},
      {"llama_biases", with(llama, [](auto& o) { o.qkv_bias = true; })},
      {"llama_linear", with(llama, [](auto& o) { o.linear_scaling = 4; })},
      {"llama_factors",
       with(llama, [](auto& o) { o.rope_factors = {1, 1, 1, 1, 1.5f, 2, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8}; })},
      {"llama_half_vectors", with(llama, [](auto& o) { o.qkv_bias = true, o.vectors = DType::kBF16; })},
      {"llama_window", with(llama, [](auto& o) { o.window = 128; })},
      {"qwen2", qwen2},
      {"qwen2_untied", with(qwen2, [](auto& o) { o.tied_output = false; })},
      {"qwen2_half_vectors", with(qwen2, [](auto& o) { o.vectors = DType::kF16; })},
      {"qwen2_f16", with(qwen2, [](auto& o) { o.matrices = o.embeddings = DType::kF16; })},
      {"qwen2_bf16", with(qwen2, [](auto& o) { o.matrices = o.embeddings = DType::kBF16; })},
  };
  for (const int kv_heads : {1, 3, 6}) {
    cases.push_back({kv_heads == 1   ? "one_kv_head"
                     : kv_heads == 3 ? "three_kv_heads"
                                     : "six_kv_heads",
                     with(qwen2, [&](auto& o) { o.kv_heads = kv_heads; })});
  }
  static constexpr const char* kNames[] = {"head_of_16",  "head_of_32",  "head_of_48",  "head_of_64",
                                           "head_of_80",  "head_of_96",  "head_of_112", "head_of_128",
                                           "head_of_144", "head_of_160", "head_of_256"};
  const int sizes[] = {16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 256};
  for (size_t i = 0; i < std::size(sizes); ++i) {
    cases.push_back(
        {kNames[i], with(i % 2 == 0 ? llama : qwen2, [&](auto& o) { o.head_dim = sizes[i], o.layers = 1; })});
  }
  return cases;
}

class LlamaTest : public ::testing::TestWithParam<LlamaCase> {};

TEST_P(LlamaTest, AgreesWithPlainLoops) {
  const auto source = Open(TinyModel(GetParam().options));
  ASSERT_TRUE(source.ok()) << source.status();
  const std::vector<int32_t> ids = Ids(40);
  const std::vector<double> expected = reference::LastLogits(**source, ids);
  const std::vector<float> found = Logits(**source, ids);
  ASSERT_EQ(found.size(), expected.size());
  double most = 0;
  for (const double logit : expected) most = std::max(most, std::abs(logit));
  EXPECT_GT(most, 1);  // lively: a wrong bias or angle moves logits by their own size
  for (size_t i = 0; i < found.size(); ++i) {
    // Two layers of float32 sums over a few hundred terms each; measured: at most 3e-6 of the largest logit.
    ASSERT_NEAR(found[i], expected[i], 2e-5 * most) << "token " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, LlamaTest, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(LlamaBiases, EachOneMatters) {
  TinyModelOptions options;
  options.architecture = "qwen2";
  const std::vector<float> all = Logits(**Open(TinyModel(options)), Ids(40));
  for (const char* name : {"blk.0.attn_q.bias", "blk.0.attn_k.bias", "blk.1.attn_v.bias"}) {
    GgufWriter writer = TinyModel(options);
    std::string& data = writer.FindTensor(name).data;
    data.assign(data.size(), '\0');
    const auto source = Open(writer);
    ASSERT_TRUE(source.ok()) << source.status();
    const std::vector<float> without = Logits(**source, Ids(40));
    double moved = 0;
    for (size_t i = 0; i < all.size(); ++i) moved = std::max<double>(moved, std::abs(all[i] - without[i]));
    EXPECT_GT(moved, 0.1) << name;
  }
}

// Rows of q and k (and their biases) from halves, (i, i + dim / 2), to neighbours, (2i, 2i + 1), as files of
// architecture 'llama' have them.
void Interleave(GgufWriter& writer, const std::string& name, int head_dim) {
  GgufWriter::Tensor& tensor = writer.FindTensor(name);
  const uint64_t rows = tensor.dims.back();
  const size_t bytes = tensor.data.size() / rows;
  const size_t half = static_cast<size_t>(head_dim) / 2;
  std::string data;
  for (uint64_t row = 0; row < rows; ++row) {
    const size_t place = row % (2 * half);
    data += tensor.data.substr((row - place + place / 2 + place % 2 * half) * bytes, bytes);
  }
  tensor.data = data;
}

TEST(LlamaPairs, HalvesAndNeighboursAreTheSameModel) {
  TinyModelOptions options;
  options.architecture = "qwen2";
  const GgufWriter halves = TinyModel(options);
  options.architecture = "llama";
  options.qkv_bias = true;
  GgufWriter neighbours = TinyModel(options);
  for (int layer = 0; layer < options.layers; ++layer) {
    for (const char* name : {"attn_q.weight", "attn_k.weight", "attn_q.bias", "attn_k.bias"}) {
      Interleave(neighbours, "blk." + std::to_string(layer) + "." + name, options.head_dim);
    }
  }
  const auto a = Open(halves), b = Open(neighbours);
  ASSERT_TRUE(a.ok() && b.ok()) << a.status() << b.status();
  for (const DType kv_type : {DType::kF32, DType::kF16}) {
    // Long enough to fill the cache, to close strides and to lose tokens.
    const std::vector<float> left = Logits(**a, Ids(150), kv_type), right = Logits(**b, Ids(150), kv_type);
    ASSERT_EQ(left.size(), right.size());
    for (size_t i = 0; i < left.size(); ++i) ASSERT_NEAR(left[i], right[i], 1e-4) << i;
  }
}

// What a load tells the source: each weight is announced and let go once.
class CountingSource final : public ModelSource {
 public:
  explicit CountingSource(const ModelSource& inner) : inner_(inner) {}
  const ModelConfig& config() const override { return inner_.config(); }
  const Vocabulary& vocabulary() const override { return inner_.vocabulary(); }
  const std::string& chat_template() const override { return inner_.chat_template(); }
  const std::string& format() const override { return inner_.format(); }
  std::vector<TensorSummary> Tensors() const override { return inner_.Tensors(); }
  absl::StatusOr<kernels::HostWeight> FindWeight(std::string_view name) const override {
    ++found;
    if (name == missing) return absl::NotFoundError("gone");
    return inner_.FindWeight(name);
  }
  void PrefetchWeight(std::string_view) const override { ++prefetched; }
  void ReleaseWeight(std::string_view name) const override {
    ++released;
    EXPECT_TRUE(inner_.FindWeight(name).ok());
  }
  mutable int found = 0, prefetched = 0, released = 0;
  std::string missing;

 private:
  const ModelSource& inner_;
};

TEST(LlamaLoading, LetsGoOfEachWeight) {
  const auto source = Open(TinyModel());
  ASSERT_TRUE(source.ok());
  CountingSource counting(**source);
  const auto geometry = MakeGeometry({.cache_tokens = 64}, 4096);
  auto backend = kernels::CreateCpuBackend({.num_threads = 1});
  ASSERT_TRUE(Llama::Create(counting, *geometry, DType::kF32, 1, 16, **backend).ok());
  EXPECT_EQ(counting.found, 20);
  EXPECT_EQ(counting.prefetched, 19);
  EXPECT_EQ(counting.released, 20);
  counting.missing = "blk.1.ffn_up.weight";
  auto other = kernels::CreateCpuBackend({.num_threads = 1});
  EXPECT_EQ(Llama::Create(counting, *geometry, DType::kF32, 1, 16, **other).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace cascade
