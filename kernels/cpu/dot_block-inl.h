// Exact integer dot products of a unit or of half of one: up to 32 unsigned weights of each of kLanes rows with as many
// signed activations. The only place with intrinsics of one instruction set; the last variant runs anywhere.
//
// Included once per target, inside HWY_BEFORE_NAMESPACE: no include guard but Highway's toggle.
#if defined(CASCADE_DOT_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CASCADE_DOT_BLOCK_INL_H_
#undef CASCADE_DOT_BLOCK_INL_H_
#else
#define CASCADE_DOT_BLOCK_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "kernels/cpu/linear_kernels.h"
#include "kernels/cpu/packed_layout.h"

// Highway 1.0.3 asks the compiler for AVX-VNNI in this target where it means (and at run time looks for) AVX512-VNNI.
// So no code of this target may leave a dot product of bytes to the compiler: it could choose the other encoding.
#if HWY_TARGET == HWY_AVX3_DL
#undef HWY_TARGET_STR
#define HWY_TARGET_STR \
  HWY_TARGET_STR_AVX3  \
  ",vpclmulqdq,avx512vbmi,avx512vbmi2,vaes,avxvnni,avx512bitalg,avx512vpopcntdq,avx512vnni"
#endif

HWY_BEFORE_NAMESPACE();
namespace cascade::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The lanes are output rows: a strip is kStripRows / kLanes vectors.
using DF = hn::CappedTag<float, kStripRows>;
using DI = hn::RebindToSigned<DF>;
using DU = hn::RebindToUnsigned<DF>;
using VF = hn::Vec<DF>;
using VI = hn::Vec<DI>;
using VU = hn::Vec<DU>;
inline constexpr int kLanes = MaxLanes(DF());
inline constexpr int kQuads = kQuantBlock / 4;

// Lane r: 4 weights of row r, one per byte.
struct WeightQuads {
  VU quads[kQuads];
};

// kLanes halves as float32, exact, infinities and NaN included.
HWY_INLINE VF PromoteHalves(const hwy::float16_t* halves) {
#if HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_SCALAR
  // Without an instruction Highway takes infinities and NaN for numbers.
  const auto bits16 = hn::LoadU(hn::Rebind<uint16_t, DF>(), reinterpret_cast<const uint16_t*>(halves));
  const VI bits = hn::PromoteTo(DI(), bits16);
  const VI magnitude = hn::ShiftLeft<13>(hn::And(bits, hn::Set(DI(), 0x7FFF)));
  // Moved into float32's fields a half is too small by 2^112; the product also makes subnormals normal.
  const VI number = hn::BitCast(DI(), hn::Mul(hn::BitCast(DF(), magnitude), hn::Set(DF(), 0x1p112f)));
  const auto is_number = hn::Lt(magnitude, hn::Set(DI(), 0x7C00 << 13));
  const VI value = hn::IfThenElse(is_number, number, hn::Or(magnitude, hn::Set(DI(), 0x7F800000)));
  const VI sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(DI(), 0x8000)));
  return hn::BitCast(DF(), hn::Or(value, sign));
#else
  return hn::PromoteTo(DF(), hn::LoadU(hn::Rebind<hwy::float16_t, DF>(), halves));
#endif
}

HWY_INLINE int32_t Quad(const int8_t* a) {
  int32_t quad;
  std::memcpy(&quad, a, sizeof quad);
  return quad;
}

#if HWY_TARGET == HWY_AVX3_DL

// Quads [kFirst, kFirst + kCount) of a unit, whose weights are at most kLargest. a: the unit's [32]. Returns init + the
// dot product of every lane.
template <int kLargest, int kFirst, int kCount>
HWY_INLINE VI DotQuads(const WeightQuads& w, const int8_t* a, VI init) {
  __m512i sum = init.raw;
  CASCADE_UNROLL for (int q = kFirst; q < kFirst + kCount; ++q) {
    sum = _mm512_dpbusd_epi32(sum, w.quads[q].raw, _mm512_set1_epi32(Quad(a + 4 * q)));
  }
  return VI{sum};
}

#elif HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_SSE4

