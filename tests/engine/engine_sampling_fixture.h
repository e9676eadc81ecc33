#pragma once

#include <string>

#include "tests/engine/engine_test_util.h"

namespace cascade {

class EngineSamplingTest : public EngineTest {
 protected:
  // Random, sampled on the host without any rule that matters.
  static TurnRequest OnHost(TurnRequest request) {
    request.logprobs = 0;
    return request;
  }
  static TurnRequest Random(const std::string& text, int64_t max_tokens, uint64_t seed,
                            const std::string& session = "") {
    TurnRequest request = TextTurn(text, max_tokens, session);
    request.sampling.temperature = 1;
    request.sampling.seed = seed;
    return request;
  }
};

}  // namespace cascade
