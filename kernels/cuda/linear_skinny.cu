#include "kernels/cuda/linear_skinny.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/linear_epilogue.h"
#include "kernels/cuda/linear_targets.h"
#include "kernels/cuda/weight_fragments.h"
#include "kernels/cuda/weight_values.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int kItemRows = 16;
// What every warp has under way, so 80 KiB of a multiprocessor: twice what the memory's latency asks for, because at
// the start of a launch nothing else covers the reading of x and its norm. Two blocks fit, of a launch and the next
// one.
constexpr int kRingBytes = 10 << 10;
constexpr int kMostCarried = 16;  // items of a block, where x comes in parts

template <WeightFormat format>
constexpr int kSlots = kRingBytes / Fragment<format>::kBytes;

struct SkinnyCall {
  LinearTargets targets;
  const void* x;      // [rows, cols], or float32 with a gain
  const float* gain;  // null: x is what is multiplied
  float eps;
  int rows;
  int cols;
  bool gated;      // an item is 8 rows of target 0 and the same 8 rows of target 1
  int part_units;  // x is in shared memory as parts of so many fragments' columns
  int parts;
};

template <class T>
__device__ uint4 PackChunk(const float (&v)[8]) {
  return make_uint4(Pack<T>(v[0], v[1]), Pack<T>(v[2], v[3]), Pack<T>(v[4], v[5]), Pack<T>(v[6], v[7]));
}

__device__ void LoadChunk(const float* from, float (&v)[8]) {
  const float4 low = *reinterpret_cast<const float4*>(from), high = *reinterpret_cast<const float4*>(from + 4);
  v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
  v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
}

// squares[row][warp]: sums of the warps' shares of x's rows.
__device__ void SumSquares(const SkinnyCall& call, float (*squares)[kWarps]) {
  const float* x = static_cast<const float*>(call.x);
  for (int row = 0; row < call.rows; ++row) {
    float sum = 0;
#pragma unroll 4
    for (int column = 4 * threadIdx.x; column < call.cols; column += 4 * kThreads) {
      const float4 v = *reinterpret_cast<const float4*>(x + static_cast<int64_t>(row) * call.cols + column);
      sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
    }
    sum = WarpSum(sum);
    if (threadIdx.x % 32 == 0) squares[row][threadIdx.x / 32] = sum;
  }
}

// Brings columns [begin, begin + columns) of x, normalised if so, to shared memory, zeros where x ends.
template <WeightFormat format, class T>
__device__ void LoadPart(const SkinnyCall& call, int begin, int columns, int row_bytes, const float (*squares)[kWarps],
                         unsigned char* shared) {
  constexpr int kChunks = Fragment<format>::kChunks;
  for (int row = 0; row < call.rows; ++row) {
    float scale = 0;
    if (call.gain != nullptr) {
      float sum = 0;
      for (int warp = 0; warp < kWarps; ++warp) sum += squares[row][warp];
      scale = 1.0f / sqrtf(sum / static_cast<float>(call.cols) + call.eps);
    }
#pragma unroll 2
    for (int chunk = threadIdx.x; chunk < columns / 8; chunk += kThreads) {
      const int column = begin + 8 * chunk;
      const int64_t at = static_cast<int64_t>(row) * call.cols + column;
      uint4 value = make_uint4(0, 0, 0, 0);
      if (column < call.cols && call.gain != nullptr) {
        float v[8], gain[8];
        LoadChunk(static_cast<const float*>(call.x) + at, v);
        LoadChunk(call.gain + column, gain);
        for (int i = 0; i < 8; ++i) v[i] = v[i] * scale * gain[i];
        value = PackChunk<T>(v);
      } else if (column < call.cols) {
        value = *reinterpret_cast<const uint4*>(static_cast<const T*>(call.x) + at);
      }
      const int place = chunk / kChunks * kChunks + Fragment<format>::ChunkPlace(chunk % kChunks);
      *reinterpret_cast<uint4*>(shared + row * row_bytes + place * 16) = value;
    }
  }
}

