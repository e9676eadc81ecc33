// The emulator of the CUDA device against what CUDA's documentation says, and that it finds the mistakes it should.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "kernels/cuda/device.h"
#include "kernels/cuda/stream.h"

namespace cascade::kernels::cuda {
namespace {

template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    EXPECT_EQ(cudaMemcpy(data_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice), cudaSuccess);
  }
  explicit DeviceArray(size_t count) : count_(count) { EXPECT_EQ(cudaMalloc(&data_, count * sizeof(T)), cudaSuccess); }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() { return data_; }
  std::vector<T> Read() {
    std::vector<T> values(count_);
    cudaDeviceSynchronize();
    EXPECT_EQ(cudaMemcpy(values.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
    return values;
  }

 private:
  T* data_ = nullptr;
  size_t count_;
};

class CudaEmulator : public testing::Test {
 protected:
  ~CudaEmulator() override { emulator::Heal(); }
  std::unique_ptr<Stream> stream_ = *Stream::Create();
};
using CudaEmulatorDeathTest = CudaEmulator;

TEST_F(CudaEmulator, HalfRoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const Half half{static_cast<uint16_t>(bits)};
    const float value = ToFloat(half);
    if ((bits & 0x7FFF) > 0x7C00) {
      ASSERT_TRUE(std::isnan(value));
      ASSERT_TRUE(std::isnan(ToFloat(FromFloat<Half>(value))));
      continue;
    }
    const int exponent = static_cast<int>(bits >> 10 & 31), mantissa = static_cast<int>(bits & 1023);
    const double magnitude = exponent == 0    ? std::ldexp(mantissa, -24)
                             : exponent == 31 ? INFINITY
                                              : std::ldexp(1024 + mantissa, exponent - 25);
    ASSERT_EQ(value, bits & 0x8000 ? -magnitude : magnitude);
    ASSERT_EQ(FromFloat<Half>(value).bits, bits);
    if ((bits & 0x7FFF) >= 0x7BFF) continue;
    // Between this one and the next, exactly and just beside the middle.
    const float next = ToFloat(Half{static_cast<uint16_t>(bits + 1)});
    const float middle = value + (next - value) / 2;
    ASSERT_EQ(FromFloat<Half>(middle).bits, bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(FromFloat<Half>(std::nextafter(middle, value)).bits, bits);
    ASSERT_EQ(FromFloat<Half>(std::nextafter(middle, next)).bits, bits + 1);
  }
  EXPECT_EQ(FromFloat<Half>(65519.0f).bits, 0x7BFF);
  EXPECT_EQ(FromFloat<Half>(65520.0f).bits, 0x7C00);
  EXPECT_EQ(FromFloat<Half>(-1e30f).bits, 0xFC00);
}

TEST_F(CudaEmulator, Bf16RoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = ToFloat(Bf16{static_cast<uint16_t>(bits)});
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(ToFloat(FromFloat<Bf16>(value))));
      continue;
    }
    ASSERT_EQ(FromFloat<Bf16>(value).bits, bits);
    if (!std::isfinite(value)) continue;
    const float middle = std::bit_cast<float>(bits << 16 | 0x8000);
    ASSERT_EQ(FromFloat<Bf16>(middle).bits, bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(FromFloat<Bf16>(std::bit_cast<float>(bits << 16 | 0x7FFF)).bits, bits);
    ASSERT_EQ(FromFloat<Bf16>(std::bit_cast<float>(bits << 16 | 0x8001)).bits, bits + 1);
  }
  EXPECT_EQ(Pack<Bf16>(1.0f, -2.0f), 0xC0003F80u);
  EXPECT_EQ(Unpack<Bf16>(0xC0003F80u).y, -2.0f);
  EXPECT_EQ(Pack<Half>(1.0f, -2.0f), 0xC0003C00u);
  EXPECT_EQ(Unpack<Half>(0xC0003C00u).y, -2.0f);
}

