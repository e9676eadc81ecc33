// The attention scores of LaunchForward's rows (cache.md, section 3), mean reduction.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/sm90/attention_forward.h"

namespace cascade::kernels::cuda::sm90 {

// From a prediction's column sums. Of a row tile all are scaled by one number, which makes their total right; its
// keys' scores together are then off by no more than the sum over rows of |mass * scale - weight|. The certificate of a
// (slice, KV head) is the share of that in all weights.
struct FoldArguments {
  ForwardArguments forward;
  float* scales;              // [slices][row tiles][KV heads]
  float* weights;             // the same: sums of the tile's rows' weights
  float limit;                // heads of a slice with a larger certificate are left to LaunchExactScores
  ScoreCertificates* totals;  // LaunchFold adds to it
};
// Certificates and scales from masses.
void LaunchCertify(Stream& stream, const FoldArguments& arguments);
// Adds the scores of the heads that are within the limit.
void LaunchFold(Stream& stream, const FoldArguments& arguments);

// Adds the scores by a second pass with keys stationary: each key's sum over all rows, in their order, in the same
// order in every run.
enum class ScoredHeads { kAll, kRejected };  // kRejected: those that LaunchFold left alone
void LaunchExactScores(Stream& stream, const FoldArguments& arguments, ScoredHeads heads);

}  // namespace cascade::kernels::cuda::sm90
