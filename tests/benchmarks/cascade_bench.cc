// Speed of the forward pass over cascading caches, without server or sampler: prefill, decode, decode at depth, several
// sessions together. The counterpart of llama.cpp's llama-bench; one line per measurement, median and spread.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "engine/cache/cascade_plan.h"
#include "engine/model/llama.h"
#include "kernels/cpu_backend.h"
#include "nlohmann/json.hpp"

namespace cascade {
namespace {

template <class T>
T OrDie(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return std::move(*value);
}

// `count` sessions in slots 0 .. count-1 that read and write the same ids, in steps of at most `max_rows` rows.
class Sessions {
 public:
  Sessions(Model& model, const CascadeGeometry& geometry, int count, int max_rows)
      : model_(model), max_rows_(max_rows), plans_(count, CascadePlan(geometry)), segments_(count), moves_(count) {
    for (int slot = 0; slot < count; ++slot) model.ClearSlot(slot);
  }

  // Each session reads `count` tokens. Logits of the last row of the last session, as a prompt's end wants them.
  void Prefill(int64_t count) {
    for (size_t slot = 0; slot < plans_.size(); ++slot) {
      for (int64_t left = count; left > 0;) {
        const int rows = static_cast<int>(std::min<int64_t>({left, plans_[slot].TokensUntilCut(), max_rows_}));
        ForwardBatch batch;
        AddSlice(batch, slot, rows);
        left -= rows;
        if (left == 0) batch.logit_rows = {rows - 1};
        Run(batch);
      }
    }
  }

  // Each session gets one token, all in one step, with the logits of every row.
  void DecodeStep() {
    ForwardBatch batch;
    for (size_t slot = 0; slot < plans_.size(); ++slot) {
      batch.logit_rows.push_back(static_cast<int32_t>(batch.ids.size()));
      AddSlice(batch, slot, 1);
    }
    Run(batch);
  }

 private:
  void AddSlice(ForwardBatch& batch, size_t slot, int rows) {
    CascadePlan& plan = plans_[slot];
    kernels::Slice slice = plan.NextSlice(rows, segments_[slot]);
    slice.slot = static_cast<int>(slot);
    slice.first_row = static_cast<int>(batch.ids.size());
    for (int row = 0; row < rows; ++row) {  // any ids will do, but not always the same
      const uint64_t token = static_cast<uint64_t>(slice.first_token + row);
      batch.ids.push_back(
          static_cast<int32_t>((token * 2654435761u >> 7) % static_cast<uint64_t>(model_.vocabulary())));
    }
    batch.slices.push_back(slice);
    plan.Advance(rows);
    if (plan.StrideIsFull()) {
      kernels::Close close = plan.CloseStride(moves_[slot]);
      close.slot = static_cast<int>(slot);
      batch.closes.push_back(close);
    }
  }

  void Run(const ForwardBatch& batch) {
    const absl::Status status = model_.Forward(batch, result_);
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", status.ToString().c_str());
      std::exit(1);
    }
  }

