#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cuda/stream.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels::cuda {

// What Sample keeps between steps, on the device.
struct SampleState {
  int32_t* last_id = nullptr;        // [slots]: what was chosen last
  int32_t* ended = nullptr;          // [slots]: 1 when that is an end id
  const int32_t* end_ids = nullptr;  // [num_end_ids]
  int num_end_ids = 0;
  void* scratch = nullptr;  // kSampleScratchBytes, 16-byte aligned
};

inline constexpr size_t kSampleScratchBytes = size_t{64} * 52224;

// Chooses an id from the first `vocabulary` of each row of logits (F32), as kernels/sampler.h says, and notes it in
// `state`. requests, live, sampled: [logits.rows], on the device. A row whose slot is negative does nothing; one that
// is not live samples kNoId and leaves its slot alone. Logits that are not finite: kNoId.
//
// Probabilities are rounded to 2^-42 of the largest one, and those below e^-32 of it to zero, so that their sums do not
// depend on the order of adding: the same choice in every run. It is the CPU's unless u is at a token's very boundary.
void Sample(Stream& stream, TensorView logits, int vocabulary, const SampleRequest* requests, const int32_t* live,
            const SampleState& state, int32_t* sampled);

}  // namespace cascade::kernels::cuda
