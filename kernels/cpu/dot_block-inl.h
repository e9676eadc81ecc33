// Exact integer dot products of one block: 32 unsigned weights of each of kLanes rows with 32 signed activations. The
// only place with intrinsics of one instruction set; the last variant runs anywhere.
//
// Included once per target, inside HWY_BEFORE_NAMESPACE: no include guard but Highway's toggle.
#if defined(CASCADE_DOT_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CASCADE_DOT_BLOCK_INL_H_
#undef CASCADE_DOT_BLOCK_INL_H_
#else
#define CASCADE_DOT_BLOCK_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "kernels/cpu/packed_weight.h"

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

HWY_INLINE int32_t Quad(const int8_t* a) {
  int32_t quad;
  std::memcpy(&quad, a, sizeof quad);
  return quad;
}

#if HWY_TARGET == HWY_AVX3_DL

// kNibbles: all weights are at most 15. a: [32]. Returns init + the dot product of every lane.
template <bool kNibbles>
HWY_INLINE VI DotBlock(const WeightQuads& w, const int8_t* a, VI init) {
  __m512i sum = init.raw;
  for (int q = 0; q < kQuads; ++q) sum = _mm512_dpbusd_epi32(sum, w.quads[q].raw, _mm512_set1_epi32(Quad(a + 4 * q)));
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

template <bool kNibbles>
HWY_INLINE VI DotBlock(const WeightQuads& w, const int8_t* a, VI init) {
  const hn::Repartition<int16_t, DI> d16;
  if constexpr (kNibbles) {
    // 8 times a pair sum of at most 2 * 15 * 127 is 30480: 16 bits hold the whole block.
    Raw sum = hn::Zero(DI()).raw;
    for (int q = 0; q < kQuads; ++q) {
      sum = Add16(sum, MulPairsU8(w.quads[q].raw, hn::Set(DI(), Quad(a + 4 * q)).raw));
    }
    return hn::Add(init, VI{MulPairs16(sum, hn::Set(d16, int16_t{1}).raw)});
  } else {
    // maddubs would saturate; as 16-bit halves the even and the odd bytes of a quad are two exact products.
    VI sum = init;
    for (int q = 0; q < kQuads; ++q) {
      const auto a16 = hn::BitCast(d16, hn::Set(DI(), Quad(a + 4 * q)));
      const auto w16 = hn::BitCast(hn::RebindToUnsigned<decltype(d16)>(), w.quads[q]);
      const auto even = hn::And(w16, hn::Set(hn::RebindToUnsigned<decltype(d16)>(), uint16_t{255}));
      sum = hn::Add(sum, VI{MulPairs16(even.raw, hn::ShiftRight<8>(hn::ShiftLeft<8>(a16)).raw)});
      sum = hn::Add(sum, VI{MulPairs16(hn::ShiftRight<8>(w16).raw, hn::ShiftRight<8>(a16).raw)});
    }
    return sum;
  }
}

#else

template <bool kNibbles>
HWY_INLINE VI DotBlock(const WeightQuads& w, const int8_t* a, VI init) {
  const VU byte = hn::Set(DU(), 255u);
  VI sum = init;
  for (int q = 0; q < kQuads; ++q, a += 4) {
    const VU v = w.quads[q];
    sum = hn::Add(sum, hn::Mul(hn::BitCast(DI(), hn::And(v, byte)), hn::Set(DI(), a[0])));
    sum = hn::Add(sum, hn::Mul(hn::BitCast(DI(), hn::And(hn::ShiftRight<8>(v), byte)), hn::Set(DI(), a[1])));
    sum = hn::Add(sum, hn::Mul(hn::BitCast(DI(), hn::And(hn::ShiftRight<16>(v), byte)), hn::Set(DI(), a[2])));
    sum = hn::Add(sum, hn::Mul(hn::BitCast(DI(), hn::ShiftRight<24>(v)), hn::Set(DI(), a[3])));
  }
  return sum;
}

#endif

// One block of a packed strip, as kLanes rows from row kLanes * part on see it.
template <DType kType>
struct PackedBlock {
  static constexpr bool kNibbles = kType != DType::kQ8_0;
  static constexpr int kHeaders = kType == DType::kQ4_1 ? 2 : 1;
  static constexpr int kQuadVectors = kNibbles ? 4 : 8;
  static constexpr int kBytes = kStripRows * (2 * kHeaders + 4 * kQuadVectors);

  static HWY_INLINE VF Header(const uint8_t* block, int index, int part) {
    const hn::Rebind<hwy::float16_t, DF> df16;
    const auto* halves = reinterpret_cast<const hwy::float16_t*>(block) + index * kStripRows + part * kLanes;
    return hn::PromoteTo(DF(), hn::LoadU(df16, halves));
  }
  static HWY_INLINE VF Scale(const uint8_t* block, int part) { return Header(block, 0, part); }
  static HWY_INLINE VF Minimum(const uint8_t* block, int part) { return Header(block, 1, part); }

  static HWY_INLINE WeightQuads Quads(const uint8_t* block, int part) {
    const auto* words = reinterpret_cast<const uint32_t*>(block + 2 * kHeaders * kStripRows) + part * kLanes;
    WeightQuads w;
    if constexpr (kNibbles) {
      const VU low = hn::Set(DU(), 0x0F0F0F0Fu);
      for (int q = 0; q < kQuadVectors; ++q) {
        const VU v = hn::LoadU(DU(), words + q * kStripRows);
        w.quads[q] = hn::And(v, low);
        w.quads[q + kQuadVectors] = hn::And(hn::ShiftRight<4>(v), low);
      }
    } else {
      for (int q = 0; q < kQuadVectors; ++q) w.quads[q] = hn::LoadU(DU(), words + q * kStripRows);
    }
    return w;
  }
};

}  // namespace cascade::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