// One warp.
__global__ void WarpKernel(int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  out[lane] = ShuffleXor(lane, 5);
  out[32 + lane] = ShuffleDown(lane, 3);
  out[64 + lane] = ShuffleUp(lane, 3);
  out[96 + lane] = Shuffle(lane * 10, (lane + 1) % 32);
  out[128 + lane] = static_cast<int>(Ballot(lane % 3 == 0));
  out[160 + lane] = static_cast<int>(WarpSum(static_cast<float>(lane)));
  out[192 + lane] = static_cast<int>(WarpMax(static_cast<float>((lane * 7) % 32)));
}

TEST_F(CudaEmulator, WarpFunctions) {
  DeviceArray<int> out(224);
  stream_->Launch("warp", WarpKernel, {.grid = 1, .block = 32}, out.data());
  const std::vector<int> got = out.Read();
  for (int lane = 0; lane < 32; ++lane) {
    EXPECT_EQ(got[lane], lane ^ 5);
    EXPECT_EQ(got[32 + lane], lane < 29 ? lane + 3 : lane);
    EXPECT_EQ(got[64 + lane], lane < 3 ? lane : lane - 3);
    EXPECT_EQ(got[96 + lane], (lane + 1) % 32 * 10);
    EXPECT_EQ(got[128 + lane], 0x49249249);
    EXPECT_EQ(got[160 + lane], 496);
    EXPECT_EQ(got[192 + lane], 31);
  }
}

// c [16, 8] = a [16, 16] b [16, 8], in one warp. b is stored by columns, [8][16]; or, kByRows, by rows.
template <class T, bool kByRows>
__global__ void ProductKernel(const T* a, const T* b, float* c) {
  __shared__ __align__(16) T tile_a[16][16];
  __shared__ __align__(16) T tile_b[16 * 16];
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 256; i += 32) tile_a[i / 16][i % 16] = a[i];
  for (int i = lane; i < 256; i += 32) tile_b[i] = i < 128 ? b[i] : FromFloat<T>(0);
  SyncWarp();
  uint32_t fragment_a[4], fragment_b[4];
  LoadMatrices(fragment_a, &tile_a[lane % 16][lane / 16 * 8]);
  if (kByRows) {
    LoadMatricesTransposed(fragment_b, &tile_b[(lane % 16) * 8]);
  } else {
    LoadMatrices(fragment_b, &tile_b[(lane % 8) * 16 + lane / 8 % 2 * 8]);
  }
  float sum[4] = {1, 1, 1, 1};
  const uint32_t part_b[2] = {fragment_b[0], fragment_b[1]};
  MultiplyAdd<T>(sum, fragment_a, part_b);
  const int g = lane / 4, t = lane % 4;
  c[g * 8 + 2 * t] = sum[0];
  c[g * 8 + 2 * t + 1] = sum[1];
  c[(g + 8) * 8 + 2 * t] = sum[2];
  c[(g + 8) * 8 + 2 * t + 1] = sum[3];
}

template <class T, bool kByRows>
void ExpectProduct(Stream& stream) {
  std::mt19937 random(3);
  std::vector<T> a(256), b(128);
  for (T& x : a) x = FromFloat<T>(static_cast<float>(random() % 17) - 8);
  for (T& x : b) x = FromFloat<T>(static_cast<float>(random() % 17) - 8);
  DeviceArray<T> device_a(a), device_b(b);
  DeviceArray<float> c(128);
  stream.Launch("product", ProductKernel<T, kByRows>, {.grid = 1, .block = 32}, device_a.data(), device_b.data(),
                c.data());
  const std::vector<float> got = c.Read();
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 8; ++n) {
      float sum = 1;
      for (int k = 0; k < 16; ++k) sum += ToFloat(a[m * 16 + k]) * ToFloat(b[kByRows ? k * 8 + n : n * 16 + k]);
      ASSERT_EQ(got[m * 8 + n], sum) << m << ", " << n;
    }
  }
}

TEST_F(CudaEmulator, MatricesMultiply) {
  ExpectProduct<Bf16, false>(*stream_);
  ExpectProduct<Bf16, true>(*stream_);
  ExpectProduct<Half, false>(*stream_);
  ExpectProduct<Half, true>(*stream_);
}

