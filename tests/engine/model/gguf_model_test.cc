// The model in the container: every field of the configuration, every weight, the vocabulary.
#include "engine/model/gguf_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "tests/engine/model/model_test_util.h"
#include "tests/support/tiny_model.h"

namespace cascade {
namespace {

using kernels::DType;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;

void ExpectRefused(const GgufWriter& writer, absl::StatusCode code, const std::string& words) {
  const auto model = Open(writer);
  ASSERT_FALSE(model.ok());
  const std::string message(model.status().message());
  EXPECT_EQ(model.status().code(), code) << message;
  EXPECT_THAT(message, StartsWith("model.gguf: "));
  EXPECT_THAT(message, HasSubstr(words));
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

TEST(GgufModel, OpensTheTinyModel) {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ4_0, DType::kQ4_1, DType::kQ8_0}) {
    for (const bool tied : {true, false}) {
      TinyModelOptions options;
      options.matrices = type;
      options.embeddings = type;
      options.tied_output = tied;
      const auto model = Open(TinyModel(options));
      ASSERT_TRUE(model.ok()) << model.status();
      const ModelConfig& config = (*model)->config();
      EXPECT_EQ(config.architecture, "llama");
      EXPECT_EQ(config.name, "Tiny");
      EXPECT_EQ(config.num_layers, 2);
      EXPECT_EQ(config.hidden, 64);
      EXPECT_EQ(config.num_heads, 4);
      EXPECT_EQ(config.num_kv_heads, 2);
      EXPECT_EQ(config.head_dim, 16);
      EXPECT_EQ(config.ffn, 96);
      EXPECT_EQ(config.vocabulary, 272);
      EXPECT_EQ(config.max_positions, 4096);
      EXPECT_EQ(config.rms_eps, 1e-5f);
      EXPECT_EQ(config.tied_output, tied);
      EXPECT_EQ(config.rope.pairs, kernels::RopePairs::kInterleaved);
      ASSERT_EQ(config.rope.frequency.size(), 8u);
      for (int i = 0; i < 8; ++i) {
        EXPECT_DOUBLE_EQ(config.rope.frequency[static_cast<size_t>(i)], std::pow(10000.0, -2.0 * i / 16));
      }
      const int64_t tables = (tied ? 1 : 2) * 272 * 64;
      const int64_t matrices = 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64);
      const int64_t gains = 5 * 64;
      EXPECT_EQ(config.parameters, tables + matrices + gains);
      EXPECT_EQ(config.weight_bytes, static_cast<int64_t>(kernels::RowBytes(type, tables + matrices)) + gains * 4);
    }
  }
}

TEST(GgufModel, FindsWeights) {
  const auto model = Open(TinyModel());
  ASSERT_TRUE(model.ok()) << model.status();
  const auto down = (*model)->FindWeight("blk.1.ffn_down.weight");
  ASSERT_TRUE(down.ok());
  EXPECT_EQ(down->rows, 64);
  EXPECT_EQ(down->cols, 96);
  EXPECT_EQ(down->type, DType::kF32);
  const auto gain = (*model)->FindWeight("output_norm.weight");
  ASSERT_TRUE(gain.ok());
  EXPECT_EQ(gain->rows, 1);
  EXPECT_EQ(gain->cols, 64);
  EXPECT_EQ((*model)->FindWeight("output.weight").status().code(), absl::StatusCode::kNotFound);
}

TEST(GgufModel, ReadsHeadDimensionsOfTheirOwn) {
  TinyModelOptions options;
  options.head_dim = 32;
  const auto model = Open(TinyModel(options));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->config().head_dim, 32);
  EXPECT_EQ((*model)->FindWeight("blk.0.attn_output.weight")->cols, 128);
}

