// Linear layers on the GPU, in the five shapes of Llama-3.1-8B: linear_skinny and linear_tile beside cuBLAS, in GB/s of
// the weights as they are stored. A graph multiplies by copies of the matrix in turn, which together do not fit into
// the L2 cache. What the device reads at best is measured by the same program. Before anything is timed, results are
// compared with those of a kernel that adds products up plainly.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "kernels/base/check.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/linear_blas.h"
#include "kernels/cuda/linear_choice.h"
#include "kernels/cuda/linear_skinny.h"
#include "kernels/cuda/linear_tile.h"
#include "kernels/cuda/weight_random.h"
#include "kernels/cuda/weight_values.h"
#include "kernels/cuda_backend.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kMostRows = 64;
constexpr int kPromptRows = 4096;  // of a step that reads prompts; cuBLAS alone
constexpr int64_t kMostColumns = 14336;
constexpr int64_t kMostWeightRows = 128256;
constexpr size_t kWorkingSet = size_t{768} << 20;
constexpr int kRepetitions = 21;
constexpr int kGraphLaunches = 24;  // at least, so that the first one's start does not count

struct Shape {
  const char* name;
  std::vector<int64_t> rows;  // of the matrices in one launch
  int64_t cols;
};

// Grid: [weight rows / 8, rows], a warp per sum. worst: the largest error, in units of what rounding `out` explains.
template <WeightFormat format>
__global__ void CheckSums(const Bf16* x, DeviceWeight weight, const Bf16* out, int64_t out_stride, unsigned* worst) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * 8 + threadIdx.x / 32;
  const int64_t m = blockIdx.y;
  if (row >= weight.rows) return;
  float sum = 0, magnitude = 0;
  for (int64_t column = threadIdx.x % 32 * 8; column < weight.cols; column += 256) {
    float values[8];
    LoadEight<format>(weight, row, column, values);
    for (int i = 0; i < 8; ++i) {
      const float product = ToFloat(FromFloat<Bf16>(values[i])) * ToFloat(x[m * weight.cols + column + i]);
      sum += product;
      magnitude += fabsf(product);
    }
  }
  sum = WarpSum(sum);
  magnitude = WarpSum(magnitude);
  if (threadIdx.x % 32 != 0) return;
  const float error = fabsf(ToFloat(out[m * out_stride + row]) - sum);
  const float units = error / (fabsf(sum) * 0x1p-8f + magnitude * 4e-5f);
  atomicMax(worst, __float_as_uint(units == units ? units : INFINITY));
}

// Seconds of one of the `count` calls that `work` enqueues, median of many.
double Seconds(Stream& stream, int count, const std::function<void()>& work) {
  work();  // what is done once per shape
  stream.Synchronize("warm up");
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  stream.Check("graph", cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal));
  work();
  stream.Check("graph", cudaStreamEndCapture(stream.get(), &graph));
  if (stream.failed()) return 0;
  stream.Check("graph", cudaGraphInstantiate(&exec, graph, 0));
  cudaEvent_t begin = nullptr, end = nullptr;
  stream.Check("event", cudaEventCreate(&begin));
  stream.Check("event", cudaEventCreate(&end));
  std::vector<double> seconds;
  for (int i = -3; i < kRepetitions && !stream.failed(); ++i) {
    stream.Check("event", cudaEventRecord(begin, stream.get()));
    stream.Check("graph", cudaGraphLaunch(exec, stream.get()));
    stream.Check("event", cudaEventRecord(end, stream.get()));
    stream.Check("event", cudaEventSynchronize(end));
    float milliseconds = 0;
    if (!stream.failed()) stream.Check("event", cudaEventElapsedTime(&milliseconds, begin, end));
    if (i >= 0) seconds.push_back(milliseconds * 1e-3 / count);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  if (exec != nullptr) cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  if (seconds.empty()) return 0;
  std::nth_element(seconds.begin(), seconds.begin() + seconds.size() / 2, seconds.end());
  return seconds[seconds.size() / 2];
}

struct Benchmark {
  WeightFormat format;
  bool verify_only;
  double read_bytes_per_s;
  double flops;  // of the largest product that cuBLAS was asked for
  Stream& stream;
  LinearTile& tile;
  LinearBlas& blas;
  unsigned char* codes;   // a working set of them
  unsigned char* groups;  // of a quantised format
  float* x_full;
  float* gain;
  Bf16* x;
  Bf16* out;
  float* out_full;
  unsigned* worst;