// Four blocks of two warps that hand values to each other and add all.
__global__ void BarrierKernel(int rounds, int* out, int* total) {
  __shared__ int value[64];
  const int thread = static_cast<int>(threadIdx.x);
  int mine = thread;
  for (int i = 0; i < rounds; ++i) {
    value[thread] = mine;
    if (i % 2 == 0) {
      SyncBlock();
    } else {
      SyncThreads(1 + i % 15, 64);
    }
    mine = value[(thread + 33) % 64] + 1;
    SyncBlock();
  }
  out[blockIdx.x * 64 + threadIdx.x] = mine;
  atomicAdd(total, mine);
}

TEST_F(CudaEmulator, Barriers) {
  constexpr int kRounds = 7;
  DeviceArray<int> out(256), total(std::vector<int>{0});
  stream_->Launch("barriers", BarrierKernel, {.grid = 4, .block = 64}, kRounds, out.data(), total.data());
  const std::vector<int> got = out.Read();
  for (int i = 0; i < 256; ++i) EXPECT_EQ(got[i], (i % 64 + 33 * kRounds) % 64 + kRounds);
  EXPECT_EQ(total.Read()[0], 4 * (63 * 32 + 64 * kRounds));
}

// Warp 0 waits with warp 1 and then with warp 2, which do not wait for each other. The named barriers of one block.
__global__ void PairsKernel(int* out) {
  __shared__ int value[3];
  const int warp = static_cast<int>(threadIdx.x / 32);
  if (warp == 0) {
    SyncThreads(1, 64);
    if (threadIdx.x == 0) value[0] = value[1] + 1;
    SyncThreads(2, 64);
  } else if (warp == 1) {
    if (threadIdx.x == 32) value[1] = 40;
    SyncThreads(1, 64);
  } else {
    SyncThreads(2, 64);
    if (threadIdx.x == 64) *out = value[0];
  }
}

TEST_F(CudaEmulator, NamedBarriersJoinTheirThreadsOnly) {
  DeviceArray<int> out(1);
  stream_->Launch("pairs", PairsKernel, {.grid = 2, .block = 96}, out.data());
  EXPECT_EQ(out.Read()[0], 41);
}

// One warp. Each lane copies 16 bytes twice, in two groups; a third copy has no source.
__global__ void CopyKernel(const float* in, float* out) {
  auto* const shared = reinterpret_cast<float*>(SharedMemory());
  const int lane = static_cast<int>(threadIdx.x);
  CopyAsync16(shared + 4 * lane, in + 4 * lane);
  CommitCopies();
  CopyAsync16(shared + 128 + 4 * lane, in + 128 + 4 * lane);
  CopyAsync16(shared + 256 + 4 * lane, nullptr, false);
  CommitCopies();
  SyncBlock();
  out[lane] = shared[4 * lane];
  WaitCopies<1>();
  SyncBlock();
  out[32 + lane] = shared[(4 * lane + 4) % 128];
  out[64 + lane] = shared[128 + 4 * lane];
  WaitCopies<0>();
  SyncBlock();
  out[96 + lane] = shared[128 + (4 * lane + 5) % 128];
  out[128 + lane] = shared[256 + 4 * lane];
}

TEST_F(CudaEmulator, AsynchronousCopiesAreThereAfterTheWait) {
  std::vector<float> in(256);
  for (int i = 0; i < 256; ++i) in[i] = static_cast<float>(i);
  DeviceArray<float> device_in(in), out(160);
  stream_->Launch("copies", CopyKernel, {.grid = 1, .block = 32, .shared_bytes = 384 * 4}, device_in.data(),
                  out.data());
  const std::vector<float> got = out.Read();
  for (int lane = 0; lane < 32; ++lane) {
    EXPECT_TRUE(std::isnan(got[lane]));
    EXPECT_EQ(got[32 + lane], static_cast<float>((4 * lane + 4) % 128));
    EXPECT_TRUE(std::isnan(got[64 + lane]));
    EXPECT_EQ(got[96 + lane], 128.0f + static_cast<float>((4 * lane + 5) % 128));
    EXPECT_EQ(got[128 + lane], 0.0f);
  }
}

