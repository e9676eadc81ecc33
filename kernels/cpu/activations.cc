#include "kernels/cpu/activations.h"

#include <algorithm>

#include "kernels/cpu/packed_layout.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/activations.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace cascade::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The largest integer: 127, or one whose halves both fit 8 bits.
constexpr float kLargestNarrow = 127.0f;
constexpr float kLargestWide = 127.0f * 256.0f + 127.0f;

// lows: null for 8 bits. halves may be null.
void QuantizeRow(const float* x, int64_t cols, int8_t* quants, int8_t* lows, ActivationBlock* blocks,
                 ActivationHalves* halves) {
  const float most = lows == nullptr ? kLargestNarrow : kLargestWide;
  const hn::CappedTag<float, 16> df;
  const hn::RebindToSigned<decltype(df)> di;
  const hn::Rebind<int8_t, decltype(df)> di8;
  constexpr int kLanes = MaxLanes(df);
  // Adding 1.5 * 2^23 rounds to an integer, ties to even, on every target; its low bits are the integer.
  const auto magic = hn::Set(df, 12582912.0f);
  const auto magic_bits = hn::BitCast(di, magic);
  for (int64_t b = 0; b < cols / kQuantBlock;
       ++b, x += kQuantBlock, quants += kQuantBlock, lows += lows == nullptr ? 0 : kQuantBlock) {
    auto largest = hn::Zero(df);
    auto poison = hn::Zero(df);  // stays 0 for finite values, else NaN
    for (int i = 0; i < kQuantBlock; i += kLanes) {
      const auto v = hn::LoadU(df, x + i);
      largest = hn::Max(largest, hn::Abs(v));
      poison = hn::Add(poison, hn::Sub(v, v));
    }
    const float amax = hn::GetLane(hn::MaxOfLanes(df, largest));
    // Far below, most / amax is infinite; such a block is as good as zero.
    const float inverse = amax > 1e-33f ? most / amax : 0.0f;
    const float scale = (amax > 1e-33f ? amax / most : 0.0f) + hn::GetLane(hn::SumOfLanes(df, poison));
    const auto factor = hn::Set(df, scale == scale ? inverse : 0.0f);
    auto sums = hn::Zero(di);
    auto first_sums = sums;  // of the first half
    for (int i = 0; i < kQuantBlock; i += kLanes) {
      const auto v = hn::LoadU(df, x + i);
      const auto finite = hn::IfThenElseZero(hn::Eq(hn::Sub(v, v), hn::Zero(df)), v);
      const auto rounded = hn::Add(hn::Mul(finite, factor), magic);
      const auto q = hn::Sub(hn::BitCast(di, rounded), magic_bits);
      if (i == kQuantBlock / 2) first_sums = sums;
      sums = hn::Add(sums, q);
      if (lows == nullptr) {
        hn::StoreU(hn::DemoteTo(di8, q), di8, quants + i);
        continue;
      }
      const auto high = hn::ShiftRight<8>(hn::Add(q, hn::Set(di, 128)));
      hn::StoreU(hn::DemoteTo(di8, high), di8, quants + i);
      hn::StoreU(hn::DemoteTo(di8, hn::Sub(q, hn::ShiftLeft<8>(high))), di8, lows + i);
    }
    const int32_t sum = hn::GetLane(hn::SumOfLanes(di, sums));
    blocks[b] = {scale, scale * static_cast<float>(sum), -8 * sum, -128 * sum};
    if (halves == nullptr) continue;
    const int32_t first = hn::GetLane(hn::SumOfLanes(di, first_sums));
    halves[b] = {{scale * static_cast<float>(first), scale * static_cast<float>(sum - first)},
                 {-32 * first, -32 * (sum - first)}};
  }
}

}  // namespace cascade::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cascade::kernels {
HWY_EXPORT(QuantizeRow);

void QuantizeRows(const float* x, int64_t rows, const QuantizedRows& out, ThreadPool& pool) {
  constexpr int64_t kTaskElements = 8192;  // about a microsecond; less is not worth waking a thread
  const int64_t cols = out.cols;
  const int64_t rows_per_task = std::max<int64_t>(1, kTaskElements / cols);
  const auto quantize = HWY_DYNAMIC_DISPATCH(QuantizeRow);
  pool.ParallelFor((rows + rows_per_task - 1) / rows_per_task, [&](int64_t task, int) {
    const int64_t end = std::min(rows, (task + 1) * rows_per_task);
    for (int64_t row = task * rows_per_task; row < end; ++row) {
      quantize(x + row * cols, cols, out.quants + row * cols, out.lows == nullptr ? nullptr : out.lows + row * cols,
               out.blocks + row * (cols / kQuantBlock),
               out.halves == nullptr ? nullptr : out.halves + row * (cols / kQuantBlock));
    }
  });
}

}  // namespace cascade::kernels
#endif  // HWY_ONCE