  void Run(const Shape& shape);
  void RunPrompt(const Shape& shape);
  // Prints and returns seconds.
  double Report(const Shape& shape, int64_t rows, const char* kernel, size_t bytes, int copies, double blas_seconds,
                const std::function<void(int copy)>& call);
  void Check(const Shape& shape, int64_t rows, const char* kernel, const std::vector<DeviceWeight>& weights);
};

// Every matrix's results follow those of the one before it.
std::vector<LinearCall> Calls(const std::vector<DeviceWeight>& weights, int64_t rows, Bf16* out) {
  std::vector<LinearCall> calls;
  for (const DeviceWeight& weight : weights) {
    calls.push_back({.weight = &weight, .out = {out, DType::kBF16, rows, weight.rows}});
    out += rows * weight.rows;
  }
  return calls;
}

void Benchmark::Check(const Shape& shape, int64_t rows, const char* kernel, const std::vector<DeviceWeight>& weights) {
  stream.Fill("check", worst, 0, sizeof(unsigned));
  const Bf16* place = out;
  for (const DeviceWeight& weight : weights) {
    ForFormat(format, [&](auto constant) {
      stream.Launch(
          "check", CheckSums<decltype(constant)::value>,
          {.grid = dim3(static_cast<unsigned>((weight.rows + 7) / 8), static_cast<unsigned>(rows)), .block = dim3(256)},
          static_cast<const Bf16*>(x), weight, place, weight.rows, worst);
    });
    place += rows * weight.rows;
  }
  float units = 0;
  stream.CopyToHost("check", &units, worst, sizeof(units));
  stream.Synchronize("check");
  if (!(units <= 1.0f))
    std::printf("WRONG: %s, %s, M = %d: error of %g bounds\n", shape.name, kernel, static_cast<int>(rows), units);
}

double Benchmark::Report(const Shape& shape, int64_t rows, const char* kernel, size_t bytes, int copies,
                         double blas_seconds, const std::function<void(int copy)>& call) {
  const int launches = (kGraphLaunches + copies - 1) / copies * copies;
  const double seconds = Seconds(stream, launches, [&] {
    for (int i = 0; i < launches; ++i) call(i % copies);
  });
  const double rate = seconds > 0 ? static_cast<double>(bytes) / seconds : 0;
  std::printf("%-12s %4d  %-14s %9.2f us  %7.1f GB/s  %5.1f %%", shape.name, static_cast<int>(rows), kernel,
              seconds * 1e6, rate * 1e-9, 100 * rate / read_bytes_per_s);
  if (blas_seconds > 0 && seconds > 0) std::printf("  %5.2fx", blas_seconds / seconds);
  std::printf("\n");
  return seconds;
}

