#pragma once

#include <cstdint>
#include <string>

#include "kernels/cache_shape.h"

namespace cascade {

// The shape of a Llama-family model; checked where it is read.
struct ModelConfig {
  std::string architecture;  // "llama", "mistral", "qwen2"
  std::string name;          // "SmolLM2 135M .."
  int num_layers = 0;
  int hidden = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int ffn = 0;
  int vocabulary = 0;
  int64_t max_positions = 0;  // never beyond `window`: inside it, attention with and without a window are the same
  int64_t window = 0;         // of a sliding-window model, as its file says; 0: none
  float rms_eps = 0;
  kernels::Rope rope;         // frequencies with any scaling applied
  float rope_theta = 0;
  std::string rope_scaling;   // "none", "linear", "llama3", "factors" (a table in the file): for people
  bool qkv_bias = false;      // the q, k and v projections have biases
  bool tied_output = false;  // the output matrix is the embedding table
  int64_t parameters = 0;
  int64_t weight_bytes = 0;
};

}  // namespace cascade
