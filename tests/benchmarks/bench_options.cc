#include "tests/benchmarks/bench_options.h"

#include <algorithm>

#include "CLI/CLI.hpp"

namespace cascade::bench {

std::optional<int> ParseBenchOptions(int argc, char** argv, BenchOptions& options) {
  CLI::App app(
      "Speed of the forward pass over cascading caches, without server: as many steps in flight as the engine has.");
  app.add_option("--model", options.model, "GGUF file, folder, or random:llama-3.1-8b (random:SHAPE:TYPE)")->required();
  app.add_option("--device", options.device)->check(CLI::IsMember({"cpu", "cuda"}))->capture_default_str();
  app.add_option("--dtype", options.dtype, "cpu: int8, int16 (auto), float32; cuda: bfloat16 (auto), float16")
      ->check(CLI::IsMember({"auto", "int8", "int16", "float32", "bfloat16", "float16"}));
  app.add_option("--threads", options.threads, "cpu; 0: one per hardware thread")->check(CLI::Range(0, 1024));
  app.add_flag("--deterministic", options.deterministic, "cuda: as the server's flag");
  app.add_option("--score-kernel", options.score_kernel, "cuda: as the server's flag")
      ->check(CLI::IsMember({"auto", "exact", "fast"}));

  options.geometry.cache_tokens = 1024;
  app.add_option("--cache-tokens", options.geometry.cache_tokens, "C (default 1024)");
  app.add_option("--sub-caches", options.geometry.num_sub_caches, "N (default 4)");
  app.add_option("--stride", options.geometry.stride, "S (default: from the sub-caches)");
  app.add_option("--sinks", options.geometry.num_sinks, "s (default 4)");
  app.add_option("--score-reduction", options.geometry.score_reduction)->check(CLI::IsMember({"mean", "max"}));

  app.add_option("--prompt", options.prompt, "measure the prefill of so many tokens; several allowed")->delimiter(',');
  app.add_option("--depth", options.depth, "measure decoding after reading so many tokens; several allowed")
      ->delimiter(',');
  app.add_option("--ages", options.ages,
                 "measure decoding of sessions that are said to have seen so many tokens; several allowed. The slots "
                 "hold what --fill tokens left there: the arithmetic is the same")
      ->delimiter(',');
  app.add_option("--fill", options.fill, "tokens that are read once before --ages (default: as many as a slot holds)");
  app.add_option("--generate", options.generate, "tokens of a decode measurement; 0: none (default 64)")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--batch", options.batch, "sessions decoded together (default 1)")->check(CLI::Range(1, 4096));
  app.add_option("--idle", options.idle, "further sessions that do nothing (default 0)")->check(CLI::Range(0, 65536));
  app.add_option("--max-rows", options.max_rows, "rows of a step (default: cpu 256, cuda 2048)")
      ->check(CLI::Range(1, 65536));
  app.add_option("--repetitions", options.repetitions, "(default 5)")->check(CLI::Range(1, 10000));
  app.add_flag("--trace", options.trace, "also where the time of decode steps goes, on host and device");
  app.add_flag("--json", options.json, "JSON instead of a table");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  if (options.depth.empty() && options.ages.empty()) options.depth = {0};
  if (options.max_rows == 0) options.max_rows = options.cuda() ? 2048 : 256;
  options.max_rows = std::max(options.max_rows, options.batch);
  return std::nullopt;
}

}  // namespace cascade::bench
