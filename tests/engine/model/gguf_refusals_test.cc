// Files whose keys, tensors and tokens contradict each other: each is refused with the name of what is wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "engine/model/gguf_model.h"
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

TEST(GgufRefusals, RequiredKeysAreNamed) {
  for (const char* key : {"general.architecture", "llama.block_count", "llama.context_length", "llama.embedding_length",
                          "llama.feed_forward_length", "llama.attention.head_count",
                          "llama.attention.layer_norm_rms_epsilon", "tokenizer.ggml.model", "tokenizer.ggml.tokens"}) {
    SCOPED_TRACE(key);
    GgufWriter writer = TinyModel();
    writer.Remove(key);
    ExpectRefused(writer, kInvalid, "key '" + std::string(key) + "': missing");
  }
}

TEST(GgufRefusals, EveryIntegerIsChecked) {
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

TEST(GgufRefusals, EveryFloatIsChecked) {
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

void AddVector(GgufWriter& writer, const char* name, uint64_t size) {
  writer.AddTensor(name, {size}, DType::kF32, std::string(size * 4, '\0'));
}

const Case kCases[] = {
    {"architecture", kUnimplemented, "'general.architecture': found 'mistral3', supported are 'llama', 'qwen2'",
     [](auto& w) { w.SetString("general.architecture", "mistral3"); }},
    {"architecture empty", kUnimplemented, "'general.architecture': found '', supported are 'llama', 'qwen2'",
     [](auto& w) { w.SetString("general.architecture", ""); }},
    {"keys of another architecture", kInvalid, "'qwen2.block_count': missing",
     [](auto& w) { w.SetString("general.architecture", "qwen2"); }},
    {"architecture number", kInvalid, "'general.architecture': found UINT32",
     [](auto& w) { w.SetUint32("general.architecture", 1); }},
    {"name not UTF-8", kInvalid, "'general.name': not valid UTF-8",
     [](auto& w) { w.SetString("general.name", "\xff"); }},
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
    {"small head dimension", kUnimplemented,
     "'llama.embedding_length': found head dimension 1, supported are the multiples of 16 up to 256",
     [](auto& w) { w.SetUint32("llama.attention.head_count", 64); }},
    {"head dimension 24", kUnimplemented,
     "'llama.attention.key_length': found head dimension 24, supported are the multiples of 16 up to 256",
     [](auto& w) { w.SetUint32("llama.attention.key_length", 24); }},
    {"head dimension 272", kUnimplemented, "'llama.attention.key_length': found head dimension 272",
     [](auto& w) { w.SetUint32("llama.attention.key_length", 272); }},
    {"value length", kInvalid, "'llama.attention.value_length': found 32, expected the head dimension 16",
     [](auto& w) { w.SetUint32("llama.attention.value_length", 32); }},
    {"partial rotation", kUnimplemented,
     "'llama.rope.dimension_count': found 8, supported is only the head dimension 16",
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
    {"gain quantised", kUnimplemented,
     "tensor 'output_norm.weight': found type Q8_0, supported for this tensor are F32, F16 and BF16",
     [](auto& w) { w.FindTensor("output_norm.weight").type = 8; }},
    {"type", kUnimplemented, "tensor 'blk.0.attn_q.weight': type IQ1_S is not supported",
     [](auto& w) { w.FindTensor("blk.0.attn_q.weight").type = 19; }},
    {"one bias of three", kInvalid, "tensor 'blk.0.attn_k.bias': missing, expected shape [32]",
     [](auto& w) { AddVector(w, "blk.0.attn_q.bias", 64); }},
    {"bias of another layer", kUnimplemented, "tensor 'blk.1.attn_q.bias': not a weight of the 'llama' architecture",
     [](auto& w) { AddVector(w, "blk.1.attn_q.bias", 64); }},
    {"output bias", kUnimplemented, "tensor 'blk.0.attn_output.bias': not a weight",
     [](auto& w) { AddVector(w, "blk.0.attn_output.bias", 64); }},
    {"feed-forward bias", kUnimplemented, "tensor 'blk.1.ffn_up.bias': not a weight",
     [](auto& w) { AddVector(w, "blk.1.ffn_up.bias", 96); }},
    {"norm of keys", kUnimplemented, "tensor 'blk.0.attn_k_norm.weight': not a weight",
     [](auto& w) { AddVector(w, "blk.0.attn_k_norm.weight", 16); }},
    {"long factors", kUnimplemented, "tensor 'rope_factors_long.weight': not a weight",
     [](auto& w) { AddVector(w, "rope_factors_long.weight", 8); }},
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

TEST(GgufRefusals, RefusesWhatContradictsItself) {
  int ran = 0;
  for (const Case& test : kCases) {
    SCOPED_TRACE(test.name);
    GgufWriter writer = TinyModel();
    test.change(writer);
    ExpectRefused(writer, test.code, test.words);
    ++ran;
  }
  EXPECT_EQ(ran, 37);
}

}  // namespace
}  // namespace cascade
