// Vectors of keys and values in either KV type, turns of heads, and rows in and out of key tiles, for the ops that
// compile once per instruction set. Vectors have at most 16 lanes and a number that divides 16.
#if defined(CASCADE_KERNELS_CPU_KV_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CASCADE_KERNELS_CPU_KV_VECTORS_INL_H_
#undef CASCADE_KERNELS_CPU_KV_VECTORS_INL_H_
#else
#define CASCADE_KERNELS_CPU_KV_VECTORS_INL_H_
#endif

#include <cstddef>

#include "hwy/highway.h"
#include "kernels/cache_shape.h"
#include "kernels/cpu/cache_layout.h"

HWY_BEFORE_NAMESPACE();
namespace cascade::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::CappedTag<float, kTile>;
using FloatVec = hn::Vec<FloatTag>;
using HalfTag = hn::Rebind<hwy::float16_t, FloatTag>;
inline constexpr int kLanes = static_cast<int>(hn::MaxLanes(FloatTag()));
inline constexpr int kTileVecs = kTile / kLanes;

HWY_INLINE FloatVec LoadKv(const float* p) { return hn::LoadU(FloatTag(), p); }
HWY_INLINE FloatVec LoadKv(const hwy::float16_t* p) { return hn::PromoteTo(FloatTag(), hn::LoadU(HalfTag(), p)); }
HWY_INLINE void StoreKv(FloatVec v, float* p) { hn::StoreU(v, FloatTag(), p); }
// What half precision can not hold becomes its largest value: an infinite key would make every logit after it NaN.
HWY_INLINE void StoreKv(FloatVec v, hwy::float16_t* p) {
  const FloatVec limit = hn::Set(FloatTag(), 65504.0f);
  hn::StoreU(hn::DemoteTo(HalfTag(), hn::Max(hn::Neg(limit), hn::Min(v, limit))), HalfTag(), p);
}

// y = x turned by `turn` (a RotationTable row), times scale. x, y: [head_dim], not the same.
HWY_INLINE void TurnHead(const float* HWY_RESTRICT x, const float* HWY_RESTRICT turn, RopePairs pairs, int head_dim,
                         float scale, float* HWY_RESTRICT y) {
  const float* cosines = turn;
  const float* sines = turn + head_dim;
  const int half = head_dim / 2;
  if (pairs == RopePairs::kInterleaved) {
    int d = 0;
#if HWY_TARGET != HWY_SCALAR
    const FloatTag tag;
    const FloatVec scales = hn::Set(tag, scale);
    for (; d + kLanes <= head_dim; d += kLanes) {
      const FloatVec v = hn::LoadU(tag, x + d);
      const FloatVec sum =
          hn::Add(hn::Mul(v, hn::LoadU(tag, cosines + d)), hn::Mul(hn::Shuffle2301(v), hn::LoadU(tag, sines + d)));
      hn::StoreU(hn::Mul(sum, scales), tag, y + d);
    }
#endif
    for (; d < head_dim; ++d) y[d] = (x[d] * cosines[d] + x[d ^ 1] * sines[d]) * scale;
  } else {
    for (int d = 0; d < half; ++d) y[d] = (x[d] * cosines[d] + x[d + half] * sines[d]) * scale;
    for (int d = half; d < head_dim; ++d) y[d] = (x[d] * cosines[d] + x[d - half] * sines[d]) * scale;
  }
}

// x [count] to KV elements; scratch pads the last vector. Bits do not depend on count.
template <class T>
HWY_INLINE void NarrowRow(const float* x, int count, T* out) {
  int d = 0;
  for (; d + kLanes <= count; d += kLanes) StoreKv(LoadKv(x + d), out + d);
  if (d < count) {
    float wide[kTile] = {};
    T narrow[kTile];
    for (int i = d; i < count; ++i) wide[i - d] = x[i];
    StoreKv(LoadKv(wide), narrow);
    for (int i = d; i < count; ++i) out[i] = narrow[i - d];
  }
}

// The key of an entry, [head_dim], out of its tile. `scratch` holds as many KV elements, rounded up to a vector.
template <class T>
HWY_INLINE void LoadKey(const T* keys, int64_t entry, int head_dim, T* HWY_RESTRICT scratch, float* HWY_RESTRICT out) {
  const T* column = keys + entry / kTile * kTile * head_dim + entry % kTile;
  for (int d = 0; d < head_dim; ++d) scratch[d] = column[d * kTile];
  for (int d = 0; d < head_dim; d += kLanes) StoreKv(LoadKv(scratch + d), out + d);
}

template <class T>
HWY_INLINE void StoreKey(const float* x, int64_t entry, int head_dim, T* HWY_RESTRICT scratch, T* keys) {
  NarrowRow(x, head_dim, scratch);
  T* column = keys + entry / kTile * kTile * head_dim + entry % kTile;
  for (int d = 0; d < head_dim; ++d) column[d * kTile] = scratch[d];
}

}  // namespace cascade::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
