// Linear layers in the shapes of SmolLM2-135M, alone and as the 30 layers of a forward pass, whose weights no cache
// holds; every type in two shapes; and packing. Arguments: rows of x, threads. GB/s counts the bytes of the weights, as
// files store them, once; GOP/s two operations per product.
#include <benchmark/benchmark.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/packed_weight.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/quantize.h"

namespace cascade::kernels {
namespace {

struct Shape {
  int64_t rows;
  int64_t cols;
};

std::string RandomBytes(DType type, Shape shape) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> row(shape.cols);
  for (float& value : row) value = uniform(random);
  const std::string packed_row = Quantize(type, row);
  std::string bytes;
  for (int64_t i = 0; i < shape.rows; ++i) bytes += packed_row;
  return bytes;
}

std::unique_ptr<PackedWeight> RandomWeight(DType type, Shape shape) {
  const std::string bytes = RandomBytes(type, shape);
  ThreadPool pool(2);
  auto weight = PackedWeight::Create({bytes.data(), type, shape.rows, shape.cols}, pool);
  CASCADE_CHECK(weight.ok());
  return *std::move(weight);
}

// One call of Linear: layers that share their input.
class Group {
 public:
  Group(DType type, std::vector<Shape> shapes, int64_t rows) : x_(rows * shapes[0].cols, 0.5f) {
    view_ = {x_.data(), DType::kF32, rows, shapes[0].cols};
    for (const Shape& shape : shapes) {
      weights_.push_back(RandomWeight(type, shape));
      outputs_.emplace_back(rows * shape.rows);
      layers_.push_back({weights_.back().get(), {outputs_.back().data(), shape.rows, false}});
      bytes_ += RowBytes(type, shape.cols) * shape.rows;
      operations_ += 2.0 * rows * shape.rows * shape.cols;
    }
  }
  void Run(Activations activations, LinearScratch& scratch, ThreadPool& pool) {
    CASCADE_CHECK(Linear(view_, layers_, activations, scratch, pool).ok());
  }
  double bytes() const { return bytes_; }
  double operations() const { return operations_; }