void Benchmark::Run(const Shape& shape) {
  const int64_t row_bytes = IsQuantised(format) ? shape.cols / (IsFourBit(format) ? 2 : 1) : 2 * shape.cols;
  const int64_t group_bytes =
      IsQuantised(format) ? shape.cols / GroupColumns(format) * (IsWide(format) ? 8 : 4) : 0;  // of a row
  int64_t all_rows = 0;
  for (const int64_t rows : shape.rows) all_rows += rows;
  const size_t bytes = static_cast<size_t>(all_rows * (row_bytes + group_bytes));
  const int copies = static_cast<int>(std::max<size_t>(1, kWorkingSet / bytes));
  // Of every copy: the matrices, and the one that they are together, for cuBLAS.
  std::vector<std::vector<DeviceWeight>> weights(copies);
  std::vector<DeviceWeight> together;
  int64_t at = 0;
  for (int copy = 0; copy < copies; ++copy) {
    for (int64_t rows : shape.rows) {
      DeviceWeight weight = {.format = format, .rows = rows, .cols = shape.cols, .row_bytes = row_bytes};
      weight.data = codes + at * row_bytes;
      if (IsQuantised(format)) weight.groups = groups + at * group_bytes;
      weights[copy].push_back(weight);
      at += rows;
    }
    DeviceWeight whole = weights[copy][0];
    whole.rows = all_rows;
    FillRandom(stream, whole, IsFourBit(format) ? CodeRange{0, 16} : CodeRange{-128, 256}, copy + 1);
    together.push_back(whole);
  }
  blas.Reserve(together[0]);

  for (const int64_t rows : {1, 2, 4, 8, 16, 32, 64}) {
    const TensorView view = {x, DType::kBF16, rows, shape.cols}, full = {x_full, DType::kF32, rows, shape.cols};
    const InputNorm norm = {.gain = gain, .eps = 1e-5f};
    std::vector<std::vector<LinearCall>> calls;
    for (const std::vector<DeviceWeight>& copy : weights) calls.push_back(Calls(copy, rows, out));
    const auto checked = [&](const char* kernel, const std::function<void(int copy)>& call) {
      stream.Fill("check", out, 0xFF, rows * all_rows * sizeof(Bf16));
      call(copies - 1);
      Check(shape, rows, kernel, weights[copies - 1]);
    };
    const auto run_blas = [&](int copy) {
      blas.Run(stream, view, {.weight = &together[copy], .out = {out_full, DType::kF32, rows, all_rows}});
    };
    const auto run_skinny = [&](int copy) { LinearSkinny(stream, view, calls[copy]); };
    const auto run_norm = [&](int copy) { NormLinearSkinny(stream, full, norm, DType::kBF16, calls[copy]); };
    const auto run_tile = [&](int copy) { tile.Run(stream, view, calls[copy]); };
    const bool skinny = rows <= kSkinnyRows;
    if (skinny) checked("skinny", run_skinny);
    checked("tile", run_tile);
    if (verify_only) continue;
    const double blas_seconds = Report(shape, rows, "cuBLAS", bytes, copies, 0, run_blas);
    if (skinny) {
      Report(shape, rows, "skinny", bytes, copies, blas_seconds, run_skinny);
      if (rows <= kFusedNormRows) Report(shape, rows, "norm + skinny", bytes, copies, blas_seconds, run_norm);
    }
    if (skinny && shape.rows.size() == 2) {
      const TensorView input = rows <= kFusedNormRows ? full : view;
      const InputNorm input_norm = rows <= kFusedNormRows ? norm : InputNorm{};
      Report(shape, rows, rows <= kFusedNormRows ? "norm + gated" : "gated", bytes, copies, blas_seconds,
             [&](int copy) {
               GatedLinearSkinny(stream, input, input_norm, weights[copy][0], weights[copy][1],
                                 {out, DType::kBF16, rows, shape.rows[0]});
             });
    }
    Report(shape, rows, "tile", bytes, copies, blas_seconds, run_tile);
  }
}

// Each matrix as it is multiplied when a prompt is read: in TFLOP/s.
void Benchmark::RunPrompt(const Shape& shape) {
  constexpr int kCopies = 4;
  const TensorView view = {x, DType::kBF16, kPromptRows, shape.cols};
  double seconds = 0, products = 0;
  for (const int64_t rows : shape.rows) {
    std::vector<DeviceWeight> weights;
    for (int copy = 0; copy < kCopies; ++copy) {
      DeviceWeight weight = {.format = format, .rows = rows, .cols = shape.cols, .row_bytes = 2 * shape.cols};
      weight.data = codes + copy * rows * weight.row_bytes;
      FillRandom(stream, weight, {}, copy + 1);
      weights.push_back(weight);
    }
    seconds += Seconds(stream, kCopies, [&] {
      for (const DeviceWeight& weight : weights) {
        blas.Run(stream, view, {.weight = &weight, .out = {out_full, DType::kF32, kPromptRows, rows}});
      }
    });
    products += 2.0 * kPromptRows * static_cast<double>(rows * shape.cols);
  }
  std::printf("%-12s %4d  %-14s %9.2f us  %7.1f TFLOP/s  %5.1f %%\n", shape.name, kPromptRows, "cuBLAS", seconds * 1e6,
              products / seconds * 1e-12, 100 * products / seconds / flops);
}

