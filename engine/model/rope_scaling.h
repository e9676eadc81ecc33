// RoPE's frequencies with the scalings of the Llama family.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "engine/model/model_config.h"

namespace cascade {

enum class RopeScalingKind : uint8_t {
  kNone,
  kLinear,  // every frequency / factor
  kLlama3,  // of Llama 3.1 and later: low frequencies / factor, high ones as they are, smooth between
};

struct RopeScaling {
  RopeScalingKind kind = RopeScalingKind::kNone;
  double factor = 1;  // linear, llama3: at least 1
  // llama3. A frequency is high when more than `high_freq_factor` of its turns fit into the original context, low when
  // fewer than `low_freq_factor` do.
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  int64_t original_max_position_embeddings = 0;
  // [head_dim / 2] or empty: frequency[i] is divided by factors[i], whatever the kind (GGUF's tensor rope_freqs.weight,
  // which holds llama3's scaling as a table).
  std::vector<float> factors;
};

// Sets config.rope.frequency (from config.head_dim, which must be even and positive), rope_theta and rope_scaling;
// leaves config.rope.pairs alone. In double precision. INVALID_ARGUMENT begins with the field's name as RopeScaling has
// it
// ("rope_theta", "factor", "low_freq_factor", ..), what was found and what would be right.
absl::Status SetRope(double theta, const RopeScaling& scaling, ModelConfig& config);

}  // namespace cascade
