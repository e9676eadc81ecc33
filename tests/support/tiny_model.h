// A small random model of the Llama family in a GGUF file: lively logits, a byte-level BPE vocabulary, ChatML. Same
// options, same bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/dtype.h"
#include "tests/support/gguf_writer.h"

namespace cascade {

struct TinyModelOptions {
  std::string architecture = "llama";  // "qwen2": with biases, and RoPE's pairs are halves
  bool qkv_bias = false;               // also without "qwen2"
  int hidden = 64;
  int heads = 4;
  int kv_heads = 2;
  int head_dim = 16;  // other than hidden / heads: stored as key_length and value_length
  int ffn = 96;
  int layers = 2;
  // At least kTinyModelTokens; ids beyond those are unused tokens.
  int vocabulary = 272;
  int context = 4096;
  float rope_theta = 10000.0f;
  float linear_scaling = 0;                        // 0: no such keys
  std::vector<float> rope_factors;                 // [head_dim / 2], or empty: no such tensor
  int window = 0;                                  // 0: no such key
  kernels::DType matrices = kernels::DType::kF32;  // quantised: hidden, ffn, heads * head_dim multiples of 32
  kernels::DType embeddings = kernels::DType::kF32;
  kernels::DType vectors = kernels::DType::kF32;  // gains, biases and RoPE factors: F32, F16, BF16
  bool tied_output = true;
  uint64_t seed = 1;
};

// Ids of the control tokens; then 256 bytes from id 3 on, in the order of GPT-2's alphabet ('!' is 3), then merges.
constexpr int32_t kTinyEndOfText = 0;
constexpr int32_t kTinyImStart = 1;  // BOS as the file says, never added
constexpr int32_t kTinyImEnd = 2;    // EOS
constexpr int kTinyModelTokens = 272;

// The file as a writer, to break it before it is written.
GgufWriter TinyModel(const TinyModelOptions& options = {});
void WriteTinyModel(const std::string& path, const TinyModelOptions& options = {});

}  // namespace cascade
