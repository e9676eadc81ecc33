// Attention of strides over a cascading cache on a CUDA device, its scores and closes included: one layer, without the
// rest of a model. What stride_attention_baselines.py measures without scores belongs beside it, in the same call.
//
// Per geometry: one stride over a full cache ("attend"), its close ("close"), and with --tokens a whole session from
// its first token on ("session"). One line each: median and range. FLOP: 4 d per query, head and key seen.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "engine/cache/cascade_geometry.h"
#include "engine/cache/cascade_plan.h"
#include "engine/model/llama.h"
#include "kernels/cuda_backend.h"
#include "tests/benchmarks/or_die.h"

namespace cascade::bench {
namespace {

struct Options {
  std::vector<int64_t> cache_tokens = {16384, 32768, 65536};
  std::vector<int64_t> sub_caches = {1, 4, 8};
  std::vector<int64_t> strides = {1024, 4096};
  std::vector<int64_t> tokens;  // of whole sessions
  std::string score_kernel = "auto";
  std::string inputs = "random";
  int kv_heads = 8, group = 4, head_dim = 128, layers = 4, repetitions = 21;
  float certificate_limit = kernels::CudaOptions{}.certificate_limit;
  bool deterministic = false;
};

constexpr int kInputSets = 4;

// Nearly normal: mean 0, variance 1; quick.
class Noise {
 public:
  explicit Noise(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 1) {}
  float Next() {
    float sum = 0;
    for (int i = 0; i < 2; ++i) {
      state_ ^= state_ << 13, state_ ^= state_ >> 7, state_ ^= state_ << 17;
      for (int part = 0; part < 4; ++part) sum += static_cast<float>(state_ >> (16 * part) & 0xFFFF);
    }
    return (sum / 65536.0f - 4.0f) * 1.2247449f;
  }

 private:
  uint64_t state_;
};

// "heavy": queries and sinks share a direction that positions hardly turn, and every 53rd token's key is three times as
// long, so that few keys take much of the attention.
class Layers {
 public:
  Layers(const Options& options, const CascadeGeometry& geometry, int layers)
      : options_(options), geometry_(geometry), layers_(layers), plan_(geometry) {
    backend_ = OrDie(kernels::CreateCudaBackend({.deterministic = options.deterministic,
                                                 .trace = &trace_,
                                                 .score_kernel = kernels::ScoreKernelOf(options.score_kernel),
                                                 .certificate_limit = options.certificate_limit}));
    const int64_t rows = geometry.stride, kv_width = int64_t{options.kv_heads} * options.head_dim;
    for (int set = 0; set < kInputSets; ++set) {
      for (const int64_t width : {kv_width * options.group, kv_width, kv_width}) {
        kernels::TensorView view = OrDie(backend_->Allocate(rows, width, kernels::Precision::kCompute));
        const int kind = static_cast<int>(inputs_.size()) % 3;
        Noise noise(static_cast<uint64_t>(set * 3 + kind));
        std::vector<float> values(static_cast<size_t>(rows * width));
        for (size_t i = 0; i < values.size(); ++i) {
          const int64_t row = static_cast<int64_t>(i) / width;
          const int element = static_cast<int>(i % options.head_dim);
          values[i] = noise.Next();
          if (options.inputs != "heavy") continue;
          if (kind == 0 && element % (options.head_dim / 2) >= options.head_dim * 3 / 8) values[i] += 1.5f;
          if (kind == 1 && row % 53 == 7) values[i] *= 3;
        }
        backend_->CopyFromHost(values, view);
        inputs_.push_back(view);
      }
    }
    out_ = OrDie(backend_->Allocate(rows, kv_width * options.group, kernels::Precision::kCompute));
    sinks_ = OrDie(backend_->Allocate(std::max(geometry.num_sinks, 1), kv_width, kernels::Precision::kCompute));
    std::vector<float> sinks(static_cast<size_t>(sinks_.rows * kv_width));
    Noise noise(99);
    for (size_t i = 0; i < sinks.size(); ++i) {
      sinks[i] = noise.Next();
      const int element = static_cast<int>(i % options.head_dim);
      if (options.inputs == "heavy" && element % (options.head_dim / 2) >= options.head_dim * 3 / 8) sinks[i] += 2;
    }
    backend_->CopyFromHost(sinks, sinks_);
    ModelConfig config;
    config.num_layers = layers;
    config.num_kv_heads = options.kv_heads;
    config.num_heads = options.kv_heads * options.group;
    config.head_dim = options.head_dim;
    for (int i = 0; i < options.head_dim / 2; ++i) {
      config.rope.frequency.push_back(std::pow(5e5, -2.0 * i / options.head_dim));
    }
    const kernels::CacheShape shape = MakeCacheShape(config, geometry, kernels::DType::kBF16);
    Check(backend_->CreateCaches(shape, 1, geometry.stride));
    ids_.assign(static_cast<size_t>(geometry.stride), 0);
  }

