#include "kernels/cpu/linear_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/linear_float.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/linear_tile-inl.h"
#include "kernels/cpu/packed_block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cascade::kernels::HWY_NAMESPACE {

HWY_INLINE VF LoadWeights(const float* w) { return hn::LoadU(DF(), w); }
HWY_INLINE VF LoadWeights(const hwy::float16_t* w) { return PromoteHalves(w); }
HWY_INLINE VF LoadWeights(const hwy::bfloat16_t* w) {
  return hn::PromoteTo(DF(), hn::LoadU(hn::Rebind<hwy::bfloat16_t, DF>(), w));
}

// strip: [cols][16]; x: [kRows, cols] from `row` on.
template <int kRows, class T>
HWY_INLINE void Tile(const T* strip, int part, const float* x, int64_t cols, int64_t row, int64_t column,
                     const LinearOutput& out) {
  VF sums[kRows];
  CASCADE_UNROLL for (int t = 0; t < kRows; ++t) sums[t] = hn::Zero(DF());
  const float* a = x + row * cols;
  for (int64_t k = 0; k < cols; ++k) {
    const VF w = LoadWeights(strip + k * kStripRows + part * kLanes);
    CASCADE_UNROLL for (int t = 0; t < kRows; ++t) sums[t] = hn::MulAdd(w, hn::Set(DF(), a[t * cols + k]), sums[t]);
  }
  StoreTile<kRows>(sums, out, row, column);
}

// One row and kStrips whole strips, `part` of each: a single sum waits for the multiplier's latency at every step, and
// would read memory at half its speed.
template <int kStrips, class T>
HWY_INLINE void RowOfStrips(const T* strips, int part, const float* x, int64_t cols, int64_t row, int64_t column,
                            const LinearOutput& out) {
  VF sums[kStrips];
  CASCADE_UNROLL for (int s = 0; s < kStrips; ++s) sums[s] = hn::Zero(DF());
  const T* w = strips + part * kLanes;
  const float* a = x + row * cols;
  for (int64_t k = 0; k < cols; ++k, w += kStripRows) {
    const VF factor = hn::Set(DF(), a[k]);
    CASCADE_UNROLL for (int s = 0; s < kStrips; ++s) {
      sums[s] = hn::MulAdd(LoadWeights(w + s * cols * kStripRows), factor, sums[s]);
    }
  }
  CASCADE_UNROLL for (int s = 0; s < kStrips; ++s) {
    const VF sum[] = {sums[s]};
    if (column + s * kStripRows < out.cols) StoreTile<1>(sum, out, row, column + s * kStripRows);
  }
}

template <class T>
void Strip(const T* strip, const float* x, int64_t cols, IndexRange rows, int64_t first_column,
           const LinearOutput& out) {
  for (int part = 0; part < kStripRows / kLanes; ++part) {
    const int64_t column = first_column + part * kLanes;
    if (column >= out.cols) break;
    int64_t row = rows.begin;
    for (; row + kTileRows <= rows.end; row += kTileRows) Tile<kTileRows>(strip, part, x, cols, row, column, out);
    for (; row + 2 <= rows.end; row += 2) Tile<2>(strip, part, x, cols, row, column, out);
    if (row < rows.end) Tile<1>(strip, part, x, cols, row, column, out);
  }
}

// Strips of floats, as they are stored.
template <class T>
void Strips(const PackedWeight& weight, IndexRange strips, const float* x, IndexRange rows, const LinearOutput& out) {
  constexpr int kTogether = 4;
  const int64_t cols = weight.cols();
  int64_t s = strips.begin;
  for (; rows.end - rows.begin == 1 && s + kTogether <= strips.end; s += kTogether) {
    const T* strip = reinterpret_cast<const T*>(weight.Strip(s));
    for (int part = 0; part < kStripRows / kLanes; ++part) {
      RowOfStrips<kTogether>(strip, part, x, cols, rows.begin, s * kStripRows + part * kLanes, out);
    }
  }
  for (; s < strips.end; ++s) Strip(reinterpret_cast<const T*>(weight.Strip(s)), x, cols, rows, s * kStripRows, out);
}

