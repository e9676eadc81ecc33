#pragma once

#include <cstdint>
#include <vector>

#include "engine/text/special_tokens.h"
#include "engine/text/vocabulary.h"

namespace cascade {

// The ids that end a reply, in their order and each once: EOS, end of turn, the vocabulary's further ones, and control
// tokens by whose name published models end a turn or a text. A chat model's EOS is often one of these while it still
// sometimes writes another (SmolLM2: EOS is <|im_end|>, and <|endoftext|> ends a reply just as well).
std::vector<int32_t> FindEndIds(const Vocabulary& vocabulary, int32_t eos_id, const SpecialTokens& control);

}  // namespace cascade
