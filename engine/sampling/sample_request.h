#pragma once

#include <cstdint>

#include "engine/turn_request.h"
#include "kernels/backend.h"

namespace cascade {

// How the id at `position` of its session is chosen.
kernels::SampleRequest MakeSampleRequest(const SamplingParams& sampling, uint64_t seed, uint64_t position);

}  // namespace cascade
