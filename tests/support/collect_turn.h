#pragma once

#include <utility>

#include "engine/token_stream.h"

namespace cascade {

// Waits for the end of a turn: all of it as one delta.
inline TurnDelta CollectTurn(TokenStream& stream) {
  TurnDelta all = stream.Pop();
  while (!all.finished) {
    TurnDelta delta = stream.Pop();
    delta.text = all.text + delta.text;
    delta.token_ids.insert(delta.token_ids.begin(), all.token_ids.begin(), all.token_ids.end());
    delta.scores.insert(delta.scores.begin(), all.scores.begin(), all.scores.end());
    delta.logprobs.insert(delta.logprobs.begin(), all.logprobs.begin(), all.logprobs.end());
    delta.prompt_logprobs.insert(delta.prompt_logprobs.begin(), all.prompt_logprobs.begin(), all.prompt_logprobs.end());
    all = std::move(delta);
  }
  return all;
}

}  // namespace cascade
