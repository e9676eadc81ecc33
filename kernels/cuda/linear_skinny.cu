#include "kernels/cuda/linear_skinny.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/linear_epilogue.h"
#include "kernels/cuda/linear_skinny_input.h"
#include "kernels/cuda/linear_targets.h"
#include "kernels/cuda/weight_fragments.h"
#include "kernels/cuda/weight_values.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kItemRows = 16;
// What every warp has under way, doubled where there is room, so 80 or 160 KiB of a multiprocessor: twice to four times
// what the memory's latency asks for, because nothing else covers the end of the launch before, the reading of x and
// its norm.
constexpr int kRingBytes = 10 << 10;
constexpr size_t kStaticBytes = sizeof(float) * kSkinnyRows * kSkinnyWarps;
constexpr int kMostCarried = 16;  // items of a block, where x comes in parts

template <WeightFormat format>
constexpr int kFewestSlots = kRingBytes / Fragment<format>::kBytes;

// A persistent block per multiprocessor, which takes every gridDim-th item: 16 rows of weights, the first operand of
// MultiplyAdd, times the rows of x as its columns, 8 * kTiles. Its warps share an item's columns: fragment u of each
// part is warp u % 8's, so that they read each row of the matrix from end to end together. Every warp runs its own ring
// of copies, which goes on over the ends of items and parts and which only it waits for; the block meets once per item.
template <WeightFormat format, class T, int kTiles>
__global__ void __launch_bounds__(kSkinnyThreads, 2) SkinnyKernel(const __grid_constant__ SkinnyCall call) {
  using F = Fragment<format>;
  constexpr int kFewest = kFewestSlots<format>;
  const int thread = threadIdx.x;
  const int lane = thread % 32, warp = thread / 32;
  const int g = lane / 4, t = lane % 4;
  const int rows = call.rows;
  const int sums = kItemRows * rows;
  const int units = (call.cols + F::kColumns - 1) / F::kColumns;
  const int local_items = (call.targets.items + gridDim.x - 1) / gridDim.x;
  const int row_bytes = call.part_units * F::kColumns * 2 + 64;  // two rows are read from different banks

  // [ring of every warp][2][warps][rows][16] partial sums, [items][rows][16] of earlier parts, [rows] x
  __shared__ float squares[kSkinnyRows][kSkinnyWarps];
  unsigned char* const ring = SharedMemory() + warp * (call.slots * F::kBytes);
  float* const partials = reinterpret_cast<float*>(SharedMemory() + kSkinnyWarps * call.slots * F::kBytes);
  float* const carried = partials + 2 * kSkinnyWarps * sums;
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
      fetch_unit += kSkinnyWarps;
      if (fetch_unit >= units_of(fetch_part)) settle();
    }
    CommitCopies();
  };
  settle();
  // Weights are constants: they come while the kernel before this one ends.
  for (int slot = 0; slot < call.slots; ++slot) fetch(ring + slot * F::kBytes);
  RowNorm<F> norm;
  const bool one_row = RowNorm<F>::Takes(call);
  if (one_row) norm.LoadGains(call);

  WaitForPrevious();
  AllowNext();
  if (call.gain != nullptr && !one_row) {
    SumSquares(call, squares);
    SyncBlock();
  }

  int slot = 0;
  int buffer = 0;
  for (int part = 0; part < call.parts; ++part) {
    const int part_units = units_of(part);
    if (one_row) {
      norm.template LoadRow<T>(call, part_units * F::kColumns, squares[0], x);
    } else if (call.gain != nullptr) {
      LoadPart<F, T>(call, part * call.part_units * F::kColumns, part_units * F::kColumns, row_bytes, squares, x);
    } else {
      CopyPart<F, T>(call, part * call.part_units * F::kColumns, part_units * F::kColumns, row_bytes, x);
    }
    SyncBlock();
    // Lanes of rows that x does not have multiply its last one: nobody reads what they get.
    const unsigned char* x_lane[kTiles];
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) x_lane[tile] = x + min(8 * tile + g, rows - 1) * row_bytes + 16 * t;
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

      float even[kTiles][4] = {}, odd[kTiles][4] = {};
      for (int unit = warp; unit < part_units; unit += kSkinnyWarps) {
        unsigned char* const fragment_bytes = ring + slot * F::kBytes;
        slot = slot + 1 == call.slots ? 0 : slot + 1;
        if (call.slots == kFewest) {
          WaitCopies<kFewest - 1>();
        } else {
          WaitCopies<2 * kFewest - 1>();
        }
        if (F::kLanesShare) SyncWarp();
        F fragment;
        fragment.Read(fragment_bytes);
#pragma unroll
        for (int step = 0; step < F::kSteps; ++step) {
          uint32_t first[4], second[4];
          fragment.template Operands<T>(step, first, second);
#pragma unroll
          for (int tile = 0; tile < kTiles; ++tile) {
            const uint4 b = *reinterpret_cast<const uint4*>(x_lane[tile] + unit * (F::kColumns * 2) + step * 64);
            MultiplyAdd<T>(even[tile], first, {b.x, b.y});
            MultiplyAdd<T>(odd[tile], second, {b.z, b.w});
          }
        }
        if (F::kLanesShare) SyncWarp();
        fetch(fragment_bytes);
      }

      float* const own = partials + (buffer * kSkinnyWarps + warp) * sums;
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int token = 8 * tile + 2 * t + i % 2;
          if (token < rows) own[token * kItemRows + g + i / 2 * 8] = even[tile][i] + odd[tile][i];
        }
      }
      SyncBlock();
      const auto sum = [&](int index) {
        float value = part > 0 ? carried[local * sums + index] : 0.0f;
        for (int w = 0; w < kSkinnyWarps; ++w) value += partials[(buffer * kSkinnyWarps + w) * sums + index];
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
  call.slots = kFewestSlots<format>;
  size_t bytes = kSkinnyWarps * call.slots * F::kBytes + 2 * kSkinnyWarps * kItemRows * call.rows * sizeof(float);
  const size_t room = traits.shared_bytes - kStaticBytes - bytes;
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
  // A block takes more than half of a multiprocessor: so a launch has one on each, whatever was there before, and the
  // next launch's fetch their first weights as soon as this one's end. With two beside each other some multiprocessors
  // got both blocks of a launch and others none.
  const size_t more = kSkinnyWarps * kFewestSlots<format> * F::kBytes;
  if (bytes + more + kStaticBytes <= traits.shared_bytes) {
    call.slots *= 2;
    bytes += more;
  }
  bytes = std::max(bytes, traits.shared_bytes / 2);
  const LaunchShape shape = {
      .grid = dim3(blocks), .block = dim3(kSkinnyThreads), .shared_bytes = bytes, .overlap = true};
  if (call.rows <= 8) {
    stream.Launch("Linear", SkinnyKernel<format, T, 1>, shape, call);
  } else {
    stream.Launch("Linear", SkinnyKernel<format, T, 2>, shape, call);
  }
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
          .parts = 0,
          .slots = 0};
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

void GatedLinearSkinny(Stream& stream, TensorView x, InputNorm norm, const DeviceWeight& gate_weight,
                       const DeviceWeight& up_weight, TensorView gate) {
  CASCADE_CHECK(gate.type == DType::kBF16 || gate.type == DType::kF16);
  CASCADE_CHECK(x.type == (norm.gain != nullptr ? DType::kF32 : gate.type) && gate_weight.rows == up_weight.rows);
  const LinearCall calls[] = {{&gate_weight, gate}, {&up_weight, gate}};
  LinearTargets targets = MakeTargets(x, gate.type, calls, kItemRows);
  targets.target[1].first_item = 0;
  targets.items = static_cast<int>((gate_weight.rows + 7) / 8);
  LaunchSkinny(stream, MakeCall(x, norm, targets, true), gate.type);
}

}  // namespace cascade::kernels::cuda
