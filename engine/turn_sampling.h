#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "engine/text/tokenizer.h"
#include "engine/turn.h"
#include "engine/turn_request.h"

namespace cascade {

// What a Generate request says about sampling, stops and output, for `setup`, whose cache and prompt are set. `mask`:
// of its schema, null without one. INVALID_ARGUMENT: no id may be sampled. `request` has passed ValidateTurn. Any
// thread.
absl::Status SetSampling(const TurnRequest& request, uint64_t seed, int64_t max_tokens, const Tokenizer& tokenizer,
                         int32_t model_vocabulary, std::unique_ptr<TokenMask> mask, Turn::Setup& setup);

}  // namespace cascade
