// config.json: every field, the defaults of the classes, and 2,000 damaged ones.
#include "engine/model/folder_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/engine/model/folder_test_util.h"
#include "tests/support/heap_peak.h"

namespace cascade {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;

absl::StatusOr<ModelConfig> Read(const Json& json) { return ReadFolderConfig(json.dump(), "m/config.json"); }

Json Golden(const std::string& folder) { return Json::parse(GoldenFolder(folder).contents.at("model/config.json")); }

void ExpectRefused(const Json& json, absl::StatusCode code, const std::string& words) {
  SCOPED_TRACE(words);
  const auto config = Read(json);
  ASSERT_FALSE(config.ok());
  EXPECT_EQ(config.status().code(), code) << config.status();
  ExpectClearError(config.status(), "m/config.json: ");
  EXPECT_THAT(std::string(config.status().message()), HasSubstr(words));
}

// The golden llama with one key changed.
void ExpectValueRefused(const char* key, const Json& value, absl::StatusCode code, const std::string& words) {
  Json json = Golden("llama-files");
  json[key] = value;
  ExpectRefused(json, code, words);
}

TEST(FolderConfig, DefaultsOfTheClasses) {
  const auto llama = Read({{"architectures", {"LlamaForCausalLM"}}});
  ASSERT_TRUE(llama.ok()) << llama.status();
  EXPECT_EQ(llama->architecture, "llama");
  EXPECT_EQ(llama->num_layers, 32);
  EXPECT_EQ(llama->hidden, 4096);
  EXPECT_EQ(llama->num_heads, 32);
  EXPECT_EQ(llama->num_kv_heads, 32);
  EXPECT_EQ(llama->head_dim, 128);
  EXPECT_EQ(llama->ffn, 11008);
  EXPECT_EQ(llama->vocabulary, 32000);
  EXPECT_EQ(llama->max_positions, 2048);
  EXPECT_EQ(llama->window, 0);
  EXPECT_EQ(llama->rms_eps, 1e-6f);
  EXPECT_EQ(llama->rope.pairs, kernels::RopePairs::kHalves);
  EXPECT_EQ(llama->rope_theta, 10000.0f);
  EXPECT_EQ(llama->rope_scaling, "none");
  EXPECT_FALSE(llama->qkv_bias);
  EXPECT_FALSE(llama->tied_output);

  const auto mistral = Read({{"architectures", {"MistralForCausalLM"}}});
  ASSERT_TRUE(mistral.ok()) << mistral.status();
  EXPECT_EQ(mistral->architecture, "mistral");
  EXPECT_EQ(mistral->num_kv_heads, 8);
  EXPECT_EQ(mistral->ffn, 14336);
  EXPECT_EQ(mistral->window, 4096);
  EXPECT_EQ(mistral->max_positions, 4096);

  const auto qwen2 = Read({{"model_type", "qwen2"}});
  ASSERT_TRUE(qwen2.ok()) << qwen2.status();
  EXPECT_EQ(qwen2->architecture, "qwen2");
  EXPECT_EQ(qwen2->num_kv_heads, 32);
  EXPECT_EQ(qwen2->ffn, 22016);
  EXPECT_EQ(qwen2->vocabulary, 151936);
  EXPECT_EQ(qwen2->max_positions, 32768);
  EXPECT_EQ(qwen2->window, 0);
  EXPECT_TRUE(qwen2->qkv_bias);
}

TEST(FolderConfig, Architectures) {
  const char* known = "supported are LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM";
  ExpectRefused({{"architectures", {"GemmaForCausalLM"}}}, kUnimplemented,
                std::string("key 'architectures': found 'GemmaForCausalLM', ") + known);
  ExpectRefused({{"architectures", {"LlamaForSequenceClassification"}}}, kUnimplemented, known);
  ExpectRefused({{"model_type", "phi3"}}, kUnimplemented, "key 'model_type': found 'phi3', supported are llama");
  ExpectRefused(Json::object(), kInvalid, "key 'architectures': missing");
  ExpectRefused({{"architectures", Json::array()}}, kInvalid, "key 'architectures': expected an array");
  ExpectRefused({{"architectures", {"LlamaForCausalLM", "FooForCausalLM"}}}, kInvalid,
                "expected an array with exactly one");
  ExpectRefused({{"architectures", 3}}, kInvalid, "key 'architectures': expected an array");
  ExpectRefused({{"architectures", {"LlamaForCausalLM"}}, {"model_type", "cohere"}}, kInvalid,
                "key 'model_type': found 'cohere', expected 'llama'");
  EXPECT_TRUE(Read({{"architectures", nullptr}, {"model_type", "mistral"}}).ok());
}

TEST(FolderConfig, EveryIntegerIsChecked) {
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "num_key_value_heads", "head_dim", "vocab_size", "max_position_embeddings"}) {
    for (const Json& value : {Json(0), Json(-1), Json(2.0), Json("2"), Json(true), Json(Json::array()),
                              Json(9223372036854775807), Json(18446744073709551615u)}) {
      ExpectValueRefused(key, value, kInvalid,
                         std::string("key '") + key + "': found " +
                             (value.is_array()    ? "an array"
                              : value.is_string() ? "'2'"
                                                  : value.dump()) +
                             ", expected an integer from 1 to ");
    }
  }
  ExpectValueRefused("hidden_size", nullptr, kInvalid, "key 'hidden_size': found null");
}

