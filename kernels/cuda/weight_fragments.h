// Weights on their way from memory to the tensor cores: what one warp reads of a matrix of any format at a time, and
// how its lanes turn that into the first operand of MultiplyAdd. Device code only.
//
// The order of a product's columns is free as long as both operands agree. So a lane takes 16 consecutive bytes of a
// row where MultiplyAdd's layout would have it take 4 here and 4 there: weights go from memory to their lane in
// asynchronous copies of 16 bytes which no other lane waits for, and x, in shared memory, is read 16 bytes at a time
// too.
#pragma once

#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/cuda/device_weight.h"

namespace cascade::kernels::cuda {

// The lane's two rows of a fragment, g and g + 8 with g = lane / 4: where it begins to read in each.
struct FragmentRows {
  const unsigned char* data[2];
  const unsigned char* groups[2];
  bool valid[2];
};

// 16 rows x kColumns columns, a whole line of memory or more of each row. Multiplied in kSteps steps: in a step each of
// a row's four lanes multiplies eight columns by two MultiplyAdds.
template <WeightFormat format>
struct Fragment {
  static constexpr bool kQuantised = IsQuantised(format);
  static constexpr bool kFourBit = IsFourBit(format);
  static constexpr bool kWide = IsWide(format);
  static constexpr int kColumns = kQuantised ? 128 : 64;
  static constexpr int kSteps = kColumns / 32;
  static constexpr int kChunks = kColumns / 8;  // of x: eight columns, 16 bytes
  // In shared memory: kPieces times 16 bytes of every lane, then [16][kGroups] scales and minimums.
  static constexpr int kPieces = kFourBit ? 2 : 4;
  static constexpr int kGroupColumns = GroupColumns(format);
  static constexpr int kGroups = kQuantised ? 128 / kGroupColumns : 0;
  static constexpr int kGroupBytes = kWide ? 8 : 4;
  static constexpr int kCodeBytes = kPieces * 512;
  static constexpr int kBytes = kCodeBytes + 16 * kGroups * kGroupBytes;
  // Lanes read scales that others copied.
  static constexpr bool kLanesShare = kQuantised && !kFourBit;

  // Row r of the fragment is row[r / 8] + r % 8 of `weight`; rows that it does not have are zeros.
  static __device__ void SetRow(FragmentRows& rows, int half, const DeviceWeight& weight, int64_t row) {
    const int t = threadIdx.x % 4;
    rows.valid[half] = row < weight.rows;
    const int64_t read = rows.valid[half] ? row : 0;
    rows.data[half] = static_cast<const unsigned char*>(weight.data) + read * weight.row_bytes + 16 * t;
    if (!kQuantised) return;
    const int64_t groups = weight.cols / kGroupColumns;
    rows.groups[half] =
        static_cast<const unsigned char*>(weight.groups) + (read * groups + t * (kGroups / 4)) * kGroupBytes;
  }

