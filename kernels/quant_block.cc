#include "kernels/quant_block.h"

#include <cstring>

#include "kernels/dequantize.h"

namespace cascade::kernels {
namespace {

uint16_t LoadU16(const uint8_t* bytes) {
  uint16_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

// Eight bytes at a time: a file is read at start-up, and single bytes would take longer than its disk.
constexpr uint64_t kEachByte = 0x0101010101010101;

uint64_t LoadU64(const uint8_t* bytes) {
  uint64_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}
void StoreU64(uint64_t value, uint8_t* bytes) { std::memcpy(bytes, &value, sizeof value); }

// Element i of 32 is the low nibble of byte i, element i + 16 the high one.
void ReadNibbles(const uint8_t* bytes, uint8_t* quants) {
  for (int i = 0; i < 16; ++i) {
    quants[i] = bytes[i] & 15;
    quants[i + 16] = bytes[i] >> 4;
  }
}

// The fifth bits of 32 elements, one word.
void ReadFifthBits(const uint8_t* bytes, uint8_t* quants) {
  uint32_t bits;
  std::memcpy(&bits, bytes, sizeof bits);
  for (int i = 0; i < 32; i += 4) {
    // The product has copies of four bits 7 apart: bit b of one of them is where byte b begins.
    const uint32_t spread = (((bits >> i) & 15) * 0x00204081) & 0x01010101;
    uint32_t quad;
    std::memcpy(&quad, quants + i, sizeof quad);
    quad |= spread << 4;
    std::memcpy(quants + i, &quad, sizeof quad);
  }
}

// kColumns bytes hold kFields columns each: the first kColumns in their lowest bits, and so on.
template <int kColumns, int kFields>
void ReadFields(const uint8_t* bytes, uint8_t* quants) {
  constexpr int kBits = 8 / kFields;
  for (int i = 0; i < kColumns; i += 8) {
    const uint64_t word = LoadU64(bytes + i);
    for (int field = 0; field < kFields; ++field) {
      StoreU64((word >> (kBits * field)) & (((1 << kBits) - 1) * kEachByte), quants + field * kColumns + i);
    }
  }
}

// Q2_K and Q3_K: 64 bytes, in two halves of 128 columns.
void ReadPairs(const uint8_t* bytes, uint8_t* quants) {
  ReadFields<32, 4>(bytes, quants);
  ReadFields<32, 4>(bytes + 32, quants + 128);
}

// Q3_K and Q5_K: bit b of byte i belongs to column 32 b + i; it becomes bit `to` of its quant.
void AddBits(const uint8_t* bytes, int to, uint8_t* quants) {
  for (int i = 0; i < 32; i += 8) {
    const uint64_t word = LoadU64(bytes + i);
    for (int bit = 0; bit < 8; ++bit) {
      uint8_t* column = quants + 32 * bit + i;
      StoreU64(LoadU64(column) | (((word >> bit) & kEachByte) << to), column);
    }
  }
}

// Q4_K and Q5_K: 12 bytes of 6-bit numbers, 8 scales and 8 minimums. The first four of each are in the low bits of a
// byte of their own, the others in a nibble and the two bits left over above the first ones.
void ReadScalesAndMinimums(const uint8_t* bytes, QuantBlock& block) {
  for (int i = 0; i < 4; ++i) {
    block.scales[i] = static_cast<int8_t>(bytes[i] & 63);
    block.minimums[i] = static_cast<int8_t>(bytes[4 + i] & 63);
    block.scales[4 + i] = static_cast<int8_t>((bytes[8 + i] & 15) | ((bytes[i] >> 2) & 48));
    block.minimums[4 + i] = static_cast<int8_t>((bytes[8 + i] >> 4) | ((bytes[4 + i] >> 2) & 48));
  }
}

// Q3_K: 16 scales + 32; their low four bits as nibbles of 8 bytes, their high two as fields of 4 bytes.
void ReadQ3Scales(const uint8_t* bytes, QuantBlock& block) {
  for (int i = 0; i < 16; ++i) {
    const int low = (bytes[i % 8] >> (4 * (i / 8))) & 15;
    const int high = (bytes[8 + i % 4] >> (2 * (i / 4))) & 3;
    block.scales[i] = static_cast<int8_t>((low | (high << 4)) - 32);
  }
}

void ReadQ2_K(const uint8_t* stored, QuantBlock& block) {
  for (int i = 0; i < 16; ++i) {
    block.scales[i] = static_cast<int8_t>(stored[i] & 15);
    block.minimums[i] = static_cast<int8_t>(stored[i] >> 4);
  }
  ReadPairs(stored + 16, block.quants);
  block.scale = LoadU16(stored + 80);
  block.minimum = LoadU16(stored + 82) ^ 0x8000;
}

void ReadQ3_K(const uint8_t* stored, QuantBlock& block) {
  ReadPairs(stored + 32, block.quants);
  AddBits(stored, 2, block.quants);
  ReadQ3Scales(stored + 96, block);
  block.scale = LoadU16(stored + 108);
}

// Q4_K, and Q5_K with 32 bytes of fifth bits.
void ReadQ4_K(const uint8_t* stored, bool fifth_bits, QuantBlock& block) {
  block.scale = LoadU16(stored);
  block.minimum = LoadU16(stored + 2) ^ 0x8000;
  ReadScalesAndMinimums(stored + 4, block);
  const uint8_t* nibbles = stored + (fifth_bits ? 48 : 16);
  for (int i = 0; i < 4; ++i) ReadFields<32, 2>(nibbles + 32 * i, block.quants + 64 * i);
  if (fifth_bits) AddBits(stored + 16, 4, block.quants);
}

void ReadQ6_K(const uint8_t* stored, QuantBlock& block) {
  uint8_t high[kMaxQuantBlock];
  ReadPairs(stored + 128, high);
  ReadFields<64, 2>(stored, block.quants);
  ReadFields<64, 2>(stored + 64, block.quants + 128);
  for (int i = 0; i < kMaxQuantBlock; ++i) block.quants[i] |= high[i] << 4;
  std::memcpy(block.scales, stored + 192, sizeof block.scales);
  block.scale = LoadU16(stored + 208);
}

// The types of 32 columns: scale, minimum, fifth bits, quants; not all have all.
void ReadPlain(const QuantFormat& format, const uint8_t* stored, QuantBlock& block) {
  block.scale = LoadU16(stored);
  stored += 2;
  block.scales[0] = 1;
  if (format.has_minimum) {
    block.minimum = LoadU16(stored);
    stored += 2;
    block.minimums[0] = 1;
  }
  const uint8_t* fifth_bits = stored;
  if (format.high_bits > 0) stored += 4;
  if (format.low_bits == 8) {
    for (int i = 0; i < 32; ++i) block.quants[i] = stored[i] ^ 0x80;  // a signed number + 128
  } else {
    ReadNibbles(stored, block.quants);
  }
  if (format.high_bits > 0) ReadFifthBits(fifth_bits, block.quants);
}

}  // namespace

void ReadQuantBlock(DType type, const uint8_t* stored, QuantBlock& block) {
  block.minimum = 0;
  switch (type) {
    case DType::kQ2_K:
      return ReadQ2_K(stored, block);
    case DType::kQ3_K:
      return ReadQ3_K(stored, block);
    case DType::kQ4_K:
      return ReadQ4_K(stored, false, block);
    case DType::kQ5_K:
      return ReadQ4_K(stored, true, block);
    case DType::kQ6_K:
      return ReadQ6_K(stored, block);
    default:
      return ReadPlain(FormatOf(type), stored, block);
  }
}

void ExpandQuantBlock(DType type, const QuantBlock& block, float* out) {
  const QuantFormat format = FormatOf(type);
  const float scale = HalfToFloat(block.scale);
  const float minimum = HalfToFloat(block.minimum);
  for (int s = 0; s < format.sub_blocks(); ++s) {
    const float sub_scale = scale * static_cast<float>(block.scales[s]);
    const uint8_t* quants = block.quants + s * format.sub_block;
    float* to = out + s * format.sub_block;
    for (int i = 0; i < format.sub_block; ++i) {
      to[i] = sub_scale * static_cast<float>(format.has_table ? kIq4Values[quants[i]] : quants[i] - format.offset);
    }
    if (!format.has_minimum) continue;
    const float sub_minimum = minimum * static_cast<float>(block.minimums[s]);
    for (int i = 0; i < format.sub_block; ++i) to[i] += sub_minimum;
  }
}

}  // namespace cascade::kernels