  const CascadePlan& plan() const { return plan_; }
  double keys_seen() const { return keys_seen_; }

  void Restart() {
    backend_->ClearSlot(0);
    plan_ = CascadePlan(geometry_);
  }

  // Device seconds of a step of the next slice, up to `most` rows, in all layers.
  double Step(bool append, bool attend, bool close, int most) {
    const int rows = std::min({plan_.TokensUntilCut(), geometry_.stride, most});
    const kernels::Slice slice = plan_.NextSlice(rows, segments_);
    keys_seen_ = 0;
    for (const kernels::Segment& segment : slice.segments) {
      keys_seen_ += static_cast<double>(segment.count) * rows;
      if (segment.grows) keys_seen_ += static_cast<double>(rows) * (rows - 1) / 2;
    }
    const size_t set = static_cast<size_t>(plan_.strides_closed() % kInputSets) * 3;
    const auto of = [rows](kernels::TensorView view) { return view.Rows(rows); };
    const std::vector<kernels::Slice> slices = {slice};
    trace_ = {};
    backend_->BeginStep({slices, std::span(ids_).first(static_cast<size_t>(rows)), {}});
    backend_->BeginOps(-1);
    for (int layer = 0; layer < layers_; ++layer) {
      if (append) backend_->AppendKv(layer, of(slice.sinks ? sinks_ : inputs_[set + 1]), of(inputs_[set + 2]));
      if (attend) backend_->Attend(layer, of(inputs_[set]), of(out_));
    }
    if (close) {
      plan_.Advance(rows);
      if (plan_.StrideIsFull()) {
        const std::vector<kernels::Close> closes = {plan_.CloseStride(moves_)};
        backend_->CloseStrides(closes);
      }
    }
    backend_->EndOps();
    backend_->EndStep();
    std::vector<int32_t> ignored;
    Check(backend_->WaitStep(ignored));
    return trace_.busy_seconds;
  }