// A persistent block per multiprocessor, which takes every gridDim-th item: 16 rows of weights, the first operand of
// MultiplyAdd, times the rows of x as its 8 columns. Its warps share an item's columns: fragment u of each part is warp
// u % 8's, so that they read each row of the matrix from end to end together. Every warp runs its own ring of copies,
// which goes on over the ends of items and parts and which only it waits for; the block meets once per item.
template <WeightFormat format, class T>
__global__ void __launch_bounds__(kThreads, 2) SkinnyKernel(const __grid_constant__ SkinnyCall call) {
  using F = Fragment<format>;
  constexpr int kSlotsOfWarp = kSlots<format>;
  const int thread = threadIdx.x;
  const int lane = thread % 32, warp = thread / 32;
  const int g = lane / 4, t = lane % 4;
  const int rows = call.rows;
  const int sums = kItemRows * rows;
  const int units = (call.cols + F::kColumns - 1) / F::kColumns;
  const int local_items = (call.targets.items + gridDim.x - 1) / gridDim.x;
  const int row_bytes = call.part_units * F::kColumns * 2 + 64;  // two rows are read from different banks

  // [ring of every warp][2][warps][rows][16] partial sums, [items][rows][16] of earlier parts, [rows] x
  __shared__ float squares[kSkinnyRows][kWarps];
  unsigned char* const ring = SharedMemory() + warp * (kSlotsOfWarp * F::kBytes);
  float* const partials = reinterpret_cast<float*>(SharedMemory() + kWarps * kSlotsOfWarp * F::kBytes);
  float* const carried = partials + 2 * kWarps * sums;
  unsigned char* const x = reinterpret_cast<unsigned char*>(carried + (call.parts > 1 ? local_items * sums : 0));

  const auto units_of = [&](int part) { return min(call.part_units, units - part * call.part_units); };

  // The next fragment to fetch.
  int fetch_part = 0, fetch_item = blockIdx.x, fetch_unit = warp;
  FragmentRows fetch_rows;
  const auto set_rows = [&] {
    if (call.gated) {
      F::SetRow(fetch_rows, 0, call.targets.target[0].weight, static_cast<int64_t>(fetch_item) * 8 + g);
      F::SetRow(fetch_rows, 1, call.targets.target[1].weight, static_cast<int64_t>(fetch_item) * 8 + g);
    } else {
      const LinearTargets::Target& target = TargetOf(call.targets, fetch_item);
      const int64_t row = static_cast<int64_t>(fetch_item - target.first_item) * kItemRows + g;
      F::SetRow(fetch_rows, 0, target.weight, row);
      F::SetRow(fetch_rows, 1, target.weight, row + 8);
    }
  };
  // To the warp's first fragment of the next item, or of a part that has one.
  const auto settle = [&] {
    while (fetch_part < call.parts && fetch_unit >= units_of(fetch_part)) {
      fetch_unit = warp;
      fetch_item += gridDim.x;
      if (fetch_item < call.targets.items && fetch_unit < units_of(fetch_part)) break;
      fetch_item = blockIdx.x;
      ++fetch_part;
    }
    if (fetch_part < call.parts) set_rows();
  };
  const auto fetch = [&](unsigned char* slot) {
    if (fetch_part < call.parts) {
      F::Fetch(fetch_rows, fetch_part * call.part_units + fetch_unit, call.cols, slot);
      fetch_unit += kWarps;
      if (fetch_unit >= units_of(fetch_part)) settle();
    }
    CommitCopies();
  };
  settle();
  // Weights are constants: they come while the kernel before this one ends.
  for (int slot = 0; slot < kSlotsOfWarp; ++slot) fetch(ring + slot * F::kBytes);

  WaitForPrevious();
  AllowNext();
  if (call.gain != nullptr) {
    SumSquares(call, squares);
    SyncBlock();
  }

  int slot = 0;
  int buffer = 0;
  for (int part = 0; part < call.parts; ++part) {
    const int part_units = units_of(part);
    LoadPart<format, T>(call, part * call.part_units * F::kColumns, part_units * F::kColumns, row_bytes, squares, x);
    SyncBlock();
    // Lanes of rows that x does not have multiply its last one: nobody reads what they get.
    const unsigned char* const x_lane = x + min(g, rows - 1) * row_bytes + 16 * t;
    const bool last = part + 1 == call.parts;
    for (int item = blockIdx.x, local = 0; item < call.targets.items; item += gridDim.x, ++local) {
      const int outputs = call.gated ? sums / 2 : sums;
      const int output_rows = call.gated ? 8 : kItemRows;
      const int m = thread / output_rows;
      const int row = thread % output_rows;
      const LinearTargets::Target& target = call.gated ? call.targets.target[0] : TargetOf(call.targets, item);
      const int64_t n = static_cast<int64_t>(item - target.first_item) * output_rows + row;
      const bool stores = last && thread < outputs && n < target.weight.rows;
      const float addend = stores ? Addend(target, m, n) : 0.0f;  // its latency passes behind the weights'

      float even[4] = {}, odd[4] = {};
      for (int unit = warp; unit < part_units; unit += kWarps) {
        unsigned char* const fragment_bytes = ring + slot * F::kBytes;
        slot = slot + 1 == kSlotsOfWarp ? 0 : slot + 1;
        WaitCopies<kSlotsOfWarp - 1>();
        if (F::kLanesShare) SyncWarp();
        F fragment;
        fragment.Read(fragment_bytes);
#pragma unroll
        for (int step = 0; step < F::kSteps; ++step) {
          const uint4 b = *reinterpret_cast<const uint4*>(x_lane + unit * (F::kColumns * 2) + step * 64);
          uint32_t first[4], second[4];
          fragment.template Operands<T>(step, first, second);
          MultiplyAdd<T>(even, first, {b.x, b.y});
          MultiplyAdd<T>(odd, second, {b.z, b.w});
        }
        if (F::kLanesShare) SyncWarp();
        fetch(fragment_bytes);
      }

      float* const own = partials + (buffer * kWarps + warp) * sums;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int token = 2 * t + i % 2;
        if (token < rows) own[token * kItemRows + g + i / 2 * 8] = even[i] + odd[i];
      }
      SyncBlock();
      const auto sum = [&](int index) {
        float value = part > 0 ? carried[local * sums + index] : 0.0f;
        for (int w = 0; w < kWarps; ++w) value += partials[(buffer * kWarps + w) * sums + index];
        return value;
      };
      if (!last) {
        if (thread < sums) carried[local * sums + thread] = sum(thread);
      } else if (stores && call.gated) {
        const float gate = sum(m * kItemRows + row), up = sum(m * kItemRows + 8 + row);
        Store<T>(target, m, n, gate / (1.0f + Exp(-gate)) * up);
      } else if (stores) {
        Store<T>(target, m, n, sum(thread) + addend);
      }
      buffer ^= 1;
    }
  }
}

