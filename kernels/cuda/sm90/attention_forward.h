// Attention of many rows over the cache on Hopper, with what the exact scores need, or with the scores themselves.
//
// The forward pass is that of FlashAttention-3 (Shah et al. 2024, section 3): two warps bring tiles by tensor copies,
// two warpgroups take turns to multiply. It runs over sinks and rings with the queries turned for each.
#pragma once

#include "kernels/cuda/sm90/attention_maps.h"
#include "kernels/cuda/stream.h"
#include "kernels/dtype.h"

namespace cascade::kernels::cuda::sm90 {

struct ForwardArguments {
  AttentionMaps maps;
  CachePool pool;
  StepTables tables;
  AttentionPart part;
  AttentionScratch scratch;
  int layer;
  int sample_phase;  // 0 .. sample_step - 1: which keys are sampled
  void* out;         // [rows of the step, heads * head_dim]
  // Of a prediction; [slices of the part][row tiles][KV heads] each.
  // [..][entries]: sum over the tile's queries of weight * p / (what was predicted)
  float* column_sums;
  // [heads][rows], as scratch.lse: weight * a row's sum / what was predicted
  float* masses;
  // How far the tile's scores together may be off (attention_scores.h); infinity: its outputs are wrong too
  float* certificates;
};

enum class ForwardMode {
  kExact,
  // Each row's sum of probabilities is predicted from a part of the keys, and the column sums of what that gives are
  // left (cache.md, section 8). Outputs are as exact, but for tiles whose certificate is infinite.
  kPredict,
  kMend,  // as kExact, but only tiles whose certificate is infinite
};

// Rows [row_begin, row_end) of slices. Writes out and lse. type: of out, BF16 or F16.
void LaunchForward(Stream& stream, const ForwardArguments& arguments, DType type, ForwardMode mode);

}  // namespace cascade::kernels::cuda::sm90
