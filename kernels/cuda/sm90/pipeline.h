// A place in a ring of stages in shared memory, for producer and consumers alike.
#pragma once

namespace cascade::kernels::cuda::sm90 {

template <int kStages>
struct Place {
  int stage = 0;
  int parity = 0;  // of the phase of the stage's `full` barrier; its `empty` one's is the other one
  __device__ void Advance() {
    if (++stage < kStages) return;
    stage = 0;
    parity ^= 1;
  }
};

}  // namespace cascade::kernels::cuda::sm90