template <WeightFormat format, class T>
void LaunchFormat(Stream& stream, SkinnyCall call) {
  using F = Fragment<format>;
  const DeviceTraits& traits = stream.traits();
  const int units = (call.cols + F::kColumns - 1) / F::kColumns;
  const auto row_bytes = [&](int part_units) { return static_cast<size_t>(part_units) * F::kColumns * 2 + 64; };
  int blocks = std::min(traits.num_sms, call.targets.items);
  size_t bytes = kWarps * kSlots<format> * F::kBytes + 2 * kWarps * kItemRows * call.rows * sizeof(float);
  const size_t room = traits.shared_bytes - sizeof(float) * kSkinnyRows * kWarps - bytes;
  call.part_units = units;
  call.parts = 1;
  if (row_bytes(units) * call.rows > room) {
    blocks = std::max(blocks, (call.targets.items + kMostCarried - 1) / kMostCarried);
    const int local_items = (call.targets.items + blocks - 1) / blocks;
    const size_t carried = static_cast<size_t>(local_items) * kItemRows * call.rows * sizeof(float);
    CASCADE_CHECK(room >= carried + row_bytes(1) * call.rows);
    call.part_units = static_cast<int>(((room - carried) / call.rows - 64) / (F::kColumns * 2));
    call.parts = (units + call.part_units - 1) / call.part_units;
    bytes += carried;
  }
  bytes += row_bytes(call.part_units) * call.rows;
  stream.Launch("Linear", SkinnyKernel<format, T>,
                {.grid = dim3(blocks), .block = dim3(kThreads), .shared_bytes = bytes, .overlap = true}, call);
}

void LaunchSkinny(Stream& stream, const SkinnyCall& call, DType compute) {
  ForFormat(call.targets.target[0].weight.format, [&](auto format) {
    if (compute == DType::kBF16) {
      LaunchFormat<format.value, Bf16>(stream, call);
    } else {
      LaunchFormat<format.value, Half>(stream, call);
    }
  });
}

SkinnyCall MakeCall(TensorView x, InputNorm norm, LinearTargets targets, bool gated) {
  CASCADE_CHECK(x.rows > 0 && x.rows <= kSkinnyRows && targets.items > 0);
  return {.targets = targets,
          .x = x.data,
          .gain = norm.gain,
          .eps = norm.eps,
          .rows = static_cast<int>(x.rows),
          .cols = static_cast<int>(x.cols),
          .gated = gated,
          .part_units = 0,
          .parts = 0};
}

}  // namespace

void LinearSkinny(Stream& stream, TensorView x, std::span<const LinearCall> calls) {
  CASCADE_CHECK(x.type == DType::kBF16 || x.type == DType::kF16);
  LaunchSkinny(stream, MakeCall(x, {}, MakeTargets(x, x.type, calls, kItemRows), false), x.type);
}

void NormLinearSkinny(Stream& stream, TensorView x, InputNorm norm, DType compute, std::span<const LinearCall> calls) {
  CASCADE_CHECK(x.type == DType::kF32 && norm.gain != nullptr && (compute == DType::kBF16 || compute == DType::kF16));
  LaunchSkinny(stream, MakeCall(x, norm, MakeTargets(x, compute, calls, kItemRows), false), compute);
}

void GatedNormLinearSkinny(Stream& stream, TensorView x, InputNorm norm, const DeviceWeight& gate_weight,
                           const DeviceWeight& up_weight, TensorView gate) {
  CASCADE_CHECK(x.type == DType::kF32 && norm.gain != nullptr && gate_weight.rows == up_weight.rows);
  CASCADE_CHECK(gate.type == DType::kBF16 || gate.type == DType::kF16);
  const LinearCall calls[] = {{&gate_weight, gate}, {&up_weight, gate}};
  LinearTargets targets = MakeTargets(x, gate.type, calls, kItemRows);
  targets.target[1].first_item = 0;
  targets.items = static_cast<int>((gate_weight.rows + 7) / 8);
  LaunchSkinny(stream, MakeCall(x, norm, targets, true), gate.type);
}

}  // namespace cascade::kernels::cuda
