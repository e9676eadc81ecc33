// The weights of the Llama family: one list for every file format and for the forward pass.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model/model_config.h"
#include "kernels/dtype.h"

namespace cascade {

// A weight as the architecture wants it: `rows` outputs of `cols` inputs.
struct ExpectedWeight {
  std::string name;  // as GGUF calls it: "blk.0.attn_q.weight"
  int64_t rows = 0;
  int64_t cols = 0;
  bool vector = false;  // a gain or a bias: one row, stored with a single dimension, in a type that IsVectorType
};

// Every layer has at least as many weights; a file with fewer tensors cannot have the layers that it claims.
inline constexpr int64_t kMinWeightsPerLayer = 9;

// All weights of a model of this shape, in the order in which the forward pass uses them: the embedding table, each
// layer's, the last norm, the output matrix unless it is the table. With q, k and v biases where config.qkv_bias.
// `config.num_layers` must be bounded by the caller (by the tensors that the file has).
std::vector<ExpectedWeight> ExpectedWeights(const ModelConfig& config);

// Head sizes that every op is tested with.
inline constexpr int kHeadDimStep = 16;
inline constexpr int kMaxHeadDim = 256;
inline bool IsSupportedHeadDim(int head_dim) {
  return head_dim >= kHeadDimStep && head_dim % kHeadDimStep == 0 && head_dim <= kMaxHeadDim;
}

// Gains and biases are read one by one: F32, F16 and BF16.
bool IsVectorType(kernels::DType type);

}  // namespace cascade
