#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/model/model_config.h"

namespace cascade {

// The shape of a model as a Hugging Face folder's config.json tells it; every field checked, with the defaults that
// transformers has for the architecture. Leaves `name`, `parameters` and `weight_bytes` to others, and the number of
// layers to be compared with the tensors that there are. `name` begins every error ("<folder>/config.json").
// UNIMPLEMENTED names an architecture or a feature (RoPE scaling, quantisation, biases) that is not known.
absl::StatusOr<ModelConfig> ReadFolderConfig(std::string_view text, const std::string& name);

}  // namespace cascade
