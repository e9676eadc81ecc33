// From a weight as its file stores it to a matrix as the device keeps it (device_weight.h), on the host.
#pragma once

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cuda/device_weight.h"

namespace cascade::kernels::cuda {

// compute: what float32 matrices are rounded to, kBF16 or kF16.
WeightFormat DeviceFormat(DType type, DType compute);
// Bytes of a row of codes or elements (padded), and of its groups (0 for float formats).
int64_t DeviceRowBytes(WeightFormat format, int64_t cols);
int64_t DeviceGroupBytes(WeightFormat format, int64_t cols);

// The numbers that a quantised type's codes are; for 4-bit formats from 0 on.
struct CodeRange {
  int lowest;
  int count;
};
CodeRange DeviceCodes(DType type);

// Rows [first, first + count) of `weight`. elements: [count][DeviceRowBytes], its padding becomes zero; groups: [count]
// [DeviceGroupBytes], 4-byte aligned, may be null where there are none.
void RepackRows(const HostWeight& weight, DType compute, int64_t first, int64_t count, unsigned char* elements,
                unsigned char* groups);

}  // namespace cascade::kernels::cuda
