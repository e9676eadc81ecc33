#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "engine/model/gguf.h"
#include "engine/model/model_config.h"

namespace cascade {

// The shape of a Llama-family model as its keys, its embedding table and its RoPE factors tell it; every field checked.
// Leaves `parameters` and `weight_bytes` to whoever checks the weights. `name` begins every error. UNIMPLEMENTED names
// an architecture that is not known, or a key that would change the results if it were ignored.
absl::StatusOr<ModelConfig> ReadConfig(const GgufFile& file, const std::string& name);

// RoPE's factors, a tensor that belongs to no layer and is not loaded: the configuration's frequencies have them.
inline constexpr std::string_view kRopeFactorsTensor = "rope_freqs.weight";

}  // namespace cascade
