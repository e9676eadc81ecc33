#pragma once

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cuda/stream.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels::cuda {

// scores[i] of targets[i] under row i of logits (F32); a target < 0 leaves logprob 0. targets, scores: [logits.rows],
// on the device. A row with a NaN has top_id 0 and a logprob that is NaN. A row's bits depend on the row only.
void ScoreTargets(Stream& stream, TensorView logits, const int32_t* targets, TokenScore* scores);

}  // namespace cascade::kernels::cuda