TEST(FolderConfig, Heads) {
  ExpectValueRefused("num_key_value_heads", 3, kInvalid, "found 3, expected a divisor of the 2 heads");
  ExpectValueRefused("head_dim", 24, kUnimplemented,
                     "key 'head_dim': found a head dimension of 24, supported are multiples of 16");
  ExpectValueRefused("head_dim", 272, kUnimplemented, "up to 256");
  Json json = Golden("llama-files");
  json["head_dim"] = nullptr;
  json["num_key_value_heads"] = nullptr;
  EXPECT_EQ(Read(json)->head_dim, 16);
  EXPECT_EQ(Read(json)->num_kv_heads, 2);
  json["num_attention_heads"] = 3;
  ExpectRefused(json, kInvalid, "key 'num_attention_heads': found 3, expected a divisor of the hidden size 32");
  json["head_dim"] = 256;
  EXPECT_EQ(Read(json)->head_dim, 256);
}

TEST(FolderConfig, FeaturesThatWouldChangeTheResults) {
  ExpectValueRefused("quantization_config", {{"quant_method", "gptq"}}, kUnimplemented,
                     "'quantization_config': found 'gptq'");
  ExpectValueRefused("quantization_config", 8, kUnimplemented, "'quantization_config': found 8");
  ExpectValueRefused("attention_bias", true, kUnimplemented, "key 'attention_bias': found true");
  ExpectValueRefused("attention_bias", 1, kInvalid, "key 'attention_bias': found 1, expected true or false");
  ExpectValueRefused("mlp_bias", true, kUnimplemented, "key 'mlp_bias': found true");
  ExpectValueRefused("hidden_act", "gelu", kUnimplemented, "key 'hidden_act': found 'gelu', supported is only 'silu'");
  ExpectValueRefused("is_causal", false, kUnimplemented, "key 'is_causal': found false, supported is only true");
  ExpectValueRefused("per_layer_config", Json::object({{"0", 1}}), kUnimplemented, "key 'per_layer_config'");
  ExpectValueRefused("kv_sharing_modes", Json::array({"a"}), kUnimplemented, "key 'kv_sharing_modes'");
  ExpectValueRefused("partial_rotary_factor", 0.5, kUnimplemented, "found 0.5");
  ExpectValueRefused("tie_word_embeddings", "yes", kInvalid, "key 'tie_word_embeddings': found 'yes'");
  ExpectValueRefused("rms_norm_eps", 0, kInvalid, "key 'rms_norm_eps': found 0");
  ExpectValueRefused("rms_norm_eps", "small", kInvalid, "key 'rms_norm_eps': found 'small'");
  Json json = Golden("llama-files");
  json["quantization_config"] = nullptr;
  EXPECT_TRUE(Read(json).ok());
}

TEST(FolderConfig, RopeInBothSpellings) {
  for (const char* form : {"-files", "-shards"}) {
    const auto linear = Read(Golden(std::string("linear") + form));
    ASSERT_TRUE(linear.ok()) << linear.status();
    EXPECT_EQ(linear->rope_scaling, "linear");
    EXPECT_EQ(linear->rope_theta, 20000.0f);
    EXPECT_DOUBLE_EQ(linear->rope.frequency.at(1), std::pow(20000.0, -2.0 / 48) / 2.5);
    const auto llama3 = Read(Golden(std::string("llama3") + form));
    ASSERT_TRUE(llama3.ok()) << llama3.status();
    EXPECT_EQ(llama3->rope_scaling, "llama3");
    EXPECT_DOUBLE_EQ(llama3->rope.frequency.at(0), 1);
    EXPECT_DOUBLE_EQ(llama3->rope.frequency.at(7), std::pow(10000.0, -14.0 / 16) / 8);
    EXPECT_EQ(Read(Golden(std::string("qwen2") + form))->rope_theta, 1e6f);
  }
}

