#pragma once

#include <string>

#include "engine/model/gguf_fields.h"
#include "engine/model/model_config.h"

namespace cascade {

// Refuses, with UNIMPLEMENTED and by name, every key "<architecture>.*" that would change the results if it were
// ignored: what is known to matter and has another value than the one that means nothing, and what is not known at all.
// Needs config.architecture and config.head_dim.
void RefuseUnknownFeatures(const ModelConfig& config, GgufFields& fields);

}  // namespace cascade