  Model& model_;
  const int max_rows_;
  std::vector<CascadePlan> plans_;
  std::vector<std::vector<kernels::Segment>> segments_;
  std::vector<std::vector<kernels::CloseMove>> moves_;
  ForwardResult result_;
};

double Seconds(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

struct Options {
  std::string model;
  int threads = 0;
  std::vector<int64_t> prompt;
  std::vector<int64_t> depth;
  int64_t generate = 64;
  int64_t cache_tokens = 1024;
  int batch = 1;
  int max_rows = 256;
  int repetitions = 5;
  std::string dtype = "int16";
  bool json = false;
};

struct Measurement {
  std::string name;
  std::vector<double> tokens_per_second;  // one per repetition
};

Measurement Measure(const std::string& name, int repetitions, const std::function<double()>& tokens_per_second) {
  Measurement measurement{name, {}};
  for (int r = 0; r < repetitions; ++r) measurement.tokens_per_second.push_back(tokens_per_second());
  std::sort(measurement.tokens_per_second.begin(), measurement.tokens_per_second.end());
  return measurement;
}

double Median(const std::vector<double>& sorted) {
  const size_t middle = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

std::vector<Measurement> MeasureAll(const Options& options, Model& model, const CascadeGeometry& geometry) {
  std::vector<Measurement> measurements;
  const auto fresh = [&] { return Sessions(model, geometry, options.batch, options.max_rows); };
  fresh().Prefill(64);  // touches the weights
  for (const int64_t tokens : options.prompt) {
    measurements.push_back(Measure("prefill " + std::to_string(tokens), options.repetitions, [&] {
      Sessions sessions = fresh();
      return static_cast<double>(tokens * options.batch) / Seconds([&] { sessions.Prefill(tokens); });
    }));
  }
  if (options.generate == 0) return measurements;
  for (const int64_t depth : options.depth) {
    std::string name = "decode " + std::to_string(options.generate);
    if (depth > 0) name += " at depth " + std::to_string(depth);
    measurements.push_back(Measure(name, options.repetitions, [&] {
      Sessions sessions = fresh();
      if (depth > 0) sessions.Prefill(depth);
      return static_cast<double>(options.generate * options.batch) / Seconds([&] {
               for (int64_t t = 0; t < options.generate; ++t) sessions.DecodeStep();
             });
    }));
  }
  return measurements;
}

void Print(const Options& options, const std::string& setup, const std::vector<Measurement>& measurements) {
  if (options.json) {
    nlohmann::ordered_json json = {
        {"setup", setup}, {"batch", options.batch}, {"measurements", nlohmann::json::array()}};
    for (const Measurement& m : measurements) {
      json["measurements"].push_back({{"name", m.name},
                                      {"median_tokens_per_second", Median(m.tokens_per_second)},
                                      {"tokens_per_second", m.tokens_per_second}});
    }
    std::printf("%s\n", json.dump(2).c_str());
    return;
  }
  std::printf("%s\n%d session%s, %d repetitions\n%-28s %12s %12s %12s\n", setup.c_str(), options.batch,
              options.batch == 1 ? "" : "s together", options.repetitions, "", "tokens/s", "lowest", "highest");
  for (const Measurement& m : measurements) {
    std::printf("%-28s %12.1f %12.1f %12.1f\n", m.name.c_str(), Median(m.tokens_per_second),
                m.tokens_per_second.front(), m.tokens_per_second.back());
  }
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Speed of the forward pass over cascading caches");
  app.add_option("--model", options.model, "GGUF file")->required();
  app.add_option("--threads", options.threads, "0: one per hardware thread")->check(CLI::Range(0, 1024));
  app.add_option("--prompt", options.prompt, "measure the prefill of so many tokens; several allowed");
  app.add_option("--depth", options.depth, "measure decoding after so many tokens; several allowed (default: 0)");
  app.add_option("--generate", options.generate, "tokens of a decode measurement; 0: none (default 64)")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--cache-tokens", options.cache_tokens, "C (default 1024)");
  app.add_option("--batch", options.batch, "sessions decoded together (default 1)")->check(CLI::Range(1, 4096));
  app.add_option("--max-rows", options.max_rows, "rows of a step (default 256)")->check(CLI::Range(1, 65536));
  app.add_option("--repetitions", options.repetitions, "(default 5)")->check(CLI::Range(1, 10000));
  app.add_option("--dtype", options.dtype, "int8, int16 or float32 activations")
      ->check(CLI::IsMember({"int8", "int16", "float32"}));
  app.add_flag("--json", options.json, "JSON instead of a table");
  CLI11_PARSE(app, argc, argv);
  if (options.depth.empty()) options.depth = {0};

  const std::unique_ptr<ModelSource> source = OrDie(OpenModel(options.model));
  const CascadeGeometry geometry =
      OrDie(MakeGeometry({.cache_tokens = options.cache_tokens}, source->config().max_positions));
  const std::unique_ptr<kernels::Backend> backend =
      OrDie(kernels::CreateCpuBackend({.num_threads = options.threads,
                                       .activations = options.dtype == "int8"    ? kernels::Activations::kInt8
                                                      : options.dtype == "int16" ? kernels::Activations::kInt16
                                                                                 : kernels::Activations::kFloat32}));
  const kernels::DType kv_type = options.dtype == "float32" ? kernels::DType::kF32 : kernels::DType::kF16;
  const int max_rows = std::max(options.max_rows, options.batch);
  const std::unique_ptr<Llama> llama =
      OrDie(Llama::Create(*source, geometry, kv_type, options.batch, max_rows, *backend));
  const std::string setup = source->config().name + "; " + backend->Description() + "; " + geometry.ToString();
  Print(options, setup, MeasureAll(options, *llama, geometry));
  return 0;
}

}  // namespace
}  // namespace cascade

int main(int argc, char** argv) { return cascade::Main(argc, argv); }
