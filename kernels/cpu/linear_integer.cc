#include "kernels/cpu/linear_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/linear_integer.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/linear_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cascade::kernels::HWY_NAMESPACE {

// kRows rows of x from `row` on, kLanes outputs of one strip.
template <DType kType, bool kWide, int kRows>
HWY_INLINE void Tile(const uint8_t* strip, int part, const QuantizedRows& x, int64_t row, int64_t column,
                     const LinearOutput& out) {
  using Block = PackedBlock<kType>;
  const int64_t blocks = x.cols / kQuantBlock;
  const int8_t* quants = x.quants + row * x.cols;
  [[maybe_unused]] const int8_t* lows = kWide ? x.lows + row * x.cols : nullptr;
  const ActivationBlock* scales = x.blocks + row * blocks;
  VF sums[kRows];
  CASCADE_UNROLL for (int t = 0; t < kRows; ++t) sums[t] = hn::Zero(DF());
  for (int64_t b = 0; b < blocks; ++b) {
    const uint8_t* block = strip + b * Block::kBytes;
    const WeightQuads w = Block::Quads(block, part);
    const VF scale = Block::Scale(block, part);
    CASCADE_UNROLL for (int t = 0; t < kRows; ++t) {
      const ActivationBlock& a = scales[t * blocks + b];
      VI start = hn::Zero(DI());
      if constexpr (kType == DType::kQ4_0) start = hn::Set(DI(), a.minus_8_sum);
      if constexpr (kType == DType::kQ8_0) start = hn::Set(DI(), a.minus_128_sum);
      VI dot;
      if constexpr (kWide) {
        const VI high = DotBlock<Block::kNibbles>(w, quants + t * x.cols + b * kQuantBlock, hn::Zero(DI()));
        const VI low = DotBlock<Block::kNibbles>(w, lows + t * x.cols + b * kQuantBlock, start);
        dot = hn::Add(hn::ShiftLeft<8>(high), low);
      } else {
        dot = DotBlock<Block::kNibbles>(w, quants + t * x.cols + b * kQuantBlock, start);
      }
      sums[t] = hn::MulAdd(hn::ConvertTo(DF(), dot), hn::Mul(scale, hn::Set(DF(), a.scale)), sums[t]);
      if constexpr (kType == DType::kQ4_1) {
        sums[t] = hn::MulAdd(Block::Minimum(block, part), hn::Set(DF(), a.scaled_sum), sums[t]);
      }
    }
  }
  StoreTile<kRows>(sums, out, row, column);
}

template <DType kType, bool kWide>
void Strips(const PackedWeight& weight, IndexRange strips, const QuantizedRows& x, IndexRange rows,
            const LinearOutput& out) {
  for (int64_t s = strips.begin; s < strips.end; ++s) {
    const uint8_t* strip = weight.Strip(s);
    for (int part = 0; part < kStripRows / kLanes; ++part) {
      const int64_t column = s * kStripRows + part * kLanes;
      if (column >= out.cols) break;
      int64_t row = rows.begin;
      for (; row + kTileRows <= rows.end; row += kTileRows)
        Tile<kType, kWide, kTileRows>(strip, part, x, row, column, out);
      for (; row + 2 <= rows.end; row += 2) Tile<kType, kWide, 2>(strip, part, x, row, column, out);
      if (row < rows.end) Tile<kType, kWide, 1>(strip, part, x, row, column, out);
    }
  }
}

template <bool kWide>
void Multiply(const PackedWeight& weight, IndexRange strips, const QuantizedRows& x, IndexRange rows,
              const LinearOutput& out) {
  switch (weight.type()) {
    case DType::kQ4_0:
      return Strips<DType::kQ4_0, kWide>(weight, strips, x, rows, out);
    case DType::kQ4_1:
      return Strips<DType::kQ4_1, kWide>(weight, strips, x, rows, out);
    default:
      return Strips<DType::kQ8_0, kWide>(weight, strips, x, rows, out);
  }
}

void MultiplyIntegerImpl(const PackedWeight& weight, IndexRange strips, const QuantizedRows& x, IndexRange rows,
                         const LinearOutput& out) {
  return x.lows == nullptr ? Multiply<false>(weight, strips, x, rows, out)
                           : Multiply<true>(weight, strips, x, rows, out);
}

}  // namespace cascade::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cascade::kernels {
HWY_EXPORT(MultiplyIntegerImpl);

void MultiplyInteger(const PackedWeight& weight, IndexRange strips, const QuantizedRows& x, IndexRange rows,
                     const LinearOutput& out) {
  HWY_DYNAMIC_DISPATCH(MultiplyIntegerImpl)(weight, strips, x, rows, out);
}

}  // namespace cascade::kernels
#endif  // HWY_ONCE
