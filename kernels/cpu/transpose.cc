// Square tiles of one 128-bit vector per row: with single elements, packing a model's floats would take longer than
// reading its file.
#include "kernels/cpu/transpose.h"

#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/transpose.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace cascade::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr int kRows = 16;

// Columns from `k` on, one element after the other.
template <class T>
void TransposeRest(const uint8_t* const* rows, int64_t k, int64_t count, uint8_t* out) {
  for (; k < count; ++k) {
    for (int lane = 0; lane < kRows; ++lane) {
      std::memcpy(out + (k * kRows + lane) * sizeof(T), rows[lane] + k * sizeof(T), sizeof(T));
    }
  }
}

#if HWY_TARGET == HWY_SCALAR

template <class T>
void Transpose(const uint8_t* const* rows, int64_t count, uint8_t* out) {
  TransposeRest<T>(rows, 0, count, out);
}

#else

// One of log2(kTile) equal steps after which vector k is column k: vectors half the tile apart are interleaved.
template <class D, int kTile>
HWY_INLINE void Merge(D d, const hn::Vec<D> (&in)[kTile], hn::Vec<D> (&out)[kTile]) {
  for (int i = 0; i < kTile / 2; ++i) {
    out[2 * i] = hn::InterleaveLower(d, in[i], in[i + kTile / 2]);
    out[2 * i + 1] = hn::InterleaveUpper(d, in[i], in[i + kTile / 2]);
  }
}

template <class T>
void Transpose(const uint8_t* const* rows, int64_t count, uint8_t* out) {
  constexpr int kTile = 16 / sizeof(T);
  const hn::FixedTag<T, kTile> d;
  const hn::FixedTag<uint8_t, 16> bytes;
  int64_t k = 0;
  for (; k + kTile <= count; k += kTile) {
    for (int lane = 0; lane < kRows; lane += kTile) {
      hn::Vec<decltype(d)> a[kTile];
      hn::Vec<decltype(d)> b[kTile];
      for (int i = 0; i < kTile; ++i) a[i] = hn::BitCast(d, hn::LoadU(bytes, rows[lane + i] + k * sizeof(T)));
      Merge(d, a, b);
      Merge(d, b, a);
      if constexpr (kTile == 8) Merge(d, a, b);
      const auto& columns = kTile == 8 ? b : a;
      for (int i = 0; i < kTile; ++i) {
        hn::StoreU(hn::BitCast(bytes, columns[i]), bytes, out + ((k + i) * kRows + lane) * sizeof(T));
      }
    }
  }
  TransposeRest<T>(rows, k, count, out);
}

#endif

void Transpose16(const uint8_t* const* rows, int64_t count, uint8_t* out) { Transpose<uint16_t>(rows, count, out); }
void Transpose32(const uint8_t* const* rows, int64_t count, uint8_t* out) { Transpose<uint32_t>(rows, count, out); }

}  // namespace cascade::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cascade::kernels {
HWY_EXPORT(Transpose16);
HWY_EXPORT(Transpose32);

void TransposeStrip16(const uint8_t* const* rows, int64_t count, uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(Transpose16)(rows, count, out);
}
void TransposeStrip32(const uint8_t* const* rows, int64_t count, uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(Transpose32)(rows, count, out);
}

}  // namespace cascade::kernels
#endif  // HWY_ONCE
