// The device that a program's tests of whole sessions run on; each program links one of state_device_*.cc. Its results
// have the same bits however its work is cut.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace cascade::test {

struct StateDevice {
  std::unique_ptr<kernels::Backend> backend;
  kernels::DType kv_type;
};

// variant: 0, 1, ..: takes turns with the device's types of activations. threads: where the device has threads.
StateDevice MakeStateDevice(int variant, int threads);
// How many rounds and variants a test may take: a device that is slow does fewer of them.
int StateRounds(int rounds);
int StateVariants(int variants);

}  // namespace cascade::test
