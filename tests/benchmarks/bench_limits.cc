#include "tests/benchmarks/bench_limits.h"

#include "engine/model/model_weights.h"

namespace cascade::bench {

ModelCosts CostsOf(const ModelSource& source, kernels::DType kv_type) {
  const ModelConfig& config = source.config();
  ModelCosts costs;
  for (const ExpectedWeight& expected : ExpectedWeights(config)) {
    const auto weight = source.FindWeight(expected.name);
    if (!weight.ok()) continue;
    const bool table = expected.name == "token_embd.weight";
    if (!table || config.tied_output) {
      costs.step_weight_bytes += static_cast<int64_t>(kernels::RowBytes(weight->type, weight->cols)) * weight->rows;
    }
    if (!expected.vector && !table && expected.name != "output.weight") {
      costs.linear_flops_per_row += 2.0 * static_cast<double>(expected.rows * expected.cols);
    }
  }
  const int64_t heads = int64_t{config.num_layers} * config.num_kv_heads;
  costs.kv_bytes_per_token = heads * 2 * static_cast<int64_t>(kernels::RowBytes(kv_type, config.head_dim));
  costs.score_bytes_per_token = heads * 2 * static_cast<int64_t>(sizeof(float));
  costs.attention_flops_per_key = 4.0 * config.num_layers * config.num_heads * config.head_dim;
  return costs;
}

double DecodeLimitSeconds(const ModelCosts& costs, const StepTotals& totals, const kernels::DeviceCeilings& ceilings) {
  const double bytes = static_cast<double>(totals.steps * costs.step_weight_bytes) +
                       static_cast<double>(totals.held_tokens * costs.kv_bytes_per_token) +
                       static_cast<double>(totals.scored_tokens * costs.score_bytes_per_token);
  return bytes / ceilings.read_bytes_per_s;
}

double PrefillLimitSeconds(const ModelCosts& costs, const StepTotals& totals, const kernels::DeviceCeilings& ceilings) {
  const double flops =
      static_cast<double>(totals.rows) * costs.linear_flops_per_row + totals.keys_seen * costs.attention_flops_per_key;
  return flops / ceilings.bf16_flops;
}

}  // namespace cascade::bench