  // Starts the copies of columns kColumns * unit ... to `slot`; columns from `cols` on are zeros.
  static __device__ void Fetch(const FragmentRows& rows, int unit, int cols, unsigned char* slot) {
    const int lane = threadIdx.x % 32;
    const int t = lane % 4;
    constexpr int kUnitBytes = kFourBit ? 64 : 128;                     // of a row
    constexpr int kPieceColumns = kFourBit ? 32 : kQuantised ? 16 : 8;  // of a lane
#pragma unroll
    for (int piece = 0; piece < kPieces / 2; ++piece) {
      const bool inside = unit * kColumns + piece * 4 * kPieceColumns + t * kPieceColumns < cols;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        CopyAsync16(slot + (2 * piece + half) * 512 + lane * 16,
                    rows.data[half] + static_cast<int64_t>(unit) * kUnitBytes + piece * 64, rows.valid[half] && inside);
      }
    }
    if constexpr (kQuantised) {
      constexpr int kLaneBytes = kGroups / 4 * kGroupBytes;
      const bool inside = unit * kColumns + 32 * t < cols;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        unsigned char* to = slot + kCodeBytes + (half * 32 + lane) * kLaneBytes;
        const unsigned char* from = rows.groups[half] + static_cast<int64_t>(unit) * (kGroups * kGroupBytes);
        const bool valid = rows.valid[half] && inside;
        if constexpr (kLaneBytes == 16) {
          CopyAsync16(to, from, valid);
        } else {
          CopyAsyncSmall<kLaneBytes>(to, from, valid);
        }
      }
    }
  }

  // Where the chunk of eight columns lies in x's shared memory, among a fragment's: so that the four lanes of a row
  // read 64 consecutive bytes in every step.
  static __device__ int ChunkPlace(int chunk) {
    if (!kQuantised) return chunk;
    if (kFourBit) return chunk % 4 * 4 + chunk / 4;
    return (chunk / 8 * 2 + chunk % 2) * 4 + chunk / 2 % 4;
  }

  uint4 codes[kPieces];
  float2 scales[2][2];  // [half][]: of the first and second half of the lane's columns

  __device__ void Read(const unsigned char* slot) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
      codes[piece] = *reinterpret_cast<const uint4*>(slot + piece * 512 + lane * 16);
    }
    if constexpr (kQuantised) {
      const int g = lane / 4, t = lane % 4;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const unsigned char* row = slot + kCodeBytes + (g + 8 * half) * (kGroups * kGroupBytes);
        if constexpr (kFourBit && kGroups == 4) {
          scales[half][0] = scales[half][1] = Scale(row, t);
        } else if constexpr (kFourBit) {
          const float4 both = *reinterpret_cast<const float4*>(row + 16 * t);
          scales[half][0] = make_float2(both.x, both.y);
          scales[half][1] = make_float2(both.z, both.w);
        } else {
          scales[half][0] = Scale(row, kGroups == 4 ? t / 2 : t);
          scales[half][1] = Scale(row, kGroups == 4 ? 2 + t / 2 : 4 + t);
        }
      }
    }
  }

  // The step's two operands of MultiplyAdd. What they are multiplied by is 16 bytes b of x at ChunkPlace 4 step + t:
  // {b.x, b.y} and {b.z, b.w}.
  template <class T>
  __device__ void Operands(int step, uint32_t (&first)[4], uint32_t (&second)[4]) const {
    uint32_t row[2][4];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if constexpr (!kQuantised) {
        const uint4 v = codes[2 * step + half];
        row[half][0] = Convert<T>(v.x);
        row[half][1] = Convert<T>(v.y);
        row[half][2] = Convert<T>(v.z);
        row[half][3] = Convert<T>(v.w);
      } else if constexpr (kFourBit) {
        const uint4 v = codes[half];
        Nibbles<T>(step == 0 ? v.x : step == 1 ? v.y : step == 2 ? v.z : v.w, scales[half][step / 2], row[half]);
      } else {
        const uint4 v = codes[step / 2 * 2 + half];
        Bytes<T>(step % 2 == 0 ? v.x : v.z, step % 2 == 0 ? v.y : v.w, scales[half][step / 2], row[half]);
      }
    }
    first[0] = row[0][0], first[1] = row[1][0], first[2] = row[0][1], first[3] = row[1][1];
    second[0] = row[0][2], second[1] = row[1][2], second[2] = row[0][3], second[3] = row[1][3];
  }

 private:
  static __device__ float2 Scale(const unsigned char* row, int group) {
    if constexpr (kWide) return reinterpret_cast<const float2*>(row)[group];
    return Unpack<Half>(reinterpret_cast<const uint32_t*>(row)[group]);
  }

  template <class T>
  static __device__ uint32_t Convert(uint32_t pair) {
    if constexpr (format == WeightFormat::kBf16) {
      return Repack<Bf16, T>::Of(pair);
    } else {
      return Repack<Half, T>::Of(pair);
    }
  }
  template <class From, class To>
  struct Repack {
    static __device__ uint32_t Of(uint32_t pair) {
      const float2 v = Unpack<From>(pair);
      return Pack<To>(v.x, v.y);
    }
  };
  template <class Same>
  struct Repack<Same, Same> {
    static __device__ uint32_t Of(uint32_t pair) { return pair; }
  };

  // Eight codes of four bits. Put into the mantissa of 16 or 256, where its last bit is worth 1, a code is a float by
  // one operation; the constant goes away in the minimum (256 scale is rounded to 2^-16 scale, far below the result's
  // last bit).
  template <class T>
  static __device__ void Nibbles(uint32_t v, float2 scale, uint32_t (&out)[4]) {
    const float minimum16 = fmaf(-16.0f, scale.x, scale.y), minimum256 = fmaf(-256.0f, scale.x, scale.y);
    const auto high = [&](uint32_t shifted) {
      return fmaf(__uint_as_float((shifted & 0x00780000u) | 0x41800000u), scale.x, minimum16);
    };
    const auto low = [&](uint32_t shifted) {
      return fmaf(__uint_as_float((shifted & 0x00078000u) | 0x43800000u), scale.x, minimum256);
    };
    out[0] = Pack<T>(high(v << 19), low(v << 11));
    out[1] = Pack<T>(high(v << 11), low(v << 3));
    out[2] = Pack<T>(high(v << 3), low(v >> 5));
    out[3] = Pack<T>(high(v >> 5), low(v >> 13));
  }

  // Eight codes of eight bits, by way of 2^23 + (code + 128).
  template <class T>
  static __device__ void Bytes(uint32_t first, uint32_t second, float2 scale, uint32_t (&out)[4]) {
    const auto value = [&](uint32_t word, uint32_t byte) {
      const float biased = __uint_as_float(__byte_perm(word, 0x4B000000u, 0x7540u + byte));
      return fmaf(biased - 8388736.0f, scale.x, scale.y);
    };
    first ^= 0x80808080u;
    second ^= 0x80808080u;
    out[0] = Pack<T>(value(first, 0), value(first, 1));
    out[1] = Pack<T>(value(first, 2), value(first, 3));
    out[2] = Pack<T>(value(second, 0), value(second, 1));
    out[3] = Pack<T>(value(second, 2), value(second, 3));
  }
};

}  // namespace cascade::kernels::cuda
