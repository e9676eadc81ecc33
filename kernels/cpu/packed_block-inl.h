// A group of a packed strip (packed_weight.h) as kLanes of its rows see it: headers as float32, quants as bytes.
#if defined(CASCADE_PACKED_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CASCADE_PACKED_BLOCK_INL_H_
#undef CASCADE_PACKED_BLOCK_INL_H_
#else
#define CASCADE_PACKED_BLOCK_INL_H_
#endif

#include <cstdint>

#include "kernels/cpu/dot_block-inl.h"
#include "kernels/cpu/packed_layout.h"

HWY_BEFORE_NAMESPACE();
namespace cascade::kernels::HWY_NAMESPACE {

// kIq4Values + 128: one for each nibble.
HWY_ALIGN inline constexpr uint8_t kIq4Unsigned[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                                       129, 141, 153, 166, 181, 197, 217, 241};

// Rows kLanes * part .. of a strip; `group` is at the group's first byte.
template <DType kType>
struct PackedGroup {
  static constexpr PackedLayout kLayout = PackedLayoutOf(kType);
  static constexpr QuantFormat kFormat = kLayout.format;

  static HWY_INLINE VF Half(const uint8_t* group, int index, int part) {
    return PromoteHalves(reinterpret_cast<const hwy::float16_t*>(group) + index * kStripRows + part * kLanes);
  }
  static HWY_INLINE VF Scale(const uint8_t* group, int part) { return Half(group, 0, part); }
  static HWY_INLINE VF Minimum(const uint8_t* group, int part) { return Half(group, 1, part); }

  // scale times the 8-bit scale of a sub-block: 19 bits, exact. The same for minimums.
  static HWY_INLINE VF SubScale(VF scale, const uint8_t* group, int sub_block, int part) {
    return Scaled(scale, group + kLayout.scales_at(), sub_block, part);
  }
  static HWY_INLINE VF SubMinimum(VF minimum, const uint8_t* group, int sub_block, int part) {
    return Scaled(minimum, group + kLayout.minimums_at(), sub_block, part);
  }

  static HWY_INLINE WeightQuads Quads(const uint8_t* group, int unit, int part) {
    const auto* words = reinterpret_cast<const uint32_t*>(group + kLayout.units_at() + unit * kLayout.unit_bytes());
    words += part * kLanes;
    WeightQuads w;
    Low(words, w);
    if constexpr (kFormat.high_bits > 0) AddHigh(words + kFormat.low_bits * kStripRows, w);
    if constexpr (kFormat.has_table) LookUp(w);
    return w;
  }

 private:
  static HWY_INLINE VF Scaled(VF factor, const uint8_t* bytes, int sub_block, int part) {
    if constexpr (!kFormat.has_scales()) return factor;
    const hn::Rebind<int8_t, DI> di8;
    const auto* lanes = reinterpret_cast<const int8_t*>(bytes) + sub_block * kStripRows + part * kLanes;
    return hn::Mul(factor, hn::ConvertTo(DF(), hn::PromoteTo(DI(), hn::LoadU(di8, lanes))));
  }

  static HWY_INLINE VU Plane(const uint32_t* words, int index) { return hn::LoadU(DU(), words + index * kStripRows); }

  static HWY_INLINE void Low(const uint32_t* words, WeightQuads& w) {
    if constexpr (kFormat.low_bits == 8) {
      CASCADE_UNROLL for (int q = 0; q < kQuads; ++q) w.quads[q] = Plane(words, q);
    } else if constexpr (kFormat.low_bits == 4) {
      const VU low = hn::Set(DU(), 0x0F0F0F0Fu);
      CASCADE_UNROLL for (int q = 0; q < 4; ++q) {
        const VU v = Plane(words, q);
        w.quads[q] = hn::And(v, low);
        w.quads[q + 4] = hn::And(hn::ShiftRight<4>(v), low);
      }
    } else {
      const VU low = hn::Set(DU(), 0x03030303u);
      CASCADE_UNROLL for (int v = 0; v < 2; ++v) {
        const VU plane = Plane(words, v);
        w.quads[4 * v] = hn::And(plane, low);
        w.quads[4 * v + 1] = hn::And(hn::ShiftRight<2>(plane), low);
        w.quads[4 * v + 2] = hn::And(hn::ShiftRight<4>(plane), low);
        w.quads[4 * v + 3] = hn::And(hn::ShiftRight<6>(plane), low);
      }
    }
  }

  static HWY_INLINE void LookUp(WeightQuads& w) {
#if HWY_TARGET == HWY_SCALAR
    for (VU& quad : w.quads) {
      const uint32_t nibbles = hn::GetLane(quad);
      uint32_t values = 0;
      for (int i = 0; i < 32; i += 8) values |= uint32_t{kIq4Unsigned[(nibbles >> i) & 15]} << i;
      quad = hn::Set(DU(), values);
    }
#else
    const hn::Repartition<uint8_t, DU> d8;
    const auto table = hn::LoadDup128(d8, kIq4Unsigned);
    CASCADE_UNROLL for (int q = 0; q < kQuads; ++q) {
      w.quads[q] = hn::BitCast(DU(), hn::TableLookupBytes(table, hn::BitCast(d8, w.quads[q])));
    }
#endif
  }

  // Bits of a byte that are kFrom bits up, moved to where the low bits end.
  template <int kFrom>
  static HWY_INLINE VU Move(VU v) {
    constexpr int kTo = kFormat.low_bits;
    if constexpr (kFrom < kTo) return hn::ShiftLeft<kTo - kFrom>(v);
    if constexpr (kFrom > kTo) return hn::ShiftRight<kFrom - kTo>(v);
    return v;
  }
  template <int kQuad>
  static HWY_INLINE void AddHighQuad(const VU* planes, VU mask, WeightQuads& w) {
    constexpr int kPerByte = 8 / kFormat.high_bits;
    const VU moved = Move<kQuad % kPerByte * kFormat.high_bits>(planes[kQuad / kPerByte]);
    w.quads[kQuad] = hn::OrAnd(w.quads[kQuad], moved, mask);
  }
  static HWY_INLINE void AddHigh(const uint32_t* words, WeightQuads& w) {
    const VU mask = hn::Set(DU(), ((1u << kFormat.high_bits) - 1) * (0x01010101u << kFormat.low_bits));
    VU planes[2] = {Plane(words, 0), Plane(words, kFormat.high_bits - 1)};
    AddHighQuad<0>(planes, mask, w);
    AddHighQuad<1>(planes, mask, w);
    AddHighQuad<2>(planes, mask, w);
    AddHighQuad<3>(planes, mask, w);
    AddHighQuad<4>(planes, mask, w);
    AddHighQuad<5>(planes, mask, w);
    AddHighQuad<6>(planes, mask, w);
    AddHighQuad<7>(planes, mask, w);
  }
};

}  // namespace cascade::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