TEST(GgufModel, OptionalKeysHaveDefaults) {
  GgufWriter writer = TinyModel();
  for (const char* key : {"general.name", "llama.rope.freq_base", "llama.rope.dimension_count", "llama.vocab_size",
                          "tokenizer.chat_template", "tokenizer.ggml.add_bos_token", "tokenizer.ggml.bos_token_id"}) {
    writer.Remove(key);
  }
  const auto model = Open(writer);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->config().name, "");
  EXPECT_DOUBLE_EQ((*model)->config().rope.frequency[1], std::pow(10000.0, -2.0 / 16));
  EXPECT_EQ((*model)->chat_template(), "");
  EXPECT_EQ((*model)->vocabulary().bos_id, -1);
  EXPECT_FALSE((*model)->vocabulary().add_bos);
}

TEST(GgufModel, RequiredKeysAreNamed) {
  for (const char* key : {"general.architecture", "llama.block_count", "llama.context_length", "llama.embedding_length",
                          "llama.feed_forward_length", "llama.attention.head_count",
                          "llama.attention.layer_norm_rms_epsilon", "tokenizer.ggml.model", "tokenizer.ggml.tokens"}) {
    SCOPED_TRACE(key);
    GgufWriter writer = TinyModel();
    writer.Remove(key);
    ExpectRefused(writer, kInvalid, "key '" + std::string(key) + "': missing");
  }
}

TEST(GgufModel, EveryIntegerIsChecked) {
  const std::function<void(GgufWriter&, const char*)> kLies[] = {
      [](auto& w, auto key) { w.SetUint32(key, 0); },
      [](auto& w, auto key) { w.SetUint32(key, 1u << 31); },
      [](auto& w, auto key) { w.SetUint32(key, ~0u); },
      [](auto& w, auto key) { w.SetInt32(key, -1); },
      [](auto& w, auto key) { w.SetInt32(key, std::numeric_limits<int32_t>::min()); },
      [](auto& w, auto key) { w.SetUint64(key, uint64_t{1} << 63); },
      [](auto& w, auto key) { w.SetUint64(key, (uint64_t{1} << 32) + 2); },
      [](auto& w, auto key) { w.SetFloat32(key, 2.0f); },
      [](auto& w, auto key) { w.SetBool(key, true); },
      [](auto& w, auto key) { w.SetString(key, "2"); },
      [](auto& w, auto key) {
        w.SetInt32s(key, {2, 2});
      },
  };
  for (const char* key :
       {"llama.block_count", "llama.context_length", "llama.embedding_length", "llama.feed_forward_length",
        "llama.attention.head_count", "llama.attention.head_count_kv", "llama.attention.key_length",
        "llama.attention.value_length", "llama.rope.dimension_count", "llama.vocab_size"}) {
    for (size_t i = 0; i < std::size(kLies); ++i) {
      SCOPED_TRACE(std::string(key) + " lie " + std::to_string(i));
      GgufWriter writer = TinyModel();
      kLies[i](writer, key);
      ExpectRefused(writer, kInvalid, "key '" + std::string(key) + "': found ");
    }
  }
}

TEST(GgufModel, EveryFloatIsChecked) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const char* key : {"llama.rope.freq_base", "llama.attention.layer_norm_rms_epsilon"}) {
    SCOPED_TRACE(key);
    const std::string words = "key '" + std::string(key) + "': found ";
    for (const float lie : {0.0f, -0.0f, -1.0f, kInf, -kInf, std::numeric_limits<float>::quiet_NaN()}) {
      GgufWriter writer = TinyModel();
      writer.SetFloat32(key, lie);
      ExpectRefused(writer, kInvalid, words);
    }
    GgufWriter writer = TinyModel();
    writer.SetUint32(key, 1);
    ExpectRefused(writer, kInvalid, words + "UINT32, expected FLOAT32");
    writer.SetRaw(key, 12, RawBytes(1.0));
    ExpectRefused(writer, kInvalid, words + "FLOAT64, expected FLOAT32");
  }
}

struct Case {
  const char* name;
  absl::StatusCode code;
  const char* words;
  std::function<void(GgufWriter&)> change;
};

