#include "kernels/cuda/device.h"

namespace cascade::kernels::cuda {
namespace {

using emulator::Exchange;
using emulator::Together;

void CheckAligned(const char* what, const void* address) {
  if (reinterpret_cast<uintptr_t>(address) % 16 != 0) emulator::Abort(std::string(what) + ": not 16-byte aligned");
}

struct MatrixRows {
  uint16_t element[4][8][8];
};

MatrixRows ReadRows(const Exchange& exchange) {
  MatrixRows rows;
  for (int lane = 0; lane < 32; ++lane) {
    const void* address;
    std::memcpy(&address, exchange.in[lane], sizeof(address));
    std::memcpy(rows.element[lane / 8][lane % 8], address, 16);
  }
  return rows;
}

struct MultiplyInput {
  float c[4];
  uint32_t a[4];
  uint32_t b[2];
};
static_assert(sizeof(MultiplyInput) <= emulator::kExchangeBytes);

template <class T>
void Multiply(Exchange& exchange) {
  float a[16][16], b[16][8], c[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    MultiplyInput in;
    std::memcpy(&in, exchange.in[lane], sizeof(in));
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      const float2 pair = Unpack<T>(in.a[i]);
      a[g + i % 2 * 8][2 * t + i / 2 * 8] = pair.x;
      a[g + i % 2 * 8][2 * t + i / 2 * 8 + 1] = pair.y;
      c[g + i / 2 * 8][2 * t + i % 2] = in.c[i];
    }
    for (int i = 0; i < 2; ++i) {
      const float2 pair = Unpack<T>(in.b[i]);
      b[2 * t + 8 * i][g] = pair.x;
      b[2 * t + 8 * i + 1][g] = pair.y;
    }
  }
  for (int m = 0; m < 16; ++m) {
    float sum[8];
    for (int n = 0; n < 8; ++n) sum[n] = c[m][n];
    for (int k = 0; k < 16; ++k) {
      for (int n = 0; n < 8; ++n) sum[n] += a[m][k] * b[k][n];
    }
    for (int n = 0; n < 8; ++n) c[m][n] = sum[n];
  }
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4;
    const float out[4] = {c[g][2 * t], c[g][2 * t + 1], c[g + 8][2 * t], c[g + 8][2 * t + 1]};
    std::memcpy(exchange.out[lane], out, sizeof(out));
  }
}

template <class T>
void MultiplyTogether(Together kind, float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  MultiplyInput in;
  std::memcpy(in.c, c, sizeof(c));
  std::memcpy(in.a, a, sizeof(a));
  std::memcpy(in.b, b, sizeof(b));
  emulator::DoTogether(kind, &in, sizeof(in), c, sizeof(c), Multiply<T>);
}

}  // namespace

uint32_t Ballot(bool predicate) {
  uint32_t result;
  emulator::DoTogether(Together::kBallot, &predicate, sizeof(predicate), &result, sizeof(result),
                       [](Exchange& exchange) {
                         uint32_t mask = 0;
                         for (int lane = 0; lane < 32; ++lane) mask |= uint32_t{exchange.in[lane][0] != 0} << lane;
                         for (auto& out : exchange.out) std::memcpy(out, &mask, sizeof(mask));
                       });
  return result;
}

uint4 LoadStreaming(const void* address) {
  CheckAligned("LoadStreaming", address);
  uint4 value;
  std::memcpy(&value, address, sizeof(value));
  return value;
}

void LoadMatrices(uint32_t (&out)[4], const void* shared_row) {
  CheckAligned("LoadMatrices", shared_row);
  emulator::DoTogether(Together::kLoadMatrices, &shared_row, sizeof(shared_row), out, sizeof(out),
                       [](Exchange& exchange) {
                         const MatrixRows rows = ReadRows(exchange);
                         for (int lane = 0; lane < 32; ++lane) {
                           for (int i = 0; i < 4; ++i) {
                             std::memcpy(&exchange.out[lane][4 * i], &rows.element[i][lane / 4][2 * (lane % 4)], 4);
                           }
                         }
                       });
}

void LoadMatricesTransposed(uint32_t (&out)[4], const void* shared_row) {
  CheckAligned("LoadMatricesTransposed", shared_row);
  emulator::DoTogether(
      Together::kLoadMatricesTransposed, &shared_row, sizeof(shared_row), out, sizeof(out), [](Exchange& exchange) {
        const MatrixRows rows = ReadRows(exchange);
        for (int lane = 0; lane < 32; ++lane) {
          for (int i = 0; i < 4; ++i) {
            for (int j = 0; j < 2; ++j) {
              std::memcpy(&exchange.out[lane][4 * i + 2 * j], &rows.element[i][2 * (lane % 4) + j][lane / 4], 2);
            }
          }
        }
      });
}

template <>
void MultiplyAdd<Bf16>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  MultiplyTogether<Bf16>(Together::kMultiplyBf16, c, a, b);
}
template <>
void MultiplyAdd<Half>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  MultiplyTogether<Half>(Together::kMultiplyHalf, c, a, b);
}

}  // namespace cascade::kernels::cuda
