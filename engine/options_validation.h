#pragma once

#include "absl/status/status.h"
#include "engine/engine.h"
#include "engine/model/llama.h"
#include "engine/text/tokenizer.h"

namespace cascade {

// INVALID_ARGUMENT names the option, by its flag where it has one.
absl::Status ValidateOptions(const EngineOptions& options, const Model& model, const Tokenizer& tokenizer);

}  // namespace cascade