TEST(FolderConfig, RopeIsChecked) {
  ExpectValueRefused("rope_theta", 0.5, kInvalid, "key 'rope_theta': found 0.5");
  ExpectValueRefused("rope_scaling", "linear", kInvalid,
                     "key 'rope_scaling': found 'linear', expected an object or null");
  for (const char* kind : {"yarn", "dynamic", "longrope", "mrope"}) {
    ExpectValueRefused(
        "rope_scaling", {{"type", kind}, {"factor", 2.0}}, kUnimplemented,
        std::string("key 'rope_scaling.type': found '") + kind + "', supported are default, linear, llama3");
    ExpectValueRefused("rope_parameters", {{"rope_type", kind}, {"factor", 2.0}}, kUnimplemented,
                       std::string("key 'rope_parameters.rope_type': found '") + kind);
  }
  ExpectValueRefused("rope_scaling", {{"type", "linear"}}, kInvalid, "key 'rope_scaling.factor': missing");
  ExpectValueRefused("rope_scaling", {{"type", "linear"}, {"factor", 0.5}}, kInvalid,
                     "key 'rope_scaling.factor': found 0.5");
  ExpectValueRefused("rope_scaling",
                     {{"rope_type", "llama3"}, {"factor", 8}, {"low_freq_factor", 4}, {"high_freq_factor", 1}},
                     kInvalid, "key 'rope_scaling.high_freq_factor': found 1");
  ExpectValueRefused("rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}, kUnimplemented,
                     "key 'rope_parameters.full_attention': found an object");
  ExpectValueRefused("rope_parameters", {{"partial_rotary_factor", 0.25}}, kUnimplemented, "found 0.25");
  Json json = Golden("llama-files");
  json["rope_parameters"] = Json::object();
  json["rope_scaling"] = nullptr;
  json["rope_theta"] = 500000;
  EXPECT_EQ(Read(json)->rope_theta, 500000.0f);
}

TEST(FolderConfig, AWindowBoundsThePositions) {
  const auto mistral = Read(Golden("mistral-files"));
  ASSERT_TRUE(mistral.ok()) << mistral.status();
  EXPECT_EQ(mistral->window, 128);
  EXPECT_EQ(mistral->max_positions, 128);
  Json json = Golden("mistral-files");
  json["sliding_window"] = nullptr;
  EXPECT_EQ(Read(json)->window, 0);
  EXPECT_EQ(Read(json)->max_positions, 512);
  json["sliding_window"] = 0;
  ExpectRefused(json, kInvalid, "key 'sliding_window': found 0");

  json = Golden("qwen2-files");
  json["sliding_window"] = 64;
  EXPECT_EQ(Read(json)->window, 0);
  json["use_sliding_window"] = true;
  EXPECT_EQ(Read(json)->window, 0) << "its layers all say full_attention";
  json["layer_types"][1] = "sliding_attention";
  EXPECT_EQ(Read(json)->window, 64);
  EXPECT_EQ(Read(json)->max_positions, 64);
  json.erase("layer_types");
  EXPECT_EQ(Read(json)->window, 0);
  json["max_window_layers"] = 1;
  EXPECT_EQ(Read(json)->window, 64);
  json["layer_types"] = {"chunked_attention"};
  ExpectRefused(json, kUnimplemented, "key 'layer_types': found 'chunked_attention'");
}

TEST(FolderConfig, TextThatIsNoConfiguration) {
  const auto read = [](const std::string& text) {
    const auto config = ReadFolderConfig(text, "m/config.json");
    EXPECT_FALSE(config.ok());
    ExpectClearError(config.status(), "m/config.json: ");
    return std::string(config.status().message());
  };
  EXPECT_THAT(read(""), HasSubstr("not valid JSON at byte"));
  EXPECT_THAT(read("[]"), HasSubstr("found an array, expected an object"));
  EXPECT_THAT(read(R"({"a":NaN})"), HasSubstr("not valid JSON at byte 6"));
  EXPECT_THAT(read(R"({"a":1,"a":2})"), HasSubstr("key 'a': found twice"));
  EXPECT_THAT(read("{\"a\":" + std::string(100000, '[')), HasSubstr("more than 32 objects and arrays"));
  EXPECT_THAT(read(std::string(1100000, ' ')), HasSubstr("found 1100000 bytes, expected at most 1048576"));
}

TEST(FolderConfigDamage, TwoThousand) {
  int opened = 0;
  std::mt19937_64 random(2);
  const char* folders[] = {"llama3-files", "linear-shards", "mistral-files", "qwen2-files"};
  for (int i = 0; i < 2000; ++i) {
    SCOPED_TRACE(i);
    const std::string text = DamagedJson(Golden(folders[i % 4]).dump(), random);
    const test::HeapPeak peak;
    const auto config = ReadFolderConfig(text, "m/config.json");
    EXPECT_LT(peak.bytes(), MostHeap(text.size())) << "of " << text.size();
    if (!config.ok()) ExpectClearError(config.status(), "m/config.json: ");
    if (!config.ok()) continue;
    ++opened;
    EXPECT_EQ(config->num_heads % config->num_kv_heads, 0);
    EXPECT_EQ(config->head_dim % 16, 0);
    EXPECT_EQ(config->rope.frequency.size() * 2, static_cast<size_t>(config->head_dim));
    for (const double frequency : config->rope.frequency) EXPECT_TRUE(std::isfinite(frequency) && frequency > 0);
    EXPECT_TRUE(config->rms_eps > 0 && config->num_layers > 0 && config->max_positions > 0);
  }
  EXPECT_GT(opened, 150);
  EXPECT_LT(opened, 1000);
}

}  // namespace
}  // namespace cascade
