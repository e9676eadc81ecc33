#pragma once

namespace cascade::kernels::cuda {

// The architecture (80, 90, ..) whose code in this program a device of that compute capability runs: a program without
// code for 9.0 runs there what was compiled for an older one, which knows neither clusters nor overlapping launches.
int CodeArchitecture(int capability);

}  // namespace cascade::kernels::cuda