// strip: packed groups; panel: [cols][16]. Products and sums round one by one, as in kernels/quant_block.cc.
template <DType kType>
void Dequantize(const uint8_t* strip, int64_t cols, float* panel) {
  using Group = PackedGroup<kType>;
  constexpr QuantFormat kFormat = Group::kFormat;
  constexpr int kSubBlocks = kQuantBlock / kFormat.sub_block;
  const VU byte = hn::Set(DU(), 255u);
  const VI offset = hn::Set(DI(), kFormat.offset);
  for (int64_t b = 0; b < cols / kFormat.block; ++b, strip += Group::kLayout.group_bytes()) {
    for (int part = 0; part < kStripRows / kLanes; ++part) {
      for (int unit = 0; unit < Group::kLayout.units(); ++unit) {
        const WeightQuads w = Group::Quads(strip, unit, part);
        float* to = panel + (b * kFormat.block + unit * kQuantBlock) * kStripRows + part * kLanes;
        for (int s = 0; s < kSubBlocks; ++s) {
          const VF scale = Group::SubScale(Group::Scale(strip, part), strip, unit * kSubBlocks + s, part);
          VF minimum = scale;  // not used without minimums
          if constexpr (kFormat.has_minimum) {
            minimum = Group::SubMinimum(Group::Minimum(strip, part), strip, unit * kSubBlocks + s, part);
          }
          for (int k = s * kFormat.sub_block; k < (s + 1) * kFormat.sub_block; ++k) {
            const VU shifted = hn::ShiftRightSame(w.quads[k / 4], 8 * (k % 4));
            const VI value = hn::Sub(hn::BitCast(DI(), hn::And(shifted, byte)), offset);
            VF result = hn::Mul(hn::ConvertTo(DF(), value), scale);
            if constexpr (kFormat.has_minimum) result = hn::Add(result, minimum);
            hn::StoreU(result, DF(), to + k * kStripRows);
          }
        }
      }
    }
  }
}

template <DType kType>
void QuantizedStrips(const PackedWeight& weight, IndexRange strips, const float* x, IndexRange rows,
                     const LinearOutput& out, float* panel) {
  for (int64_t s = strips.begin; s < strips.end; ++s) {
    Dequantize<kType>(weight.Strip(s), weight.cols(), panel);
    Strip(panel, x, weight.cols(), rows, s * kStripRows, out);
  }
}

void MultiplyFloatImpl(const PackedWeight& weight, IndexRange strips, const float* x, IndexRange rows,
                       const LinearOutput& out, float* panel) {
  switch (weight.type()) {
    case DType::kF32:
      return Strips<float>(weight, strips, x, rows, out);
    case DType::kF16:
      return Strips<hwy::float16_t>(weight, strips, x, rows, out);
    case DType::kBF16:
      return Strips<hwy::bfloat16_t>(weight, strips, x, rows, out);
    case DType::kQ4_0:
      return QuantizedStrips<DType::kQ4_0>(weight, strips, x, rows, out, panel);
    case DType::kQ4_1:
      return QuantizedStrips<DType::kQ4_1>(weight, strips, x, rows, out, panel);
    case DType::kQ5_0:
      return QuantizedStrips<DType::kQ5_0>(weight, strips, x, rows, out, panel);
    case DType::kQ5_1:
      return QuantizedStrips<DType::kQ5_1>(weight, strips, x, rows, out, panel);
    case DType::kQ8_0:
      return QuantizedStrips<DType::kQ8_0>(weight, strips, x, rows, out, panel);
    case DType::kIQ4_NL:
      return QuantizedStrips<DType::kIQ4_NL>(weight, strips, x, rows, out, panel);
    case DType::kQ2_K:
      return QuantizedStrips<DType::kQ2_K>(weight, strips, x, rows, out, panel);
    case DType::kQ3_K:
      return QuantizedStrips<DType::kQ3_K>(weight, strips, x, rows, out, panel);
    case DType::kQ4_K:
      return QuantizedStrips<DType::kQ4_K>(weight, strips, x, rows, out, panel);
    case DType::kQ5_K:
      return QuantizedStrips<DType::kQ5_K>(weight, strips, x, rows, out, panel);
    case DType::kQ6_K:
      return QuantizedStrips<DType::kQ6_K>(weight, strips, x, rows, out, panel);
  }
}

}  // namespace cascade::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cascade::kernels {
HWY_EXPORT(MultiplyFloatImpl);

void MultiplyFloat(const PackedWeight& weight, IndexRange strips, const float* x, IndexRange rows,
                   const LinearOutput& out, float* panel) {
  HWY_DYNAMIC_DISPATCH(MultiplyFloatImpl)(weight, strips, x, rows, out, panel);
}

}  // namespace cascade::kernels
#endif  // HWY_ONCE