const Case kCases[] = {
    {"architecture", kUnimplemented, "'general.architecture': found 'qwen2', supported is only 'llama'",
     [](auto& w) { w.SetString("general.architecture", "qwen2"); }},
    {"architecture number", kInvalid, "'general.architecture': found UINT32",
     [](auto& w) { w.SetUint32("general.architecture", 1); }},
    {"name not UTF-8", kInvalid, "'general.name': not valid UTF-8",
     [](auto& w) { w.SetString("general.name", "\xff"); }},
    {"rope scaling", kUnimplemented, "'llama.rope.scaling.type': found 'yarn'",
     [](auto& w) { w.SetString("llama.rope.scaling.type", "yarn"); }},
    {"rope scaling, older", kUnimplemented, "'llama.rope.scale_linear': found 4",
     [](auto& w) { w.SetFloat32("llama.rope.scale_linear", 4.0f); }},
    {"rope scaling without its type, which is linear", kUnimplemented, "'llama.rope.scaling.factor': found 4",
     [](auto& w) { w.SetFloat32("llama.rope.scaling.factor", 4.0f); }},
    {"experts", kUnimplemented, "'llama.expert_count': found 8", [](auto& w) { w.SetUint32("llama.expert_count", 8); }},
    {"split file", kUnimplemented, "'split.count': found 3", [](auto& w) { w.SetUint32("split.count", 3); }},
    {"more layers than tensors", kInvalid, "'llama.block_count': found 16777216",
     [](auto& w) { w.SetUint32("llama.block_count", 1 << 24); }},
    {"fewer layers", kUnimplemented, "tensor 'blk.1.attn_k.weight': not a weight",
     [](auto& w) { w.SetUint32("llama.block_count", 1); }},
    {"heads do not divide", kInvalid,
     "'llama.attention.head_count': found 6, expected a divisor of the embedding length 64",
     [](auto& w) { w.SetUint32("llama.attention.head_count", 6); }},
    {"more KV heads than heads", kInvalid,
     "'llama.attention.head_count_kv': found 8, expected a divisor of the 4 heads",
     [](auto& w) { w.SetUint32("llama.attention.head_count_kv", 8); }},
    {"odd head dimension", kInvalid, "'llama.embedding_length': head dimension 1, expected an even number",
     [](auto& w) { w.SetUint32("llama.attention.head_count", 64); }},
    {"odd key length", kInvalid, "'llama.attention.key_length': head dimension 17",
     [](auto& w) { w.SetUint32("llama.attention.key_length", 17); }},
    {"value length", kInvalid, "'llama.attention.value_length': found 32, expected the head dimension 16",
     [](auto& w) { w.SetUint32("llama.attention.value_length", 32); }},
    {"partial rotation", kInvalid, "'llama.rope.dimension_count': found 8, expected the head dimension 16",
     [](auto& w) { w.SetUint32("llama.rope.dimension_count", 8); }},
    {"vocabulary size", kInvalid, "'llama.vocab_size': found 271, expected the 272 rows",
     [](auto& w) { w.SetUint32("llama.vocab_size", 271); }},
    {"feed-forward length", kInvalid, "tensor 'blk.0.ffn_gate.weight': found shape [64, 96], expected [64, 97]",
     [](auto& w) { w.SetUint32("llama.feed_forward_length", 97); }},
    {"no embeddings", kInvalid, "tensor 'token_embd.weight': missing",
     [](auto& w) { w.RemoveTensor("token_embd.weight"); }},
    {"weight missing", kInvalid, "tensor 'blk.1.ffn_up.weight': missing, expected shape [64, 96]",
     [](auto& w) { w.RemoveTensor("blk.1.ffn_up.weight"); }},
    {"shape turned", kInvalid, "tensor 'blk.0.attn_k.weight': found shape [32, 64], expected [64, 32]",
     [](auto& w) {
       w.FindTensor("blk.0.attn_k.weight").dims = {32, 64};
     }},
    {"shape flat", kInvalid, "found shape [2048], expected [64, 32]",
     [](auto& w) { w.FindTensor("blk.0.attn_k.weight").dims = {2048}; }},
    {"gain too short", kInvalid, "tensor 'output_norm.weight': found shape [63], expected [64]",
     [](auto& w) { w.FindTensor("output_norm.weight").dims = {63}; }},
    {"gain in half precision", kUnimplemented, "tensor 'output_norm.weight': found type F16, supported is only F32",
     [](auto& w) { w.FindTensor("output_norm.weight").type = 1; }},
    {"type", kUnimplemented, "tensor 'blk.0.attn_q.weight': type Q6_K is not supported",
     [](auto& w) { w.FindTensor("blk.0.attn_q.weight").type = 14; }},
    {"bias", kUnimplemented, "tensor 'blk.0.attn_q.bias': not a weight of the 'llama' architecture",
     [](auto& w) { w.AddTensor("blk.0.attn_q.bias", {64}, DType::kF32, std::string(256, '\0')); }},
    {"rope factors", kUnimplemented, "tensor 'rope_freqs.weight': not a weight",
     [](auto& w) { w.AddTensor("rope_freqs.weight", {8}, DType::kF32, std::string(32, '\0')); }},
    {"tokens missing some", kInvalid, "'tokenizer.ggml.tokens': found 1 tokens, expected the 272 rows",
     [](auto& w) { w.SetStrings("tokenizer.ggml.tokens", {"a"}); }},
    {"tokens of numbers", kInvalid, "'tokenizer.ggml.tokens': found array of INT32, expected array of STRING",
     [](auto& w) { w.SetInt32s("tokenizer.ggml.tokens", {1}); }},
    {"types too few", kInvalid, "'tokenizer.ggml.token_type': found 1 types",
     [](auto& w) { w.SetInt32s("tokenizer.ggml.token_type", {1}); }},
    {"type of a token", kInvalid, "'tokenizer.ggml.token_type': found 7 at index 0",
     [](auto& w) { w.SetInt32s("tokenizer.ggml.token_type", std::vector<int32_t>(272, 7)); }},
    {"merges a string", kInvalid, "'tokenizer.ggml.merges': found STRING",
     [](auto& w) { w.SetString("tokenizer.ggml.merges", "a b"); }},
    {"end token out of range", kInvalid, "'tokenizer.ggml.eos_token_id': found 272, expected 0 to 271",
     [](auto& w) { w.SetUint32("tokenizer.ggml.eos_token_id", 272); }},
    {"begin token negative", kInvalid, "'tokenizer.ggml.bos_token_id': found -1",
     [](auto& w) { w.SetInt32("tokenizer.ggml.bos_token_id", -1); }},
    {"template not text", kInvalid, "'tokenizer.chat_template': found BOOL",
     [](auto& w) { w.SetBool("tokenizer.chat_template", true); }},
};

