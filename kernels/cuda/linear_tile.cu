#include "kernels/cuda/linear_tile.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/linear_tile_kernel.h"
#include "kernels/cuda/weight_values.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kMaxTiles = 1 << 14;  // of a launch: two million rows of weights

// Blocks of a launch: a function of the weights and the device. Where few tiles are shared by a whole number of blocks
// each, that leaves fewer partial sums than an equal share of all steps for every multiprocessor does.
int Blocks(int tiles, int steps, int num_sms) {
  const int64_t total = static_cast<int64_t>(tiles) * steps;
  if (tiles <= num_sms) {
    const int share = std::min(num_sms / tiles, steps);
    if (tiles * share * 16 >= num_sms * 15) return tiles * share;
  }
  // With fewer than two steps each, blocks would do little else than add sums up.
  return static_cast<int>(std::clamp<int64_t>(total / 2, 1, num_sms));
}

template <WeightFormat format, int kTokens>
int Stages(const DeviceTraits& traits) {
  using Stage = TileStage<format, kTokens>;
  constexpr size_t kTaken = 128 + Stage::kExchangeBytes;  // a flag of the kernel's own, aligned
  return traits.shared_bytes < kTaken
             ? 0
             : static_cast<int>(std::min<size_t>((traits.shared_bytes - kTaken) / Stage::kBytes, kMostTileStages));
}

// Rows of x in one pass: as many as leave shared memory for two stages, if that can be had.
template <WeightFormat format>
int PassRows(const DeviceTraits& traits) {
  for (const int stages : {2, 1}) {
    if (Stages<format, 8>(traits) >= stages) return 64;
    if (Stages<format, 4>(traits) >= stages) return 32;
    if (Stages<format, 2>(traits) >= stages) return 16;
  }
  CASCADE_CHECK(false);
}

template <WeightFormat format, class T, int kTokens>
void LaunchPass(Stream& stream, TileCall call) {
  using Stage = TileStage<format, kTokens>;
  call.steps = (call.cols + Stage::kColumns - 1) / Stage::kColumns;
  call.stages = Stages<format, kTokens>(stream.traits());
  const int blocks = Blocks(call.targets.items, call.steps, stream.traits().num_sms);
  const size_t bytes = Stage::kExchangeBytes + static_cast<size_t>(call.stages) * Stage::kBytes;
  stream.Launch("Linear", TileKernel<format, T, kTokens>,
                {.grid = dim3(blocks), .block = dim3(kTileThreads), .shared_bytes = bytes, .overlap = true}, call);
}

template <WeightFormat format, class T>
void LaunchRows(Stream& stream, const TileCall& call, int64_t rows) {
  const int pass_rows = PassRows<format>(stream.traits());
  for (int64_t first = 0; first < rows; first += pass_rows) {
    TileCall pass = call;
    pass.rows = static_cast<int>(std::min<int64_t>(pass_rows, rows - first));
    pass.x = static_cast<const T*>(call.x) + first * call.cols;
    for (int i = 0; i < call.targets.count; ++i) {
      LinearTargets::Target& target = pass.targets.target[i];
      const int64_t elements = first * target.weight.rows;
      target.out = target.full ? static_cast<void*>(static_cast<float*>(target.out) + elements)
                               : static_cast<void*>(static_cast<T*>(target.out) + elements);
    }
    if (pass.rows <= 16) {
      LaunchPass<format, T, 2>(stream, pass);
    } else if (pass.rows <= 32) {
      LaunchPass<format, T, 4>(stream, pass);
    } else {
      LaunchPass<format, T, 8>(stream, pass);
    }
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<LinearTile>> LinearTile::Create(Stream& stream, DeviceMemory& memory) {
  auto tile = std::unique_ptr<LinearTile>(new LinearTile);
  absl::StatusOr<void*> partials =
      memory.Allocate("sums of linear layers", 2 * kPartialBytes * stream.traits().num_sms);
  if (!partials.ok()) return partials.status();
  tile->partials_ = static_cast<unsigned char*>(*partials);
  absl::StatusOr<unsigned*> arrivals = memory.AllocateArray<unsigned>("counters of linear layers", kMaxTiles);
  if (!arrivals.ok()) return arrivals.status();
  tile->arrivals_ = *arrivals;
  stream.Fill("Linear", tile->arrivals_, 0, kMaxTiles * sizeof(unsigned));
  return tile;
}

void LinearTile::Run(Stream& stream, TensorView x, std::span<const LinearCall> calls) {
  CASCADE_CHECK(x.type == DType::kBF16 || x.type == DType::kF16);
  const TileCall call = {.targets = MakeTargets(x, x.type, calls, kTileWeightRows),
                         .x = x.data,
                         .rows = 0,
                         .cols = static_cast<int>(x.cols),
                         .steps = 0,
                         .stages = 0,
                         .partials = partials_,
                         .arrivals = arrivals_};
  CASCADE_CHECK(call.targets.items > 0 && call.targets.items <= kMaxTiles);
  ForFormat(calls[0].weight->format, [&](auto format) {
    if (x.type == DType::kBF16) {
      LaunchRows<format.value, Bf16>(stream, call, x.rows);
    } else {
      LaunchRows<format.value, Half>(stream, call, x.rows);
    }
  });
}

}  // namespace cascade::kernels::cuda
