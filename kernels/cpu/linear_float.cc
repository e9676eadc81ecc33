#include "kernels/cpu/linear_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/linear_float.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/linear_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cascade::kernels::HWY_NAMESPACE {

HWY_INLINE VF LoadWeights(const float* w) { return hn::LoadU(DF(), w); }
template <class Half>
HWY_INLINE VF LoadWeights(const Half* w) {
  return hn::PromoteTo(DF(), hn::LoadU(hn::Rebind<Half, DF>(), w));
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

template <class T>
void Strip(const T* strip, const float* x, int64_t cols, IndexRange rows, int64_t first_column,
           const LinearOutput& out) {
  for (int part = 0; part < kStripRows / kLanes; ++part) {
    const int64_t column = first_column + part * kLanes;
    if (column >= out.cols) break;
    int64_t row = rows.begin;
    for (; row + kTileRows <= rows.end; row += kTileRows) Tile<kTileRows>(strip, part, x, cols, row, column, out);
    for (; row < rows.end; ++row) Tile<1>(strip, part, x, cols, row, column, out);
  }
}

// strip: packed blocks; panel: [cols][16]. Products and sums round one by one, as in kernels/dequantize.cc.
template <DType kType>
void Dequantize(const uint8_t* strip, int64_t cols, float* panel) {
  using Block = PackedBlock<kType>;
  const VU byte = hn::Set(DU(), 255u);
  const VI offset = hn::Set(DI(), kType == DType::kQ4_0 ? 8 : kType == DType::kQ8_0 ? 128 : 0);
  for (int64_t b = 0; b < cols / kQuantBlock; ++b, strip += Block::kBytes) {
    for (int part = 0; part < kStripRows / kLanes; ++part) {
      const WeightQuads w = Block::Quads(strip, part);
      const VF scale = Block::Scale(strip, part);
      for (int k = 0; k < kQuantBlock; ++k) {
        const VU shifted = hn::ShiftRightSame(w.quads[k / 4], 8 * (k % 4));
        const VI value = hn::Sub(hn::BitCast(DI(), hn::And(shifted, byte)), offset);
        VF result = hn::Mul(hn::ConvertTo(DF(), value), scale);
        if constexpr (kType == DType::kQ4_1) result = hn::Add(result, Block::Minimum(strip, part));
        hn::StoreU(result, DF(), panel + (b * kQuantBlock + k) * kStripRows + part * kLanes);
      }
    }
  }
}

void MultiplyFloatImpl(const PackedWeight& weight, IndexRange strips, const float* x, IndexRange rows,
                       const LinearOutput& out, float* panel) {
  const int64_t cols = weight.cols();
  for (int64_t s = strips.begin; s < strips.end; ++s) {
    const uint8_t* strip = weight.Strip(s);
    const int64_t column = s * kStripRows;
    switch (weight.type()) {
      case DType::kF32:
        Strip(reinterpret_cast<const float*>(strip), x, cols, rows, column, out);
        continue;
      case DType::kF16:
        Strip(reinterpret_cast<const hwy::float16_t*>(strip), x, cols, rows, column, out);
        continue;
      case DType::kBF16:
        Strip(reinterpret_cast<const hwy::bfloat16_t*>(strip), x, cols, rows, column, out);
        continue;
      case DType::kQ4_0:
        Dequantize<DType::kQ4_0>(strip, cols, panel);
        break;
      case DType::kQ4_1:
        Dequantize<DType::kQ4_1>(strip, cols, panel);
        break;
      case DType::kQ8_0:
        Dequantize<DType::kQ8_0>(strip, cols, panel);
        break;
    }
    Strip(panel, x, cols, rows, column, out);
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
