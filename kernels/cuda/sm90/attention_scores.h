// The attention scores of LaunchForward's rows (cache.md, section 3), mean reduction.
#pragma once

#include "kernels/cuda/sm90/attention_forward.h"

namespace cascade::kernels::cuda::sm90 {

// From a prediction's column sums. The certificate of a row tile is the share of its attention that its predictions
// would credit to the wrong queries' keys: the mean, by weight, of |mass * scale - 1|, with the tile's one scale that
// makes its sums right.
struct FoldArguments {
  ForwardArguments forward;
  float* scales;  // [slices][row tiles][KV heads]
  float limit;    // heads of a slice with a larger certificate are left to LaunchExactScores
};
// Certificates and scales from masses.
void LaunchCertify(Stream& stream, const FoldArguments& arguments);
// Adds the scores of the heads that are within the limit.
void LaunchFold(Stream& stream, const FoldArguments& arguments);

// Adds the scores by a second pass with keys stationary: each key's sum over all rows, in their order, in the same order
// in every run.
enum class ScoredHeads { kAll, kRejected };  // kRejected: those that LaunchFold left alone
void LaunchExactScores(Stream& stream, const FoldArguments& arguments, ScoredHeads heads);

}  // namespace cascade::kernels::cuda::sm90