// One thread per block leaves what it finds in shared memory, and a mark.
__global__ void PoisonKernel(float* out) {
  __shared__ float fixed[4];
  auto* const dynamic = reinterpret_cast<float*>(SharedMemory());
  out[blockIdx.x] = fixed[1] + dynamic[0];
  fixed[1] = 1;
  dynamic[0] = 2;
}

TEST_F(CudaEmulator, FreshMemoryIsNotANumber) {
  DeviceArray<float> out(3);
  for (const float x : out.Read()) EXPECT_TRUE(std::isnan(x));
  stream_->Fill("fill", out.data(), 0, 12);
  stream_->Launch("poison", PoisonKernel, {.grid = 3, .block = 1, .shared_bytes = 4}, out.data());
  for (const float x : out.Read()) EXPECT_TRUE(std::isnan(x));
}

// One thread.
__global__ void AddKernel(float* x, float y) { *x += y; }

TEST_F(CudaEmulator, WorkWaitsUntilItIsWaitedFor) {
  DeviceArray<float> x(std::vector<float>{1});
  float* pinned;
  ASSERT_EQ(cudaMallocHost(&pinned, sizeof(float)), cudaSuccess);
  cudaEvent_t event;
  ASSERT_EQ(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
  EXPECT_TRUE(std::isnan(*pinned));
  stream_->Launch("add", AddKernel, {.grid = 1, .block = 1}, x.data(), 2.0f);
  stream_->CopyToHost("copy", pinned, x.data(), sizeof(float));
  ASSERT_EQ(cudaEventRecord(event, stream_->get()), cudaSuccess);
  stream_->Launch("add", AddKernel, {.grid = 1, .block = 1}, x.data(), 4.0f);
  EXPECT_TRUE(std::isnan(*pinned));
  EXPECT_EQ(cudaEventSynchronize(event), cudaSuccess);
  EXPECT_EQ(*pinned, 3.0f);
  const int64_t launches = emulator::Launches();
  while (cudaStreamQuery(stream_->get()) == cudaErrorNotReady) {
  }
  EXPECT_EQ(emulator::Launches(), launches + 1);
  EXPECT_EQ(x.Read()[0], 7.0f);
  cudaEventDestroy(event);
  cudaFreeHost(pinned);
}

TEST_F(CudaEmulator, GraphsReplay) {
  DeviceArray<float> x(std::vector<float>{1}), y(std::vector<float>{0});
  ASSERT_EQ(cudaStreamBeginCapture(stream_->get(), cudaStreamCaptureModeThreadLocal), cudaSuccess);
  stream_->Launch("add", AddKernel, {.grid = 1, .block = 1}, x.data(), 2.0f);
  stream_->Check("copy", cudaMemcpyAsync(y.data(), x.data(), 4, cudaMemcpyDeviceToDevice, stream_->get()));
  cudaGraph_t graph;
  ASSERT_EQ(cudaStreamEndCapture(stream_->get(), &graph), cudaSuccess);
  cudaGraphExec_t exec;
  ASSERT_EQ(cudaGraphInstantiate(&exec, graph), cudaSuccess);
  cudaGraphDestroy(graph);
  EXPECT_EQ(x.Read()[0], 1.0f);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(cudaGraphLaunch(exec, stream_->get()), cudaSuccess);
  EXPECT_EQ(x.Read()[0], 7.0f);
  EXPECT_EQ(y.Read()[0], 7.0f);
  cudaGraphExecDestroy(exec);
}

TEST_F(CudaEmulator, CapturesForbidWaiting) {
  ASSERT_EQ(cudaStreamBeginCapture(stream_->get(), cudaStreamCaptureModeGlobal), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream_->get()), cudaErrorStreamCaptureUnsupported);
  cudaGraph_t graph;
  EXPECT_EQ(cudaStreamEndCapture(stream_->get(), &graph), cudaErrorStreamCaptureInvalidated);
}

