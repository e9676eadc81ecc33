// Keys that would change what a model computes: applied, refused by name, or known to mean nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "tests/engine/model/model_test_util.h"
#include "tests/support/tiny_model.h"

namespace cascade {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;

using Change = std::function<void(GgufWriter&)>;

struct Refusal {
  absl::StatusCode code;
  const char* words;
  Change change;
};

Change Float(const char* key, float value) {
  return [=](GgufWriter& writer) { writer.SetFloat32(key, value); };
}
Change Uint(const char* key, uint32_t value) {
  return [=](GgufWriter& writer) { writer.SetUint32(key, value); };
}
Change Scaling(const char* type, float factor) {
  return [=](GgufWriter& writer) {
    writer.SetString("llama.rope.scaling.type", type);
    writer.SetFloat32("llama.rope.scaling.factor", factor);
  };
}
Change Factors(std::vector<uint64_t> dims, kernels::DType type, std::string data) {
  return [=](GgufWriter& writer) { writer.AddTensor("rope_freqs.weight", dims, type, data); };
}

const Refusal kRefusals[] = {
    {kUnimplemented, "'llama.rope.scaling.type': found 'yarn', supported are 'none' and 'linear'", Scaling("yarn", 4)},
    {kUnimplemented, "'llama.rope.scaling.type': found 'yarn'",
     [](auto& w) { w.SetString("llama.rope.scaling.type", "yarn"); }},
    {kUnimplemented, "'llama.rope.scaling.type': found 'longrope'", Scaling("longrope", 8)},
    {kUnimplemented, "'llama.rope.scaling.type': found 'su'", Scaling("su", 1)},
    {kUnimplemented, "'llama.rope.scaling.type': found ''", Scaling("", 1)},
    {kInvalid, "'llama.rope.scaling.type': found UINT32, expected STRING", Uint("llama.rope.scaling.type", 1)},
    {kInvalid, "'llama.rope.scaling.factor': missing or 0, expected at least 1",
     [](auto& w) { w.SetString("llama.rope.scaling.type", "linear"); }},
    {kInvalid, "'llama.rope.scaling.factor': found 0.5, expected at least 1", Scaling("linear", 0.5f)},
    {kInvalid, "'llama.rope.scaling.factor': found -1", Scaling("linear", -1)},
    {kInvalid, "'llama.rope.scaling.factor': found nan", Scaling("linear", std::nanf(""))},
    {kInvalid, "'llama.rope.scaling.factor': factor: found 1e+07, expected 1 to 1e+06", Scaling("linear", 1e7f)},
    {kInvalid, "'llama.rope.scaling.factor': found 0.5, expected at least 1", Float("llama.rope.scaling.factor", 0.5f)},
    {kInvalid, "'llama.rope.scale_linear': found 0.25, expected at least 1", Float("llama.rope.scale_linear", 0.25f)},
    {kInvalid, "'llama.rope.scale_linear': found 2, expected 4 as in 'llama.rope.scaling.factor'",
     [](auto& w) {
       Scaling("linear", 4)(w);
       w.SetFloat32("llama.rope.scale_linear", 2);
     }},
    {kInvalid, "'llama.rope.scale_linear': found 2, expected 1 with scaling of type 'none'",
     [](auto& w) {
       w.SetString("llama.rope.scaling.type", "none");
       w.SetFloat32("llama.rope.scale_linear", 2);
     }},
    {kUnimplemented, "'llama.rope.scaling.attn_factor': found 1.19, supported is only 1",
     Float("llama.rope.scaling.attn_factor", 1.19f)},
    {kUnimplemented, "'llama.rope.scaling.yarn_ext_factor': found 1", Float("llama.rope.scaling.yarn_ext_factor", 1)},
    {kInvalid, "tensor 'rope_freqs.weight': found F32 of shape [7], expected F32, F16 or BF16 of [8]",
     Factors({7}, kernels::DType::kF32, std::string(28, '\1'))},
    {kInvalid, "tensor 'rope_freqs.weight': found F32 of shape [8, 2]",
     Factors({8, 2}, kernels::DType::kF32, std::string(64, '\1'))},
    {kInvalid, "tensor 'rope_freqs.weight': factors: found 0, expected 1e-06 to 1e+06 (at index 0)",
     Factors({8}, kernels::DType::kF32, std::string(32, '\0'))},
    {kInvalid, "tensor 'rope_freqs.weight': factors: found nan",
     Factors({8}, kernels::DType::kF32, std::string(32, '\xff'))},
    {kUnimplemented, "'llama.expert_count': found 8, supported is only 0", Uint("llama.expert_count", 8)},
    {kInvalid, "'llama.expert_count': found STRING", [](auto& w) { w.SetString("llama.expert_count", "8"); }},
    {kUnimplemented, "'llama.logit_scale': found 0.0625, supported is only 1", Float("llama.logit_scale", 0.0625f)},
    {kUnimplemented, "'llama.residual_scale': found 0.22", Float("llama.residual_scale", 0.22f)},
    {kUnimplemented, "'llama.embedding_scale': found 12", Float("llama.embedding_scale", 12)},
    {kUnimplemented, "'llama.embedding_scale': found 12", Uint("llama.embedding_scale", 12)},
    {kUnimplemented, "'llama.attention.scale': found 0.0156", Float("llama.attention.scale", 0.015625f)},
    {kUnimplemented, "'llama.attention.clamp_kqv': found 8", Float("llama.attention.clamp_kqv", 8)},
    {kUnimplemented, "'llama.attention.max_alibi_bias': found 8", Float("llama.attention.max_alibi_bias", 8)},
    {kUnimplemented, "'llama.attn_logit_softcapping': found 50", Float("llama.attn_logit_softcapping", 50)},
    {kUnimplemented, "'llama.final_logit_softcapping': found 30", Float("llama.final_logit_softcapping", 30)},
    {kUnimplemented, "'llama.attention.causal': found false, supported is only true",
     [](auto& w) { w.SetBool("llama.attention.causal", false); }},
    {kUnimplemented, "'llama.use_parallel_residual': found true",
     [](auto& w) { w.SetBool("llama.use_parallel_residual", true); }},
    {kUnimplemented, "'llama.attention.sliding_window_pattern': not known of architecture 'llama'",
     Uint("llama.attention.sliding_window_pattern", 2)},
    {kUnimplemented, "'llama.something.new': not known of architecture 'llama'; it may change what the model computes",
     Uint("llama.something.new", 0)},
    {kInvalid, "'llama.attention.sliding_window': found -1",
     [](auto& w) { w.SetInt32("llama.attention.sliding_window", -1); }},
    {kInvalid, "'llama.attention.head_count_kv': found array of INT32",
     [](auto& w) {
       w.SetInt32s("llama.attention.head_count_kv", {2, 2});
     }},
};

TEST(GgufFeatures, WhatWouldChangeTheResultsIsRefusedByName) {
  for (const Refusal& refusal : kRefusals) {
    SCOPED_TRACE(refusal.words);
    GgufWriter writer = TinyModel();
    refusal.change(writer);
    const auto model = Open(writer);
    ASSERT_FALSE(model.ok());
    const std::string message(model.status().message());
    EXPECT_EQ(model.status().code(), refusal.code) << message;
    EXPECT_THAT(message, StartsWith("model.gguf: "));
    EXPECT_THAT(message, HasSubstr(refusal.words));
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
  EXPECT_EQ(std::size(kRefusals), 38u);
}

// They must leave the configuration as it is.
const Change kHarmless[] = {
    Scaling("none", 8),
    Scaling("linear", 1),
    Scaling("yarn", 1),
    Float("llama.rope.scaling.factor", 0),
    Float("llama.rope.scale_linear", 1),
    Uint("llama.rope.scaling.original_context_length", 2048),
    [](GgufWriter& w) { w.SetBool("llama.rope.scaling.finetuned", true); },
    Float("llama.rope.scaling.attn_factor", 1),
    Uint("llama.expert_count", 0),
    Uint("llama.expert_used_count", 0),
    Float("llama.logit_scale", 1),
    Float("llama.logit_scale", 0),
    Float("llama.attention.scale", 0.25f),  // 1 / sqrt(16)
    Float("llama.attention.layer_norm_epsilon", 1e-6f),
    [](GgufWriter& w) { w.SetBool("llama.attention.causal", true); },
    [](GgufWriter& w) { w.SetString("llama.tensor_data_layout", "Meta AI original pth"); },
    Uint("general.quantization_version", 2),
    Uint("qwen2.expert_count", 8),  // of another architecture
    Uint("llama2.logit_scale", 8),
};

TEST(GgufFeatures, WhatMeansNothingIsAccepted) {
  const std::vector<double> plain = (*Open(TinyModel()))->config().rope.frequency;
  for (size_t i = 0; i < std::size(kHarmless); ++i) {
    SCOPED_TRACE(i);
    GgufWriter writer = TinyModel();
    kHarmless[i](writer);
    const auto model = Open(writer);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ((*model)->config().rope.frequency, plain);
    EXPECT_EQ((*model)->config().rope_scaling, "none");
  }
}

TEST(GgufFeatures, LinearScalingInAllItsSpellings) {
  const std::vector<double> plain = (*Open(TinyModel()))->config().rope.frequency;
  const Change kSpellings[] = {
      Scaling("linear", 4),
      Float("llama.rope.scaling.factor", 4),
      Float("llama.rope.scale_linear", 4),
      [](GgufWriter& w) {
        Scaling("linear", 4)(w);
        w.SetFloat32("llama.rope.scale_linear", 4);
      },
  };
  for (const Change& spelling : kSpellings) {
    GgufWriter writer = TinyModel();
    spelling(writer);
    const auto model = Open(writer);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ((*model)->config().rope_scaling, "linear");
    for (size_t i = 0; i < plain.size(); ++i) EXPECT_DOUBLE_EQ((*model)->config().rope.frequency[i], plain[i] / 4);
  }
}

TEST(GgufFeatures, RopeFactorsDivide) {
  TinyModelOptions options;
  options.rope_factors = {1, 1, 1, 1.5f, 2, 4, 8, 8};
  const auto model = Open(TinyModel(options));
  ASSERT_TRUE(model.ok()) << model.status();
  const std::vector<double> plain = (*Open(TinyModel()))->config().rope.frequency;
  EXPECT_EQ((*model)->config().rope_scaling, "factors");
  for (size_t i = 0; i < plain.size(); ++i) {
    EXPECT_DOUBLE_EQ((*model)->config().rope.frequency[i], plain[i] / static_cast<double>(options.rope_factors[i]));
  }
  EXPECT_EQ((*model)->Tensors()[0].name, "rope_freqs.weight");
  EXPECT_EQ((*model)->config().parameters, (*Open(TinyModel()))->config().parameters);
}

TEST(GgufFeatures, NamesAreOfTheArchitecture) {
  TinyModelOptions options;
  options.architecture = "qwen2";
  options.linear_scaling = 2;
  ASSERT_TRUE(Open(TinyModel(options)).ok());
  GgufWriter writer = TinyModel(options);
  writer.SetFloat32("qwen2.logit_scale", 2);
  EXPECT_THAT(std::string(Open(writer).status().message()), HasSubstr("key 'qwen2.logit_scale': found 2"));
}

}  // namespace
}  // namespace cascade
