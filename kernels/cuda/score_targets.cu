#include "kernels/cuda/score_targets.h"

#include <algorithm>
#include <climits>
#include <cmath>

#include "kernels/base/check.h"
#include "kernels/cuda/device.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kMaxThreads = 1024;
constexpr int kMaxWarps = kMaxThreads / 32;

// The two largest of some logits, and where the first of the largest is.
struct Top {
  float first = -INFINITY;
  float second = -INFINITY;  // the first when that occurs twice
  int32_t id = INT_MAX;
};

__device__ void Add(Top& top, float value, int32_t id) {
  if (value > top.first) {
    top.second = top.first;
    top.first = value;
    top.id = id;
  } else if (value > top.second) {
    top.second = value;
  }
}

__device__ Top Merge(const Top& a, const Top& b) {
  const bool b_first = b.first > a.first || (b.first == a.first && b.id < a.id);
  return {fmaxf(a.first, b.first), fmaxf(fminf(a.first, b.first), fmaxf(a.second, b.second)), b_first ? b.id : a.id};
}

__device__ Top WarpTop(Top top) {
  for (int mask = 16; mask > 0; mask /= 2) {
    top = Merge(top, {ShuffleXor(top.first, mask), ShuffleXor(top.second, mask), ShuffleXor(top.id, mask)});
  }
  return top;
}

// Calls visit(value, column) for the thread's part of a row, in ascending order: fours, a block's width apart.
template <class Visit>
__device__ void ForColumns(const float* row, int cols, bool vectors, const Visit& visit) {
  if (!vectors) {
    for (int i = threadIdx.x; i < cols; i += blockDim.x) visit(row[i], i);
    return;
  }
#pragma unroll 4
  for (int i = 4 * threadIdx.x; i < cols; i += 4 * blockDim.x) {
    const float4 v = *reinterpret_cast<const float4*>(row + i);
    visit(v.x, i);
    visit(v.y, i + 1);
    visit(v.z, i + 2);
    visit(v.w, i + 3);
  }
}

// A block per row, which it reads twice: the largest logits, then the sum of exponentials beside the largest, in single
// precision up to kChunk of them and in double beyond.
__global__ void __launch_bounds__(kMaxThreads)
    ScoreTargetsKernel(const float* logits, int cols, bool vectors, const int32_t* targets, TokenScore* scores) {
  constexpr int kChunk = 32;
  __shared__ float firsts[kMaxWarps];
  __shared__ float seconds[kMaxWarps];
  __shared__ int32_t ids[kMaxWarps];
  __shared__ int nans[kMaxWarps];
  __shared__ double sums[kMaxWarps];
  WaitForPrevious();
  AllowNext();
  const float* row = logits + static_cast<int64_t>(blockIdx.x) * cols;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warps = blockDim.x / 32;

  Top top;
  bool nan = false;
  ForColumns(row, cols, vectors, [&](float value, int column) {
    nan |= value != value;
    Add(top, value, column);
  });
  top = WarpTop(top);
  const bool warp_nan = Ballot(nan) != 0;
  if (lane == 0) {
    firsts[warp] = top.first;
    seconds[warp] = top.second;
    ids[warp] = top.id;
    nans[warp] = warp_nan;
  }
  SyncBlock();
  top = Top();
  if (lane < warps) top = {firsts[lane], seconds[lane], ids[lane]};
  top = WarpTop(top);
  nan = Ballot(lane < warps && nans[lane] != 0) != 0;

  const int32_t target = targets[blockIdx.x];
  double sum = 0;
  if (target >= 0) {
    float chunk = 0;
    int in_chunk = 0;
    ForColumns(row, cols, vectors, [&](float value, int) {
      chunk += expf(value - top.first);
      if (++in_chunk == kChunk) {
        sum += static_cast<double>(chunk);
        chunk = 0;
        in_chunk = 0;
      }
    });
    sum += static_cast<double>(chunk);
    for (int mask = 16; mask > 0; mask /= 2) sum += ShuffleXor(sum, mask);
    if (lane == 0) sums[warp] = sum;
  }
  SyncBlock();
  if (threadIdx.x != 0) return;
  TokenScore score;
  score.top_id = nan || top.id == INT_MAX ? 0 : top.id;
  score.top_margin = nan ? NAN : top.first - top.second;
  if (target >= 0) {
    double total = 0;
    for (int i = 0; i < warps; ++i) total += sums[i];
    score.logprob = static_cast<float>(static_cast<double>(row[target]) - static_cast<double>(top.first) - log(total));
    if (nan) score.logprob = NAN;
  }
  scores[blockIdx.x] = score;
}

}  // namespace

void ScoreTargets(Stream& stream, TensorView logits, const int32_t* targets, TokenScore* scores) {
  CASCADE_CHECK(logits.type == DType::kF32 && logits.cols >= 1 && logits.cols < INT_MAX / 2);
  const bool vectors = logits.cols % 4 == 0 && reinterpret_cast<uintptr_t>(logits.data) % 16 == 0;
  const int64_t threads = std::clamp<int64_t>((logits.cols / 4 + 31) / 32 * 32, 32, kMaxThreads);
  stream.Launch("ScoreTargets", ScoreTargetsKernel,
                {.grid = dim3(static_cast<unsigned>(logits.rows)),
                 .block = dim3(static_cast<unsigned>(threads)),
                 .overlap = true},
                logits.f32(), static_cast<int>(logits.cols), vectors, targets, scores);
}

}  // namespace cascade::kernels::cuda