TEST_F(CudaEmulator, RefusesWhatADeviceRefuses) {
  DeviceArray<float> x(1);
  stream_->Launch("large", AddKernel, {.grid = 1, .block = 1025}, x.data(), 1.0f);
  EXPECT_EQ(stream_->TakeError().message(), "large: invalid configuration argument");
  cudaLaunchConfig_t config = {1, 1, 60 << 10, stream_->get(), nullptr, 0};
  EXPECT_EQ(cudaLaunchKernelEx(&config, AddKernel, x.data(), 1.0f), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFuncSetAttribute(AddKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 1 << 20),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaFuncSetAttribute(AddKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 60 << 10), cudaSuccess);
  EXPECT_EQ(cudaLaunchKernelEx(&config, AddKernel, x.data(), 1.0f), cudaSuccess);
  float host[2] = {};
  EXPECT_EQ(cudaMemcpy(x.data(), host, 8, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  void* memory;
  EXPECT_EQ(cudaMalloc(&memory, emulator::device().memory_bytes), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST_F(CudaEmulator, CallsFailWhenAsked) {
  DeviceArray<float> x(std::vector<float>{1});
  emulator::FailAfter(3, cudaErrorLaunchFailure, false);  // a kernel's first launch is two calls
  stream_->Launch("first", AddKernel, {.grid = 1, .block = 1}, x.data(), 2.0f);
  stream_->Launch("second", AddKernel, {.grid = 1, .block = 1}, x.data(), 4.0f);
  EXPECT_EQ(stream_->TakeError(), absl::InternalError("second: unspecified launch failure"));
  EXPECT_EQ(x.Read()[0], 3.0f);
  emulator::FailAfter(1, cudaErrorECCUncorrectable, true);
  stream_->Launch("third", AddKernel, {.grid = 1, .block = 1}, x.data(), 2.0f);
  const absl::Status lost = absl::DataLossError("third: uncorrectable ECC error encountered");
  EXPECT_EQ(stream_->TakeError(), lost);
  EXPECT_EQ(stream_->TakeError(), lost);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorECCUncorrectable);
}

// Mistakes, one for each number. One block of 64 threads.
__global__ void MistakeKernel(int mistake, float* x, int n) {
  switch (mistake) {
    case 0:
      if (threadIdx.x != 40) SyncBlock();
      break;
    case 1:
      if (threadIdx.x != 40) SyncWarp();
      break;
    case 2:
      if (threadIdx.x % 2 == 0) {
        SyncWarp();
      } else {
        Ballot(true);
      }
      break;
    case 3:
      SharedMemory()[n] = 0;
      break;
    case 4:
      x[n] = 0;
      break;
    case 5:
      CopyAsync16(SharedMemory() + 4, x);
      break;
    case 6:
      CopyAsync16(x, x);
      break;
    case 7:
      SyncThreads(1, 48);
      break;
    default:
      break;
  }
}

TEST_F(CudaEmulatorDeathTest, FindsMistakes) {
  constexpr const char* kReports[] = {"thread 40 on: ended",
                                      "thread 40 on: ended",
                                      "calls .* while lanes of its warp wait in",
                                      "shared memory",
                                      "bytes behind an allocation of 32 bytes",
                                      "not 16-byte aligned",
                                      "not in shared memory",
                                      "barrier 1 of 48 threads"};
  for (int mistake = 0; mistake < 8; ++mistake) {
    const auto run = [&] {
      DeviceArray<float> x(8);
      stream_->Launch("mistake", MistakeKernel, {.grid = 1, .block = 64, .shared_bytes = 100}, mistake, x.data(),
                      mistake == 3 ? 100 : 8);
      stream_->Synchronize("mistake");
    };
    EXPECT_DEATH(run(), kReports[mistake]) << mistake;
  }
}

}  // namespace
}  // namespace cascade::kernels::cuda