TEST(GgufModel, RefusesWhatContradictsItself) {
  int ran = 0;
  for (const Case& test : kCases) {
    SCOPED_TRACE(test.name);
    GgufWriter writer = TinyModel();
    test.change(writer);
    ExpectRefused(writer, test.code, test.words);
    ++ran;
  }
  EXPECT_EQ(ran, 35);
}

TEST(GgufModel, ReadsTheVocabulary) {
  const auto model = Open(TinyModel());
  ASSERT_TRUE(model.ok()) << model.status();
  const Vocabulary& vocabulary = (*model)->vocabulary();
  EXPECT_EQ(vocabulary.model, "gpt2");
  EXPECT_EQ(vocabulary.pre_tokenizer, "smollm");
  ASSERT_EQ(vocabulary.tokens.size(), 272u);
  EXPECT_EQ(vocabulary.tokens[2], "<|im_end|>");
  EXPECT_EQ(vocabulary.tokens[3], "!");
  EXPECT_EQ(vocabulary.tokens[259], "Ġt");
  ASSERT_EQ(vocabulary.types.size(), 272u);
  EXPECT_EQ(vocabulary.types[2], TokenType::kControl);
  EXPECT_EQ(vocabulary.types[3], TokenType::kNormal);
  ASSERT_EQ(vocabulary.merges.size(), 13u);
  EXPECT_EQ(vocabulary.merges[4], "Ġt he");
  EXPECT_EQ(vocabulary.bos_id, 1);
  EXPECT_EQ(vocabulary.eos_id, 2);
  EXPECT_EQ(vocabulary.eot_id, -1);
  EXPECT_THAT((*model)->chat_template(), HasSubstr("<|im_start|>assistant"));
}

}  // namespace
}  // namespace cascade
