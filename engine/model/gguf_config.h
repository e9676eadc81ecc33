#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "engine/model/gguf.h"
#include "engine/model/model_config.h"

namespace cascade {

// The shape of a llama model as its keys and its embedding table tell it; every field checked. Leaves `parameters` and
// `weight_bytes` to whoever checks the weights. `name` begins every error. UNIMPLEMENTED names an architecture or a
// feature (RoPE scaling, experts, split files) that is not known.
absl::StatusOr<ModelConfig> ReadConfig(const GgufFile& file, const std::string& name);

}  // namespace cascade
