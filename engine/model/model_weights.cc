#include "engine/model/model_weights.h"

#include "absl/strings/str_cat.h"

namespace cascade {

std::vector<ExpectedWeight> ExpectedWeights(const ModelConfig& config) {
  const int64_t hidden = config.hidden;
  const int64_t ffn = config.ffn;
  const int64_t queries = int64_t{config.num_heads} * config.head_dim;
  const int64_t keys = int64_t{config.num_kv_heads} * config.head_dim;
  std::vector<ExpectedWeight> weights;
  weights.push_back({"token_embd.weight", config.vocabulary, hidden});
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const std::string prefix = absl::StrCat("blk.", layer, ".");
    weights.push_back({prefix + "attn_norm.weight", 1, hidden, true});
    weights.push_back({prefix + "attn_q.weight", queries, hidden});
    weights.push_back({prefix + "attn_k.weight", keys, hidden});
    weights.push_back({prefix + "attn_v.weight", keys, hidden});
    if (config.qkv_bias) {
      weights.push_back({prefix + "attn_q.bias", 1, queries, true});
      weights.push_back({prefix + "attn_k.bias", 1, keys, true});
      weights.push_back({prefix + "attn_v.bias", 1, keys, true});
    }
    weights.push_back({prefix + "attn_output.weight", hidden, queries});
    weights.push_back({prefix + "ffn_norm.weight", 1, hidden, true});
    weights.push_back({prefix + "ffn_gate.weight", ffn, hidden});
    weights.push_back({prefix + "ffn_up.weight", ffn, hidden});
    weights.push_back({prefix + "ffn_down.weight", hidden, ffn});
  }
  weights.push_back({"output_norm.weight", 1, hidden, true});
  if (!config.tied_output) weights.push_back({"output.weight", config.vocabulary, hidden});
  return weights;
}

bool IsVectorType(kernels::DType type) {
  return type == kernels::DType::kF32 || type == kernels::DType::kF16 || type == kernels::DType::kBF16;
}

}  // namespace cascade
