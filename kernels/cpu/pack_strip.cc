#include "kernels/cpu/pack_strip.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/packed_layout.h"
#include "kernels/cpu/transpose.h"
#include "kernels/dequantize.h"

namespace cascade::kernels {
namespace {

constexpr int kQuads = kQuantBlock / 4;
constexpr int kMaxUnitWords = 8;

uint32_t LoadWord(const uint8_t* bytes) {
  uint32_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

uint64_t LoadPair(const uint8_t* bytes) {
  uint64_t pair;
  std::memcpy(&pair, bytes, sizeof pair);
  return pair;
}

// A plane of kBits has 8 / kBits quads in a word, and quad q in word Word(q), that many bits up.
template <int kBits>
constexpr int Word(int q) {
  return kBits == 4 ? q % 4 : q * kBits / 8;
}
template <int kBits>
constexpr int Shift(int q) {
  return kBits == 4 ? q / 4 * 4 : q * kBits % 8;
}

// The bits [kFrom, kFrom + kBits) of a unit's quants, to kBits words. Two quads at a time.
template <int kBits, int kFrom>
void PackPlane(const uint8_t* quants, uint32_t* words) {
  constexpr uint64_t kMask = ((uint64_t{1} << kBits) - 1) * 0x0101010101010101;
  const auto pair = [&](int q) { return (LoadPair(quants + 4 * q) >> kFrom) & kMask; };
  if constexpr (kBits == 8) {
    std::memcpy(words, quants, kQuantBlock);
  } else if constexpr (kBits == 4) {
    for (int w = 0; w < 4; w += 2) {
      const uint64_t two = pair(w) | pair(w + 4) << 4;
      std::memcpy(words + w, &two, sizeof two);
    }
  } else {
    constexpr int kPairs = 4 / kBits;  // of a word
    for (int w = 0; w < kBits; ++w) {
      uint64_t two = 0;
      for (int p = 0; p < kPairs; ++p) two |= pair(2 * (w * kPairs + p)) << (2 * kBits * p);
      words[w] = static_cast<uint32_t>(two) | static_cast<uint32_t>(two >> 32) << kBits;
    }
  }
}

// Adds them to quants, which are 0 there.
template <int kBits, int kFrom>
void UnpackPlane(const uint32_t* words, uint8_t* quants) {
  constexpr uint32_t kMask = ((1u << kBits) - 1) * 0x01010101u;
  for (int q = 0; q < kQuads; ++q) {
    const uint32_t quad = LoadWord(quants + 4 * q) | ((words[Word<kBits>(q)] >> Shift<kBits>(q)) & kMask) << kFrom;
    std::memcpy(quants + 4 * q, &quad, sizeof quad);
  }
}

template <DType kType>
struct Strip {
  static constexpr PackedLayout kLayout = PackedLayoutOf(kType);
  static constexpr QuantFormat kFormat = kLayout.format;
  static constexpr int kWords = kLayout.unit_words();

  static void PutHalf(uint8_t* group, int index, int lane, uint16_t half) {
    std::memcpy(group + 2 * (index * kStripRows + lane), &half, sizeof half);
  }
  static uint16_t GetHalf(const uint8_t* group, int index, int lane) {
    uint16_t half;
    std::memcpy(&half, group + 2 * (index * kStripRows + lane), sizeof half);
    return half;
  }

  static void Pack(const uint8_t* const* rows, int64_t cols, uint8_t* group) {
    uint32_t words[kStripRows][kLayout.units() * kWords];
    const uint8_t* word_rows[kStripRows];
    for (int lane = 0; lane < kStripRows; ++lane) word_rows[lane] = reinterpret_cast<const uint8_t*>(words[lane]);
    QuantBlock block;
    for (int64_t b = 0; b < cols / kFormat.block; ++b, group += kLayout.group_bytes()) {
      for (int lane = 0; lane < kStripRows; ++lane) {
        ReadQuantBlock(kType, rows[lane] + b * BlockBytes(kType), block);
        PutHalf(group, 0, lane, block.scale);
        if (kFormat.has_minimum) PutHalf(group, 1, lane, block.minimum);
        if constexpr (kFormat.has_scales()) {
          for (int s = 0; s < kFormat.sub_blocks(); ++s) {
            group[kLayout.scales_at() + s * kStripRows + lane] = static_cast<uint8_t>(block.scales[s]);
            if (!kFormat.has_minimum) continue;
            group[kLayout.minimums_at() + s * kStripRows + lane] = static_cast<uint8_t>(block.minimums[s]);
          }
        }
        for (int unit = 0; unit < kLayout.units(); ++unit) {
          PackPlane<kFormat.low_bits, 0>(block.quants + unit * kQuantBlock, words[lane] + unit * kWords);
          if constexpr (kFormat.high_bits > 0) {
            PackPlane<kFormat.high_bits, kFormat.low_bits>(block.quants + unit * kQuantBlock,
                                                           words[lane] + unit * kWords + kFormat.low_bits);
          }
        }
      }
      TransposeStrip32(word_rows, kLayout.units() * kWords, group + kLayout.units_at());
    }
  }

  static void UnpackRow(const uint8_t* group, int64_t cols, int lane, float* out) {
    QuantBlock block;
    for (int64_t b = 0; b < cols / kFormat.block; ++b, group += kLayout.group_bytes()) {
      block.scale = GetHalf(group, 0, lane);
      block.minimum = kFormat.has_minimum ? GetHalf(group, 1, lane) : 0;
      for (int s = 0; s < kFormat.sub_blocks(); ++s) {
        block.scales[s] = block.minimums[s] = 1;
        if constexpr (kFormat.has_scales()) {
          block.scales[s] = static_cast<int8_t>(group[kLayout.scales_at() + s * kStripRows + lane]);
          block.minimums[s] =
              kFormat.has_minimum ? static_cast<int8_t>(group[kLayout.minimums_at() + s * kStripRows + lane]) : 0;
        }
      }
      std::memset(block.quants, 0, kFormat.block);
      for (int unit = 0; unit < kLayout.units(); ++unit) {
        uint32_t words[kMaxUnitWords];
        for (int w = 0; w < kWords; ++w) {
          words[w] = LoadWord(group + kLayout.units_at() + 4 * ((unit * kWords + w) * kStripRows + lane));
        }
        UnpackPlane<kFormat.low_bits, 0>(words, block.quants + unit * kQuantBlock);
        if constexpr (kFormat.high_bits > 0) {
          UnpackPlane<kFormat.high_bits, kFormat.low_bits>(words + kFormat.low_bits, block.quants + unit * kQuantBlock);
        }
      }
      ExpandQuantBlock(kType, block, out + b * kFormat.block);
    }
  }
};

// Calls function.operator()<kType>() for a quantised type.
template <class Function>
void ForType(DType type, const Function& function) {
  switch (type) {
    case DType::kQ4_0:
      return function.template operator()<DType::kQ4_0>();
    case DType::kQ4_1:
      return function.template operator()<DType::kQ4_1>();
    case DType::kQ5_0:
      return function.template operator()<DType::kQ5_0>();
    case DType::kQ5_1:
      return function.template operator()<DType::kQ5_1>();
    case DType::kQ8_0:
      return function.template operator()<DType::kQ8_0>();
    case DType::kIQ4_NL:
      return function.template operator()<DType::kIQ4_NL>();
    case DType::kQ2_K:
      return function.template operator()<DType::kQ2_K>();
    case DType::kQ3_K:
      return function.template operator()<DType::kQ3_K>();
    case DType::kQ4_K:
      return function.template operator()<DType::kQ4_K>();
    case DType::kQ5_K:
      return function.template operator()<DType::kQ5_K>();
    case DType::kQ6_K:
      return function.template operator()<DType::kQ6_K>();
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      break;
  }
  CASCADE_CHECK(false);
}

}  // namespace

int64_t PackedStripBytes(DType type, int64_t cols) {
  if (!IsQuantized(type)) return cols * BlockBytes(type) * kStripRows;
  const PackedLayout layout = PackedLayoutOf(type);
  return cols / layout.format.block * layout.group_bytes();
}

void PackStrip(DType type, const uint8_t* const* rows, int64_t cols, uint8_t* strip) {
  if (type == DType::kF32) return TransposeStrip32(rows, cols, strip);
  if (!IsQuantized(type)) return TransposeStrip16(rows, cols, strip);
  ForType(type, [&]<DType kType>() { Strip<kType>::Pack(rows, cols, strip); });
}

void UnpackStripRow(DType type, const uint8_t* strip, int64_t cols, int lane, float* out) {
  if (IsQuantized(type)) {
    return ForType(type, [&]<DType kType>() { Strip<kType>::UnpackRow(strip, cols, lane, out); });
  }
  constexpr int kPiece = 32;
  const int bytes = BlockBytes(type);
  uint8_t piece[kPiece * sizeof(float)];
  for (int64_t k = 0; k < cols; k += kPiece) {
    const int64_t count = std::min<int64_t>(kPiece, cols - k);
    for (int64_t i = 0; i < count; ++i) {
      std::memcpy(piece + i * bytes, strip + ((k + i) * kStripRows + lane) * bytes, bytes);
    }
    DequantizeRow(type, piece, out + k, count);
  }
}

}  // namespace cascade::kernels