#if HWY_TARGET == HWY_AVX3
using Raw = __m512i;
HWY_INLINE Raw MulPairsU8(Raw w, Raw a) { return _mm512_maddubs_epi16(w, a); }
HWY_INLINE Raw MulPairs16(Raw w, Raw a) { return _mm512_madd_epi16(w, a); }
HWY_INLINE Raw Add16(Raw a, Raw b) { return _mm512_add_epi16(a, b); }
#elif HWY_TARGET == HWY_AVX2
using Raw = __m256i;
HWY_INLINE Raw MulPairsU8(Raw w, Raw a) { return _mm256_maddubs_epi16(w, a); }
HWY_INLINE Raw MulPairs16(Raw w, Raw a) { return _mm256_madd_epi16(w, a); }
HWY_INLINE Raw Add16(Raw a, Raw b) { return _mm256_add_epi16(a, b); }
#else
using Raw = __m128i;
HWY_INLINE Raw MulPairsU8(Raw w, Raw a) { return _mm_maddubs_epi16(w, a); }
HWY_INLINE Raw MulPairs16(Raw w, Raw a) { return _mm_madd_epi16(w, a); }
HWY_INLINE Raw Add16(Raw a, Raw b) { return _mm_add_epi16(a, b); }
#endif

template <int kLargest, int kFirst, int kCount>
HWY_INLINE VI DotQuads(const WeightQuads& w, const int8_t* a, VI init) {
  const hn::Repartition<int16_t, DI> d16;
  // Quads whose sums of two products, each at most 2 * kLargest * 128, 16 bits hold: 8 of nibbles, 4 of 5 bits, 2 of 6.
  constexpr int kFit = std::min(kCount, 32767 / (2 * kLargest * 128));
  VI sum = init;
  if constexpr (kFit > 0) {
    static_assert(kCount % kFit == 0);
    CASCADE_UNROLL for (int first = kFirst; first < kFirst + kCount; first += kFit) {
      Raw pairs = MulPairsU8(w.quads[first].raw, hn::Set(DI(), Quad(a + 4 * first)).raw);
      CASCADE_UNROLL for (int q = first + 1; q < first + kFit; ++q) {
        pairs = Add16(pairs, MulPairsU8(w.quads[q].raw, hn::Set(DI(), Quad(a + 4 * q)).raw));
      }
      sum = hn::Add(sum, VI{MulPairs16(pairs, hn::Set(d16, int16_t{1}).raw)});
    }
  } else {
    // maddubs would saturate; as 16-bit halves the even and the odd bytes of a quad are two exact products.
    CASCADE_UNROLL for (int q = kFirst; q < kFirst + kCount; ++q) {
      const auto a16 = hn::BitCast(d16, hn::Set(DI(), Quad(a + 4 * q)));
      const auto w16 = hn::BitCast(hn::RebindToUnsigned<decltype(d16)>(), w.quads[q]);
      const auto even = hn::And(w16, hn::Set(hn::RebindToUnsigned<decltype(d16)>(), uint16_t{255}));
      sum = hn::Add(sum, VI{MulPairs16(even.raw, hn::ShiftRight<8>(hn::ShiftLeft<8>(a16)).raw)});
      sum = hn::Add(sum, VI{MulPairs16(hn::ShiftRight<8>(w16).raw, hn::ShiftRight<8>(a16).raw)});
    }
  }
  return sum;
}

#else

template <int kLargest, int kFirst, int kCount>
HWY_INLINE VI DotQuads(const WeightQuads& w, const int8_t* a, VI init) {
  const VU byte = hn::Set(DU(), 255u);
  VI sum = init;
  a += 4 * kFirst;
  for (int q = kFirst; q < kFirst + kCount; ++q, a += 4) {
    const VU v = w.quads[q];
    sum = hn::Add(sum, hn::Mul(hn::BitCast(DI(), hn::And(v, byte)), hn::Set(DI(), a[0])));
    sum = hn::Add(sum, hn::Mul(hn::BitCast(DI(), hn::And(hn::ShiftRight<8>(v), byte)), hn::Set(DI(), a[1])));
    sum = hn::Add(sum, hn::Mul(hn::BitCast(DI(), hn::And(hn::ShiftRight<16>(v), byte)), hn::Set(DI(), a[2])));
    sum = hn::Add(sum, hn::Mul(hn::BitCast(DI(), hn::ShiftRight<24>(v)), hn::Set(DI(), a[3])));
  }
  return sum;
}

#endif

}  // namespace cascade::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
