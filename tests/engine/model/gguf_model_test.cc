// The model in the container: every field of the configuration, every weight, the vocabulary.
#include "engine/model/gguf_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/engine/model/model_test_util.h"
#include "tests/support/tiny_model.h"

namespace cascade {
namespace {

using kernels::DType;
using ::testing::HasSubstr;

// What a broken one says.
std::string Refusal(const GgufWriter& writer, absl::StatusCode code) {
  const auto model = Open(writer);
  EXPECT_EQ(model.status().code(), code) << model.status();
  return std::string(model.status().message());
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

TEST(GgufModel, HiddenNeedNotBeDivisibleByHeads) {
  TinyModelOptions options;
  options.hidden = 48;
  options.heads = 5;
  options.kv_heads = 1;
  options.head_dim = 48;
  const auto model = Open(TinyModel(options));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->FindWeight("blk.0.attn_q.weight")->rows, 240);
  GgufWriter writer = TinyModel(options);
  writer.Remove("llama.attention.key_length");
  EXPECT_EQ(Refusal(writer, absl::StatusCode::kInvalidArgument),
            "model.gguf: key 'llama.attention.head_count': found 5, expected a divisor of the embedding length 48, as "
            "there is no key 'llama.attention.key_length'");
}

TEST(GgufModel, ReadsEveryHeadDimension) {
  for (int head_dim = 16; head_dim <= 256; head_dim += 16) {
    TinyModelOptions options;
    options.head_dim = head_dim;
    options.layers = 1;
    const auto model = Open(TinyModel(options));
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ((*model)->config().head_dim, head_dim);
    EXPECT_EQ((*model)->config().rope.frequency.size(), static_cast<size_t>(head_dim / 2));
  }
}

TEST(GgufModel, Qwen2HasBiasesAndHalves) {
  TinyModelOptions options;
  options.architecture = "qwen2";
  const auto model = Open(TinyModel(options));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->config().architecture, "qwen2");
  EXPECT_TRUE((*model)->config().qkv_bias);
  EXPECT_EQ((*model)->config().rope.pairs, kernels::RopePairs::kHalves);
  const auto bias = (*model)->FindWeight("blk.1.attn_k.bias");
  ASSERT_TRUE(bias.ok()) << bias.status();
  EXPECT_EQ(bias->rows, 1);
  EXPECT_EQ(bias->cols, 32);
  GgufWriter writer = TinyModel(options);
  for (const char* name : {"blk.0.attn_q.bias", "blk.0.attn_k.bias", "blk.0.attn_v.bias"}) writer.RemoveTensor(name);
  EXPECT_EQ(Refusal(writer, absl::StatusCode::kInvalidArgument),
            "model.gguf: tensor 'blk.0.attn_q.bias': missing, expected shape [64]");
}

TEST(GgufModel, LlamaMayHaveBiases) {
  TinyModelOptions options;
  EXPECT_FALSE((*Open(TinyModel(options)))->config().qkv_bias);
  options.qkv_bias = true;
  const auto model = Open(TinyModel(options));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_TRUE((*model)->config().qkv_bias);
  EXPECT_EQ((*model)->config().rope.pairs, kernels::RopePairs::kInterleaved);
}

TEST(GgufModel, VectorsMayBeHalfPrecision) {
  for (const DType type : {DType::kF16, DType::kBF16}) {
    TinyModelOptions options;
    options.architecture = "qwen2";
    options.vectors = type;
    options.rope_factors = std::vector<float>(8, 2.0f);
    const auto model = Open(TinyModel(options));
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ((*model)->FindWeight("output_norm.weight")->type, type);
    EXPECT_EQ((*model)->FindWeight("blk.0.attn_v.bias")->type, type);
    EXPECT_DOUBLE_EQ((*model)->config().rope.frequency[0], 0.5);
  }
}

TEST(GgufModel, AWindowBoundsThePositions) {
  TinyModelOptions options;
  options.window = 1000;
  const auto model = Open(TinyModel(options));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->config().window, 1000);
  EXPECT_EQ((*model)->config().max_positions, 1000);
  options.window = 5000;
  const auto wide = Open(TinyModel(options));
  ASSERT_TRUE(wide.ok()) << wide.status();
  EXPECT_EQ((*wide)->config().window, 5000);
  EXPECT_EQ((*wide)->config().max_positions, 4096);
  EXPECT_EQ((*Open(TinyModel()))->config().window, 0);
}

TEST(GgufModel, ListsItsTensorsInOrder) {
  const auto model = Open(TinyModel());
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->format(), "GGUF v3");
  const std::vector<TensorSummary> tensors = (*model)->Tensors();
  ASSERT_EQ(tensors.size(), 20u);
  EXPECT_EQ(tensors[0].name, "token_embd.weight");
  EXPECT_EQ(tensors[0].shape, (std::vector<int64_t>{272, 64}));
  EXPECT_EQ(tensors[0].bytes, 272 * 64 * 4);
  EXPECT_EQ(tensors[0].type, DType::kF32);
  EXPECT_EQ(tensors[1].name, "output_norm.weight");
  EXPECT_EQ(tensors[1].shape, (std::vector<int64_t>{64}));
  EXPECT_EQ(tensors[19].name, "blk.1.ffn_down.weight");
}

TEST(GgufModel, OptionalKeysHaveDefaults) {
  GgufWriter writer = TinyModel();
  for (const char* key : {"general.name", "llama.rope.freq_base", "llama.rope.dimension_count", "llama.vocab_size",
                          "tokenizer.chat_template", "tokenizer.ggml.add_bos_token", "tokenizer.ggml.bos_token_id"}) {
    writer.Remove(key);
  }
  const auto model = Open(writer);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->config().name, "model");
  EXPECT_DOUBLE_EQ((*model)->config().rope.frequency[1], std::pow(10000.0, -2.0 / 16));
  EXPECT_EQ((*model)->chat_template(), "");
  EXPECT_EQ((*model)->vocabulary().bos_id, -1);
  EXPECT_FALSE((*model)->vocabulary().add_bos);
}

TEST(GgufModel, ReadsTheVocabulary) {
  const auto model = Open(TinyModel());
  ASSERT_TRUE(model.ok()) << model.status();
  const Vocabulary& vocabulary = (*model)->vocabulary();
  EXPECT_EQ(vocabulary.kind, TokenizerKind::kByteBpe);
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