 private:
  const Options& options_;
  const CascadeGeometry& geometry_;
  const int layers_;
  kernels::DeviceTrace trace_;
  std::unique_ptr<kernels::Backend> backend_;
  std::vector<kernels::TensorView> inputs_;  // [sets][q, k, v]
  kernels::TensorView out_, sinks_;
  CascadePlan plan_;
  std::vector<kernels::Segment> segments_;
  std::vector<kernels::CloseMove> moves_;
  std::vector<int32_t> ids_;
  double keys_seen_ = 0;
};

void Print(const std::string& what, std::vector<double> seconds, double flops) {
  std::sort(seconds.begin(), seconds.end());
  std::printf("%-52s %10.3f ms  (%.3f .. %.3f)", what.c_str(), seconds[seconds.size() / 2] * 1e3, seconds.front() * 1e3,
              seconds.back() * 1e3);
  if (flops > 0) std::printf("  %6.1f TFLOP/s", flops / seconds[seconds.size() / 2] * 1e-12);
  std::printf("\n");
  std::fflush(stdout);
}

void MeasureStride(const Options& options, const CascadeGeometry& geometry, const std::string& name) {
  Layers layers(options, geometry, options.layers);
  const int all = geometry.stride;
  while (layers.plan().tokens_resident() < geometry.num_sinks + geometry.cache_tokens())
    layers.Step(true, true, true, all);
  layers.Step(true, true, true, all);  // one more: rings have wrapped
  std::vector<double> attend, close;
  for (int repetition = 0; repetition < options.repetitions; ++repetition) {
    layers.Step(true, false, false, all);
    attend.push_back(layers.Step(false, true, false, all) / options.layers);
    close.push_back(layers.Step(false, false, true, all) / options.layers);
  }
  Print("attend " + name, attend, 4.0 * options.head_dim * options.kv_heads * options.group * layers.keys_seen());
  Print("close " + name, close, 0);
}

void MeasureSession(const Options& options, const CascadeGeometry& geometry, const std::string& name) {
  Layers layers(options, geometry, 1);
  std::vector<int64_t> ends = options.tokens;
  std::sort(ends.begin(), ends.end());
  for (int repetition = 0; repetition < 2; ++repetition) {  // the first one warms up
    layers.Restart();
    double seconds = 0;
    for (const int64_t end : ends) {
      while (layers.plan().tokens_seen() < end) {
        seconds += layers.Step(true, true, true,
                               static_cast<int>(std::min<int64_t>(end - layers.plan().tokens_seen(), 1 << 30)));
      }
      if (repetition == 1) Print("session " + std::to_string(end) + " tokens " + name, {seconds}, 0);
    }
  }
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Attention of strides over a cascading cache, on a CUDA device");
  app.add_option("--cache-tokens", options.cache_tokens, "C")->delimiter(',');
  app.add_option("--sub-caches", options.sub_caches, "N")->delimiter(',');
  app.add_option("--stride", options.strides, "S")->delimiter(',');
  app.add_option("--tokens", options.tokens, "lengths of whole sessions, one layer each")->delimiter(',');
  app.add_option("--score-kernel", options.score_kernel)->check(CLI::IsMember({"exact", "fast", "auto"}));
  app.add_option("--inputs", options.inputs)->check(CLI::IsMember({"random", "heavy"}));
  app.add_option("--kv-heads", options.kv_heads)->check(CLI::Range(1, 64));
  app.add_option("--group", options.group)->check(CLI::Range(1, 16));
  app.add_option("--head-dim", options.head_dim)->check(CLI::IsMember({64, 128, 256}));
  app.add_option("--layers", options.layers, "timed together")->check(CLI::Range(1, 64));
  app.add_option("--repetitions", options.repetitions)->check(CLI::Range(1, 1000));
  app.add_option("--certificate-limit", options.certificate_limit)->check(CLI::NonNegativeNumber);
  app.add_flag("--deterministic", options.deterministic, "the kernels for any device");
  CLI11_PARSE(app, argc, argv);
  for (const int64_t cache_tokens : options.cache_tokens) {
    for (const int64_t sub_caches : options.sub_caches) {
      for (const int64_t stride : options.strides) {
        const GeometryOptions asked = {.cache_tokens = cache_tokens, .num_sub_caches = sub_caches, .stride = stride};
        const absl::StatusOr<CascadeGeometry> geometry = MakeGeometry(asked, int64_t{1} << 40);
        std::string name = "C=" + std::to_string(cache_tokens) + " N=" + std::to_string(sub_caches) +
                           " S=" + std::to_string(stride) + " " + options.score_kernel;
        if (!geometry.ok()) {
          std::printf("%s: no such geometry: %s\n", name.c_str(), std::string(geometry.status().message()).c_str());
          continue;
        }
        if (options.tokens.empty()) {
          MeasureStride(options, *geometry, name);
        } else {
          MeasureSession(options, *geometry, name);
        }
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace cascade::bench

int main(int argc, char** argv) { return cascade::bench::Main(argc, argv); }
