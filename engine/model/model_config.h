#pragma once

#include <cstdint>
#include <string>

#include "kernels/cache_shape.h"

namespace cascade {

// The shape of a Llama-family model; checked where it is read.
struct ModelConfig {
  std::string architecture;  // "llama"
  std::string name;          // "SmolLM2 135M .."
  int num_layers = 0;
  int hidden = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int ffn = 0;
  int vocabulary = 0;
  int64_t max_positions = 0;
  float rms_eps = 0;
  kernels::Rope rope;
  bool tied_output = false;  // the output matrix is the embedding table
  int64_t parameters = 0;
  int64_t weight_bytes = 0;
};

}  // namespace cascade