 private:
  std::vector<float> x_;
  TensorView view_;
  std::vector<std::unique_ptr<PackedWeight>> weights_;
  std::vector<std::vector<float>> outputs_;
  std::vector<LinearLayer> layers_;
  double bytes_ = 0;
  double operations_ = 0;
};

void RunGroups(benchmark::State& state, std::vector<Group>& groups, Activations activations) {
  ThreadPool pool(static_cast<int>(state.range(1)));
  LinearScratch scratch;
  double bytes = 0;
  double operations = 0;
  for (const Group& group : groups) {
    bytes += group.bytes();
    operations += group.operations();
  }
  for (auto _ : state) {
    for (Group& group : groups) group.Run(activations, scratch, pool);
  }
  using benchmark::Counter;
  state.counters["GB/s"] = Counter(bytes / 1e9, Counter::kIsIterationInvariantRate);
  state.counters["GOP/s"] = Counter(operations / 1e9, Counter::kIsIterationInvariantRate);
  state.counters["rows/s"] = Counter(static_cast<double>(state.range(0)), Counter::kIsIterationInvariantRate);
}

void One(benchmark::State& state, DType type, Shape shape, Activations activations) {
  std::vector<Group> groups;
  groups.emplace_back(type, std::vector<Shape>{shape}, state.range(0));
  RunGroups(state, groups, activations);
}

// The seven linear layers of each of 30 blocks.
void Layers(benchmark::State& state, DType type, Activations activations) {
  std::vector<Group> groups;
  for (int layer = 0; layer < 30; ++layer) {
    groups.emplace_back(type, std::vector<Shape>{{576, 576}, {192, 576}, {192, 576}}, state.range(0));
    groups.emplace_back(type, std::vector<Shape>{{576, 576}}, state.range(0));
    groups.emplace_back(type, std::vector<Shape>{{1536, 576}, {1536, 576}}, state.range(0));
    groups.emplace_back(type, std::vector<Shape>{{576, 1536}}, state.range(0));
  }
  RunGroups(state, groups, activations);
}

void Arguments(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgsProduct({{1, 8, 128}, {1, 2}})->UseRealTime()->Unit(benchmark::kMicrosecond);
}

BENCHMARK_CAPTURE(One, q4_1_576x576, DType::kQ4_1, Shape{576, 576}, Activations::kInt16)->Apply(Arguments);
BENCHMARK_CAPTURE(One, q4_1_192x576, DType::kQ4_1, Shape{192, 576}, Activations::kInt16)->Apply(Arguments);
BENCHMARK_CAPTURE(One, q4_1_1536x576, DType::kQ4_1, Shape{1536, 576}, Activations::kInt16)->Apply(Arguments);
BENCHMARK_CAPTURE(One, q4_1_576x1536, DType::kQ4_1, Shape{576, 1536}, Activations::kInt16)->Apply(Arguments);
BENCHMARK_CAPTURE(One, q8_0_49152x576, DType::kQ8_0, Shape{49152, 576}, Activations::kInt16)->Apply(Arguments);
BENCHMARK_CAPTURE(Layers, q4_1, DType::kQ4_1, Activations::kInt16)->Apply(Arguments);
BENCHMARK_CAPTURE(Layers, q4_1_int8, DType::kQ4_1, Activations::kInt8)->Apply(Arguments);
BENCHMARK_CAPTURE(Layers, q4_1_float32, DType::kQ4_1, Activations::kFloat32)->Apply(Arguments);
BENCHMARK_CAPTURE(Layers, bf16, DType::kBF16, Activations::kInt16)->Apply(Arguments);

// One shape in every type: `type/2048x2048/rows/threads`.
void RegisterTypes() {
  for (const Shape shape : {Shape{2048, 2048}, Shape{576, 1536}}) {
    for (int i = 0; i < kNumDTypes; ++i) {
      const DType type = static_cast<DType>(i);
      const std::string name =
          "Type/" + std::string(Name(type)) + "/" + std::to_string(shape.rows) + "x" + std::to_string(shape.cols);
      benchmark::RegisterBenchmark(name.c_str(), One, type, shape, Activations::kInt16)
          ->ArgsProduct({{1, 64}, {1, 2}})
          ->UseRealTime()
          ->Unit(benchmark::kMicrosecond);
    }
  }
}

// From a file's bytes, in memory, to a packed weight, whose memory is new each time.
void Pack(benchmark::State& state, DType type) {
  const Shape shape = {8192, 4096};
  const std::string bytes = RandomBytes(type, shape);
  ThreadPool pool(static_cast<int>(state.range(0)));
  for (auto _ : state) {
    auto weight = PackedWeight::Create({bytes.data(), type, shape.rows, shape.cols}, pool);
    CASCADE_CHECK(weight.ok());
  }
  state.counters["GB/s"] =
      benchmark::Counter(static_cast<double>(bytes.size()) / 1e9, benchmark::Counter::kIsIterationInvariantRate);
}

void RegisterPacking() {
  for (int i = 0; i < kNumDTypes; ++i) {
    const DType type = static_cast<DType>(i);
    benchmark::RegisterBenchmark(("Pack/" + std::string(Name(type))).c_str(), Pack, type)
        ->Arg(1)
        ->Arg(2)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
}

// An empty region: what a parallel op costs at least.
void Region(benchmark::State& state) {
  ThreadPool pool(static_cast<int>(state.range(0)));
  std::vector<int> touched(64);
  for (auto _ : state) pool.ParallelFor(8, [&](int64_t task, int) { benchmark::DoNotOptimize(touched[task] += 1); });
}
BENCHMARK(Region)->Arg(1)->Arg(2)->UseRealTime();

}  // namespace
}  // namespace cascade::kernels

int main(int argc, char** argv) {
  cascade::kernels::RegisterTypes();
  cascade::kernels::RegisterPacking();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
