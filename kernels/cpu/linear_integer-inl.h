// The integer kernel for one quantised type; linear_integer.cc and linear_integer_k.cc list the types, in two files
// because each compiles for minutes.
#if defined(CASCADE_LINEAR_INTEGER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CASCADE_LINEAR_INTEGER_INL_H_
#undef CASCADE_LINEAR_INTEGER_INL_H_
#else
#define CASCADE_LINEAR_INTEGER_INL_H_
#endif

#include "kernels/cpu/linear_tile-inl.h"
#include "kernels/cpu/packed_block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cascade::kernels::HWY_NAMESPACE {

// The activations that a tile's row t reads for one unit.
struct UnitActivations {
  const int8_t* quants;  // [32]
  const int8_t* lows;    // [32] or null
  const ActivationBlock* block;
  const ActivationHalves* halves;  // null unless the weight's sub-blocks are halves
};

// Where the integer sum of sub-block `half` starts: -offset * the sum of its activations.
template <DType kType>
HWY_INLINE VI Start(const UnitActivations& a, int half) {
  constexpr QuantFormat kFormat = FormatOf(kType);
  if constexpr (kFormat.offset == 0) return hn::Zero(DI());
  if constexpr (kFormat.sub_block == kQuantBlock) {
    static_assert(kFormat.offset == 0 || kFormat.offset == 8 || kFormat.offset == 16 || kFormat.offset == 128);
    if constexpr (kFormat.offset == 128) return hn::Set(DI(), a.block->minus_128_sum);
    const VI minus_8_sum = hn::Set(DI(), a.block->minus_8_sum);
    return kFormat.offset == 16 ? hn::ShiftLeft<1>(minus_8_sum) : minus_8_sum;
  } else {
    static_assert(kFormat.offset == 0 || kFormat.offset == 4 || kFormat.offset == 32);
    const VI minus_32_sum = hn::Set(DI(), a.halves->minus_32_sums[half]);
    return kFormat.offset == 4 ? hn::ShiftRight<3>(minus_32_sum) : minus_32_sum;
  }
}

// The exact integer sum of sub-block kHalf of a unit. With weights of 8 bits, offset included, it stays below 2^28.
template <DType kType, bool kWide, int kHalf>
HWY_INLINE VI Dot(const WeightQuads& w, const UnitActivations& a) {
  constexpr int kLargest = FormatOf(kType).largest();
  constexpr int kCount = FormatOf(kType).sub_block / 4;
  const VI start = Start<kType>(a, kHalf);
  if constexpr (!kWide) return DotQuads<kLargest, kHalf * kCount, kCount>(w, a.quants, start);
  const VI high = DotQuads<kLargest, kHalf * kCount, kCount>(w, a.quants, hn::Zero(DI()));
  const VI low = DotQuads<kLargest, kHalf * kCount, kCount>(w, a.lows, start);
  return hn::Add(hn::ShiftLeft<8>(high), low);
}

// kRows rows of x from `row` on, kLanes outputs of one strip.
template <DType kType, bool kWide, int kRows>
HWY_INLINE void Tile(const uint8_t* group, int part, const QuantizedRows& x, int64_t row, int64_t column,
                     const LinearOutput& out) {
  using Group = PackedGroup<kType>;
  constexpr bool kHalves = Group::kFormat.sub_block < kQuantBlock;
  constexpr int kSubBlocks = kHalves ? 2 : 1;  // of a unit
  constexpr int kUnits = Group::kLayout.units();
  const int64_t units = x.cols / kQuantBlock;
  const int8_t* quants = x.quants + row * x.cols;
  [[maybe_unused]] const int8_t* lows = kWide ? x.lows + row * x.cols : nullptr;
  const ActivationBlock* blocks = x.blocks + row * units;
  [[maybe_unused]] const ActivationHalves* halves = kHalves ? x.halves + row * units : nullptr;
  VF sums[kRows];
  CASCADE_UNROLL for (int t = 0; t < kRows; ++t) sums[t] = hn::Zero(DF());
  for (int64_t b = 0; b < units; group += Group::kLayout.group_bytes()) {
    const VF group_scale = Group::Scale(group, part);
    VF group_minimum = group_scale;  // not used without minimums
    if constexpr (Group::kFormat.has_minimum) group_minimum = Group::Minimum(group, part);
    for (int unit = 0; unit < kUnits; ++unit, ++b) {
      const WeightQuads w = Group::Quads(group, unit, part);
      VF scales[kSubBlocks];
      VF minimums[kSubBlocks];
      CASCADE_UNROLL for (int s = 0; s < kSubBlocks; ++s) {
        scales[s] = Group::SubScale(group_scale, group, unit * kSubBlocks + s, part);
        if constexpr (Group::kFormat.has_minimum) {
          minimums[s] = Group::SubMinimum(group_minimum, group, unit * kSubBlocks + s, part);
        }
      }
      CASCADE_UNROLL for (int t = 0; t < kRows; ++t) {
        const UnitActivations a = {quants + t * x.cols + b * kQuantBlock,
                                   kWide ? lows + t * x.cols + b * kQuantBlock : nullptr, &blocks[t * units + b],
                                   kHalves ? &halves[t * units + b] : nullptr};
        const VF scale = hn::Set(DF(), a.block->scale);
        const VI dot = Dot<kType, kWide, 0>(w, a);
        sums[t] = hn::MulAdd(hn::ConvertTo(DF(), dot), hn::Mul(scales[0], scale), sums[t]);
        if constexpr (kHalves) {
          const VI second = Dot<kType, kWide, 1>(w, a);
          sums[t] = hn::MulAdd(hn::ConvertTo(DF(), second), hn::Mul(scales[1], scale), sums[t]);
        }
        if constexpr (Group::kFormat.has_minimum && kHalves) {
          sums[t] = hn::MulAdd(minimums[0], hn::Set(DF(), a.halves->scaled_sums[0]), sums[t]);
          sums[t] = hn::MulAdd(minimums[1], hn::Set(DF(), a.halves->scaled_sums[1]), sums[t]);
        } else if constexpr (Group::kFormat.has_minimum) {
          sums[t] = hn::MulAdd(minimums[0], hn::Set(DF(), a.block->scaled_sum), sums[t]);
        }
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

template <DType kType>
void Multiply(const PackedWeight& weight, IndexRange strips, const QuantizedRows& x, IndexRange rows,
              const LinearOutput& out) {
  return x.lows == nullptr ? Strips<kType, false>(weight, strips, x, rows, out)
                           : Strips<kType, true>(weight, strips, x, rows, out);
}

}  // namespace cascade::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
