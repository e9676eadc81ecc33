#include "kernels/cuda/device_code.h"

namespace cascade::kernels::cuda {

int CodeArchitecture(int capability) {
#ifdef __CUDA_ARCH_LIST__
  int newest = 0;
  for (const int architecture : {__CUDA_ARCH_LIST__}) {
    if (architecture / 10 <= capability && architecture / 10 > newest) newest = architecture / 10;
  }
  return newest;
#else
  return capability;
#endif
}

}  // namespace cascade::kernels::cuda
