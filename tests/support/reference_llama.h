// The forward pass of a Llama-family model in plain loops and double precision, with ordinary causal attention over all
// tokens: what a session must compute as long as its cache has lost nothing. Slow on purpose.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/model/model_source.h"

namespace cascade::reference {

// Logits after the last of the ids, [vocabulary].
std::vector<double> LastLogits(const ModelSource& model, std::span<const int32_t> ids);

}  // namespace cascade::reference
