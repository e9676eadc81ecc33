#include "kernels/cuda/linear.h"

#include <algorithm>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/cuda/linear_blas.h"
#include "kernels/cuda/linear_skinny.h"
#include "kernels/cuda/linear_targets.h"
#include "kernels/cuda/linear_tile.h"
#include "kernels/cuda/rms_norm.h"
#include "kernels/cuda/silu_mul.h"

namespace cascade::kernels::cuda {
namespace {

// Calls launch with groups of calls of one format, few enough for one launch.
template <class Launch>
void ForGroups(std::vector<LinearCall> calls, Launch&& launch) {
  std::stable_sort(calls.begin(), calls.end(),
                   [](const LinearCall& a, const LinearCall& b) { return a.weight->format < b.weight->format; });
  for (size_t begin = 0, end = 0; begin < calls.size(); begin = end) {
    while (end < calls.size() && end - begin < kMaxLinearTargets &&
           calls[end].weight->format == calls[begin].weight->format) {
      ++end;
    }
    launch(std::span<const LinearCall>(calls).subspan(begin, end - begin));
  }
}

}  // namespace

LinearOps::~LinearOps() = default;

absl::StatusOr<std::unique_ptr<LinearOps>> LinearOps::Create(Stream& stream, DeviceMemory& memory, DType compute,
                                                             bool deterministic) {
  CASCADE_CHECK(compute == DType::kBF16 || compute == DType::kF16);
  auto ops = std::unique_ptr<LinearOps>(new LinearOps);
  ops->compute_ = compute;
  ops->deterministic_ = deterministic;
  ops->skinny_rows_ = MostSkinnyRows(stream.traits().shared_bytes);
  absl::StatusOr<std::unique_ptr<LinearTile>> tile = LinearTile::Create(stream, memory);
  if (!tile.ok()) return tile.status();
  ops->tile_ = *std::move(tile);
  absl::StatusOr<std::unique_ptr<LinearBlas>> blas = LinearBlas::Create(stream, memory, compute);
  if (!blas.ok()) return blas.status();
  ops->blas_ = *std::move(blas);
  return ops;
}

void LinearOps::Reserve(const DeviceWeight& weight) {
  if (!deterministic_ || weight.cols % 8 != 0) blas_->Reserve(weight);
}

LinearKernel LinearOps::Choose(int64_t rows, const DeviceWeight& weight) const {
  const bool of_compute_type = weight.format == FormatOfType(compute_);
  return ChooseLinear({rows, weight.cols, of_compute_type}, skinny_rows_, deterministic_);
}

bool LinearOps::AllSkinny(int64_t rows, std::span<const LinearCall> calls) const {
  return std::all_of(calls.begin(), calls.end(),
                     [&](const LinearCall& call) { return Choose(rows, *call.weight) == LinearKernel::kSkinny; });
}

void LinearOps::Linear(Stream& stream, TensorView x, std::span<const LinearCall> calls) {
  CASCADE_CHECK(x.type == compute_);
  if (x.rows == 0) return;
  std::vector<LinearCall> skinny, tile;
  for (const LinearCall& call : calls) {
    switch (Choose(x.rows, *call.weight)) {
      case LinearKernel::kSkinny:
        skinny.push_back(call);
        break;
      case LinearKernel::kTile:
        tile.push_back(call);
        break;
      case LinearKernel::kBlas:
        blas_->Run(stream, x, call);
        break;
    }
  }
  ForGroups(std::move(skinny), [&](std::span<const LinearCall> group) { LinearSkinny(stream, x, group); });
  ForGroups(std::move(tile), [&](std::span<const LinearCall> group) { tile_->Run(stream, x, group); });
}

void LinearOps::NormLinear(Stream& stream, TensorView x, const float* gain, float eps, TensorView h,
                           std::span<const LinearCall> calls) {
  CASCADE_CHECK(h.type == compute_);
  if (x.rows == 0) return;
  if (x.rows <= kFusedNormRows && AllSkinny(x.rows, calls)) {
    ForGroups({calls.begin(), calls.end()}, [&](std::span<const LinearCall> group) {
      NormLinearSkinny(stream, x, {.gain = gain, .eps = eps}, compute_, group);
    });
    return;
  }
  RmsNorm(stream, x, gain, eps, h);
  Linear(stream, h, calls);
}

void LinearOps::GatedNormLinear(Stream& stream, TensorView x, const float* gain, float eps, TensorView h,
                                const DeviceWeight& gate_weight, const DeviceWeight& up_weight, TensorView gate,
                                TensorView up) {
  if (x.rows == 0) return;
  const LinearCall calls[] = {{&gate_weight, gate}, {&up_weight, up}};
  if (AllSkinny(x.rows, calls) && gate_weight.format == up_weight.format) {
    if (x.rows <= kFusedNormRows) {
      return GatedLinearSkinny(stream, x, {.gain = gain, .eps = eps}, gate_weight, up_weight, gate);
    }
    RmsNorm(stream, x, gain, eps, h);
    return GatedLinearSkinny(stream, h, {}, gate_weight, up_weight, gate);
  }
  NormLinear(stream, x, gain, eps, h, calls);
  SiluMul(stream, gate, up);
}

}  // namespace cascade::kernels::cuda
