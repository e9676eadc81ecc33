// Speed of the forward pass over cascading caches, without server: prefill, decode, decode at depth and at any age,
// several sessions together. The counterpart of llama.cpp's llama-bench; one line per measurement, median and spread,
// and on CUDA the share of what the device allows, measured in the same process.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/model/llama.h"
#include "kernels/cpu_backend.h"
#include "kernels/cuda_backend.h"
#include "tests/benchmarks/bench_limits.h"
#include "tests/benchmarks/bench_options.h"
#include "tests/benchmarks/bench_report.h"
#include "tests/benchmarks/bench_sessions.h"
#include "tests/benchmarks/or_die.h"

namespace cascade::bench {
namespace {

// Steps before the timed ones: the pipeline fills, and a number of rows that is new is recorded.
constexpr int kLead = 8;

std::unique_ptr<kernels::Backend> OpenBackend(const BenchOptions& options, kernels::DeviceTrace& trace) {
  if (options.cuda()) {
    if (options.dtype != "auto" && options.dtype != "bfloat16" && options.dtype != "float16") {
      Check(absl::InvalidArgumentError("--dtype: CUDA has bfloat16 and float16"));
    }
    const kernels::DType compute = options.dtype == "float16" ? kernels::DType::kF16 : kernels::DType::kBF16;
    return OrDie(kernels::CreateCudaBackend({.compute = compute,
                                             .deterministic = options.deterministic,
                                             .trace = options.trace ? &trace : nullptr,
                                             .score_kernel = kernels::ScoreKernelOf(options.score_kernel)}));
  }
  if (options.dtype == "bfloat16" || options.dtype == "float16") {
    Check(absl::InvalidArgumentError("--dtype: the CPU has int8, int16 and float32"));
  }
  const kernels::Activations activations = options.dtype == "int8"      ? kernels::Activations::kInt8
                                           : options.dtype == "float32" ? kernels::Activations::kFloat32
                                                                        : kernels::Activations::kInt16;
  return OrDie(kernels::CreateCpuBackend({options.threads, activations}));
}

// Measures one thing after the other on the same model and slots.
class Bench {
 public:
  Bench(const BenchOptions& options, Llama& model, const CascadeGeometry& geometry, const ModelCosts& costs,
        const std::optional<kernels::DeviceCeilings>& ceilings, kernels::DeviceTrace& trace)
      : options_(options), model_(model), geometry_(geometry), costs_(costs), ceilings_(ceilings), trace_(trace) {}

  std::vector<Measurement> MeasureAll() {
    Fresh().Prefill(64);  // touches the weights
    FillIdle();
    for (const int64_t tokens : options_.prompt) MeasurePrefill(tokens);
    if (options_.generate == 0) return std::move(measurements_);
    for (const int64_t depth : options_.depth) {
      std::string name = "decode " + std::to_string(options_.generate);
      if (depth > 0) name += " at depth " + std::to_string(depth);
      MeasureDecode(name, [&](Sessions& sessions) { sessions.Prefill(depth); });
    }
    if (!options_.ages.empty()) {
      Fresh().Prefill(options_.fill >= 0 ? options_.fill : geometry_.slots());
      for (const int64_t age : options_.ages) {
        MeasureDecode("decode " + std::to_string(options_.generate) + " at age " + std::to_string(age),
                      [&](Sessions& sessions) { sessions.PretendSeen(age); });
      }
    }
    return std::move(measurements_);
  }

 private:
  Sessions Fresh() const { return Sessions(model_, geometry_, 0, options_.batch, options_.max_rows); }

  void FillIdle() {
    if (options_.idle == 0) return;
    const int64_t tokens = options_.fill >= 0 ? options_.fill : geometry_.slots();
    Sessions(model_, geometry_, options_.batch, options_.idle, options_.max_rows).Prefill(tokens);
  }

  void MeasurePrefill(int64_t tokens) {
    Measurement m{"prefill " + std::to_string(tokens), {}};
    for (int r = 0; r < options_.repetitions; ++r) m.repetitions.push_back(Fresh().Prefill(tokens));
    if (ceilings_) m.limit_seconds = PrefillLimitSeconds(costs_, m.repetitions.front().totals, *ceilings_);
    measurements_.push_back(std::move(m));
  }

  void MeasureDecode(const std::string& name, const std::function<void(Sessions&)>& prepare) {
    Measurement m{name, {}};
    kernels::DeviceTrace whole;
    for (int r = 0; r < options_.repetitions; ++r) {
      Sessions sessions = Fresh();
      prepare(sessions);
      m.repetitions.push_back(sessions.Decode(kLead, options_.generate, [&] { trace_ = {}; }));
      whole.busy_seconds += trace_.busy_seconds;
      whole.idle_seconds += trace_.idle_seconds;
    }
    const double seconds = whole.busy_seconds + whole.idle_seconds;
    if (seconds > 0) m.idle_share = whole.idle_seconds / seconds;
    const StepTotals& totals = m.repetitions.front().totals;
    m.stride_fill = static_cast<double>(totals.open_tokens) / static_cast<double>(totals.rows) / geometry_.stride;
    if (ceilings_) m.limit_seconds = DecodeLimitSeconds(costs_, totals, *ceilings_);
    measurements_.push_back(std::move(m));
  }

  const BenchOptions& options_;
  Llama& model_;
  const CascadeGeometry& geometry_;
  const ModelCosts& costs_;
  const std::optional<kernels::DeviceCeilings>& ceilings_;
  kernels::DeviceTrace& trace_;
  std::vector<Measurement> measurements_;
};

int Main(int argc, char** argv) {
  BenchOptions options;
  if (const auto exit = ParseBenchOptions(argc, argv, options); exit.has_value()) return *exit;
  const auto random = options.cuda() ? RandomWeights::kOnDevice : RandomWeights::kInHost;
  const std::unique_ptr<ModelSource> source = OrDie(OpenModel(options.model, random));
  const CascadeGeometry geometry = OrDie(MakeModelGeometry(options.geometry, source->config()));
  const bool wide = !options.cuda() && options.dtype == "float32";
  const kernels::DType kv_type = options.cuda() ? kernels::DType::kBF16
                                 : wide         ? kernels::DType::kF32
                                                : kernels::DType::kF16;
  std::optional<kernels::DeviceCeilings> ceilings;
  ModelCosts costs;
  if (options.cuda()) {  // before the device's memory is full
    ceilings = OrDie(kernels::MeasureCudaCeilings());
    costs = CostsOf(*source, kv_type);
  }
  kernels::DeviceTrace trace;
  const std::unique_ptr<kernels::Backend> backend = OpenBackend(options, trace);
  const std::unique_ptr<Llama> model = OrDie(Llama::Load(*source, options.max_rows, *backend));
  Check(model->CreateCaches(geometry, kv_type, options.batch + options.idle));

  const std::string setup = source->config().name + "; " + backend->Description() + "; " + geometry.ToString();
  const std::vector<Measurement> measurements = Bench(options, *model, geometry, costs, ceilings, trace).MeasureAll();
  (options.json ? PrintJson : PrintTable)(options, setup, ceilings, measurements);
  return 0;
}

}  // namespace
}  // namespace cascade::bench

int main(int argc, char** argv) { return cascade::bench::Main(argc, argv); }
