// The least time that a measurement could have taken on its device (shared with docs/benchmarks.md: what is counted).
#pragma once

#include <cstdint>
#include <optional>

#include "engine/model/model_source.h"
#include "kernels/cuda_backend.h"
#include "tests/benchmarks/bench_sessions.h"

namespace cascade::bench {

// Of a model and a type of cache: what a step reads and computes.
struct ModelCosts {
  int64_t step_weight_bytes = 0;       // every weight but the embedding table, of which a row is read per token
  double linear_flops_per_row = 0;     // of all layers, without the output matrix
  int64_t kv_bytes_per_token = 0;      // keys and values of all layers
  int64_t score_bytes_per_token = 0;   // read and written
  double attention_flops_per_key = 0;  // of one row
};
ModelCosts CostsOf(const ModelSource& source, kernels::DType kv_type);

// Decode: weights, keys, values and scores over the read bandwidth. Prefill: linear layers and attention, 4 d heads per
// key seen, over the rate of a large product.
double DecodeLimitSeconds(const ModelCosts& costs, const StepTotals& totals, const kernels::DeviceCeilings& ceilings);
double PrefillLimitSeconds(const ModelCosts& costs, const StepTotals& totals, const kernels::DeviceCeilings& ceilings);

}  // namespace cascade::bench
