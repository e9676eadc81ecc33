#include "kernels/cuda/weight_random.h"

#include <algorithm>
#include <cmath>

#include "kernels/base/check.h"
#include "kernels/cuda/weight_values.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMaxGridY = 65535;

// 32 random bits: SplitMix64's output function of a counter, the better half.
__device__ uint32_t RandomBits(uint64_t seed, uint64_t index) {
  uint64_t z = seed * 0xD1342543DE82EF95u + (index + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return static_cast<uint32_t>((z ^ (z >> 31)) >> 32);
}

template <class T>
__device__ uint4 RandomElements(uint64_t seed, uint64_t index, int columns, float bound) {
  float v[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float number = (static_cast<float>(RandomBits(seed, index + i)) * 0x1p-31f - 1.0f) * bound;
    v[i] = i < columns ? number : 0.0f;
  }
  return make_uint4(Pack<T>(v[0], v[1]), Pack<T>(v[2], v[3]), Pack<T>(v[4], v[5]), Pack<T>(v[6], v[7]));
}

// kBits: 4 or 8.
template <int kBits>
__device__ uint4 RandomCodes(uint64_t seed, uint64_t index, CodeRange range) {
  constexpr int kPerWord = 32 / kBits;
  uint32_t words[4];
#pragma unroll
  for (int word = 0; word < 4; ++word) {
    words[word] = 0;
    for (int i = 0; i < kPerWord; ++i) {
      const uint64_t scaled =
          static_cast<uint64_t>(RandomBits(seed, index + word * kPerWord + i)) * static_cast<uint32_t>(range.count);
      const uint32_t code = static_cast<uint32_t>(range.lowest + static_cast<int>(scaled >> 32));
      words[word] |= (code & ((1u << kBits) - 1)) << (kBits * i);
    }
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// Blocks of kThreads times 16 bytes (x) of a row (y; more rows in turns), a thread per 16 bytes.
template <WeightFormat format>
__global__ void __launch_bounds__(kThreads)
    RandomKernel(DeviceWeight weight, uint4* data, CodeRange range, float bound, uint64_t seed) {
  WaitForPrevious();
  AllowNext();
  constexpr bool kFourBit = format == WeightFormat::kQuant4Group32 || format == WeightFormat::kQuant4Group32Wide ||
                            format == WeightFormat::kQuant4Group16Wide;
  constexpr bool kFloat = format == WeightFormat::kBf16 || format == WeightFormat::kHalf;
  constexpr int64_t kColumns = kFloat ? 8 : kFourBit ? 32 : 16;
  const int64_t vectors = weight.row_bytes / 16;
  const int64_t vector = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (vector >= vectors) return;
  for (int64_t row = blockIdx.y; row < weight.rows; row += gridDim.y) {
    const uint64_t index = static_cast<uint64_t>(row * weight.cols + vector * kColumns);
    const int columns = static_cast<int>(weight.cols - vector * kColumns < 8 ? weight.cols - vector * kColumns : 8);
    uint4 packed;
    if constexpr (format == WeightFormat::kBf16) {
      packed = RandomElements<Bf16>(seed, index, columns, bound);
    } else if constexpr (format == WeightFormat::kHalf) {
      packed = RandomElements<Half>(seed, index, columns, bound);
    } else {
      packed = RandomCodes < kFourBit ? 4 : 8 > (seed, index, range);
    }
    data[row * vectors + vector] = packed;
  }
}

// A thread per element of an array of constants.
template <class Element>
__global__ void __launch_bounds__(kThreads) ConstantKernel(Element* data, int64_t count, Element value) {
  WaitForPrevious();
  AllowNext();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) data[i] = value;
}

// Scale and minimum of a group, as half2.
__global__ void __launch_bounds__(kThreads) HalfGroupKernel(uint32_t* data, int64_t count, float2 value) {
  WaitForPrevious();
  AllowNext();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) data[i] = Pack<Half>(value.x, value.y);
}

LaunchShape ShapeFor(int64_t threads) {
  return {.grid = dim3(static_cast<unsigned>((threads + kThreads - 1) / kThreads)),
          .block = dim3(kThreads),
          .overlap = true};
}

void FillGroups(Stream& stream, const DeviceWeight& weight, float2 value) {
  const int64_t count = weight.rows * (weight.cols / GroupColumns(weight.format));
  if (IsWide(weight.format)) {
    stream.Launch("LoadWeight", ConstantKernel<float2>, ShapeFor(count),
                  static_cast<float2*>(const_cast<void*>(weight.groups)), count, value);
  } else {
    stream.Launch("LoadWeight", HalfGroupKernel, ShapeFor(count),
                  static_cast<uint32_t*>(const_cast<void*>(weight.groups)), count, value);
  }
}

}  // namespace

void FillRandom(Stream& stream, const DeviceWeight& weight, CodeRange codes, uint64_t seed) {
  CASCADE_CHECK(weight.data != nullptr && weight.row_bytes % 16 == 0);
  const int64_t vectors = weight.row_bytes / 16;
  const dim3 grid(static_cast<unsigned>((vectors + kThreads - 1) / kThreads),
                  static_cast<unsigned>(std::min(weight.rows, kMaxGridY)));
  // Of [-bound, bound] the variance is bound^2 / 3.
  const float bound = static_cast<float>(std::sqrt(3.0 / static_cast<double>(weight.cols)));
  ForFormat(weight.format, [&](auto format) {
    stream.Launch("LoadWeight", RandomKernel<decltype(format)::value>,
                  {.grid = grid, .block = dim3(kThreads), .overlap = true}, weight,
                  static_cast<uint4*>(const_cast<void*>(weight.data)), codes, bound, seed);
  });
  if (!IsQuantised(weight.format)) return;
  // Of n consecutive integers it is (n^2 - 1) / 12.
  const double count = codes.count;
  const double scale = std::sqrt(12.0 / (static_cast<double>(weight.cols) * (count * count - 1)));
  const double mean = codes.lowest + (count - 1) / 2;
  FillGroups(stream, weight, make_float2(static_cast<float>(scale), static_cast<float>(-scale * mean)));
}

void FillOnes(Stream& stream, float* row, int64_t cols) {
  stream.Launch("LoadWeight", ConstantKernel<float>, ShapeFor(cols), row, cols, 1.0f);
}

}  // namespace cascade::kernels::cuda