int Main(int argc, char** argv) {
  const std::map<std::string, WeightFormat> formats = {{"bf16", WeightFormat::kBf16},
                                                       {"half", WeightFormat::kHalf},
                                                       {"q4-32", WeightFormat::kQuant4Group32},
                                                       {"q4-32-wide", WeightFormat::kQuant4Group32Wide},
                                                       {"q8-32", WeightFormat::kQuant8Group32},
                                                       {"q8-32-wide", WeightFormat::kQuant8Group32Wide},
                                                       {"q4-16", WeightFormat::kQuant4Group16Wide},
                                                       {"q8-16", WeightFormat::kQuant8Group16Wide}};
  WeightFormat format = WeightFormat::kBf16;
  bool verify_only = false;
  CLI::App app("Linear layers on the GPU");
  app.add_option("--format", format, "of the weights")->transform(CLI::CheckedTransformer(formats));
  app.add_flag("--verify", verify_only, "only compare results");
  CLI11_PARSE(app, argc, argv);

  absl::StatusOr<std::unique_ptr<Stream>> created = Stream::Create();
  if (!created.ok()) {
    std::fprintf(stderr, "%s\n", created.status().ToString().c_str());
    return 1;
  }
  double read_bytes_per_s = 1, flops = 1;
  if (!verify_only) {
    const absl::StatusOr<DeviceCeilings> ceilings = MeasureCudaCeilings();
    CASCADE_CHECK(ceilings.ok());
    read_bytes_per_s = ceilings->read_bytes_per_s;
    flops = ceilings->bf16_flops;
    std::printf("%s reads %.1f GB/s\n", (*created)->traits().name.c_str(), read_bytes_per_s * 1e-9);
  }
  Stream& stream = **created;
  DeviceMemory memory;
  const auto tile = LinearTile::Create(stream, memory);
  const auto blas = LinearBlas::Create(stream, memory, DType::kBF16);
  CASCADE_CHECK(tile.ok() && blas.ok());
  const auto allocate = [&](size_t bytes) {
    absl::StatusOr<void*> block = memory.Allocate("the benchmark", bytes);
    CASCADE_CHECK(block.ok());
    return *block;
  };
  // One matrix more than the working set, should it be larger than that.
  const size_t room = kWorkingSet + static_cast<size_t>(kMostWeightRows) * 4096 * 2;
  Benchmark benchmark = {.format = format,
                         .verify_only = verify_only,
                         .read_bytes_per_s = read_bytes_per_s,
                         .flops = flops,
                         .stream = stream,
                         .tile = **tile,
                         .blas = **blas,
                         .codes = static_cast<unsigned char*>(allocate(room)),
                         .groups = static_cast<unsigned char*>(allocate(room)),
                         .x_full = static_cast<float*>(allocate(kMostRows * kMostColumns * 4)),
                         .gain = static_cast<float*>(allocate(kMostColumns * 4)),
                         .x = static_cast<Bf16*>(allocate(size_t{kPromptRows} * kMostColumns * 2)),
                         .out = static_cast<Bf16*>(allocate(kMostRows * kMostWeightRows * 2)),
                         .out_full = static_cast<float*>(allocate(size_t{kPromptRows} * kMostColumns * 4)),
                         .worst = static_cast<unsigned*>(allocate(sizeof(unsigned)))};
  const DeviceWeight x = {
      .rows = kPromptRows, .cols = kMostColumns, .data = benchmark.x, .row_bytes = 2 * kMostColumns};
  FillRandom(stream, x, {}, 99);
  FillOnes(stream, benchmark.gain, kMostColumns);
  FillOnes(stream, benchmark.x_full, kMostRows * kMostColumns);
  const Shape shapes[] = {{"qkv", {4096, 1024, 1024}, 4096},
                          {"o", {4096}, 4096},
                          {"gate + up", {14336, 14336}, 4096},
                          {"down", {4096}, 14336},
                          {"head", {kMostWeightRows}, 4096}};
  for (const Shape& shape : shapes) benchmark.Run(shape);
  if (!verify_only && format == WeightFormat::kBf16) {
    for (const Shape& shape : shapes) {
      if (shape.rows[0] != kMostWeightRows) benchmark.RunPrompt(shape);  // logits are wanted of few rows
    }
  }
  const absl::Status status = stream.TakeError();
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace cascade::kernels::cuda

int main(int argc, char** argv) { return cascade::kernels::cuda::Main(argc, argv); }
