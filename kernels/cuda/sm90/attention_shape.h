// Numbers that the kernels of this folder and their launches agree on.
#pragma once

namespace cascade::kernels::cuda::sm90 {

inline constexpr int kTileKeys = 128;
inline constexpr int kTileQueries = 128;
// Of the keys that predict a row's sum of probabilities, each stands for so many: the fewer slots there are, the more
// of them are looked at (a large cache that is not full yet has few samples). Divides 16.
inline constexpr int SampleStep(int entries) { return entries >= 16384 ? 16 : entries >= 8192 ? 8 : 4; }
// Keys before a tile's first row that are not sampled but all counted.
inline constexpr int kRecentKeys = 256;

}  // namespace cascade::kernels::cuda::sm90
