// What the integer and the float kernel share: where a tile of outputs goes.
#if defined(CASCADE_LINEAR_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CASCADE_LINEAR_TILE_INL_H_
#undef CASCADE_LINEAR_TILE_INL_H_
#else
#define CASCADE_LINEAR_TILE_INL_H_
#endif

#include <algorithm>

#include "kernels/cpu/dot_block-inl.h"
#include "kernels/cpu/linear_kernels.h"

HWY_BEFORE_NAMESPACE();
namespace cascade::kernels::HWY_NAMESPACE {

// Rows of x that share the loaded weights: as many accumulators as leave room for the operands in the register file.
inline constexpr int kTileRows = HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_AVX3 ? 8 : 4;

// sums: of kRows rows and columns [column, column + kLanes), of which those below out.cols exist.
template <int kRows>
HWY_INLINE void StoreTile(const VF (&sums)[kRows], const LinearOutput& out, int64_t row, int64_t column) {
  const int64_t count = std::min<int64_t>(kLanes, out.cols - column);
  CASCADE_UNROLL for (int t = 0; t < kRows; ++t) {
    float* to = out.data + (row + t) * out.cols + column;
    // What the sum is added to: at most one of the two.
    const float* base = out.accumulate ? to : out.bias != nullptr ? out.bias + column : nullptr;
    if (count == kLanes) {
      hn::StoreU(base != nullptr ? hn::Add(hn::LoadU(DF(), base), sums[t]) : sums[t], DF(), to);
      continue;
    }
    HWY_ALIGN float lanes[kLanes];
    hn::Store(sums[t], DF(), lanes);
    for (int64_t i = 0; i < count; ++i) to[i] = base != nullptr ? base[i] + lanes[i] : lanes[i];
  }
}

}  // namespace cascade::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
