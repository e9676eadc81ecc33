#include "tests/benchmarks/sessions/session_options.h"

#include <algorithm>

#include "CLI/CLI.hpp"

namespace cascade::bench {

bool SessionOptions::Wants(const std::string& section) const {
  return sections.empty() || std::find(sections.begin(), sections.end(), section) != sections.end();
}

std::optional<int> ParseSessionOptions(int argc, char** argv, SessionOptions& options) {
  CLI::App app(
      "What keeping sessions costs, beside what plain calls take for the same bytes. image-bytes, commits, start and "
      "recovery use a model without arithmetic whose slots have the size of --model's, parking and neighbours --model "
      "itself.");
  app.add_option("SECTION", options.sections, "all of them, or: image-bytes commits start recovery parking neighbours")
      ->check(CLI::IsMember({"image-bytes", "commits", "start", "recovery", "parking", "neighbours"}));
  app.add_option("--model", options.model, "GGUF file, folder, or random:llama-3.1-8b (random:SHAPE:TYPE)")->required();
  app.add_option("--device", options.device)->check(CLI::IsMember({"cpu", "cuda"}))->capture_default_str();
  app.add_option("--threads", options.threads, "cpu; 0: one per hardware thread")->check(CLI::Range(0, 1024));
  options.geometry.cache_tokens = 1024;
  app.add_option("--cache-tokens", options.geometry.cache_tokens, "C (default 1024)");
  app.add_option("--sub-caches", options.geometry.num_sub_caches, "N (default 4)");
  app.add_option("--stride", options.geometry.stride, "S (default: from the sub-caches)");
  app.add_option("--data-dir", options.data_dir, "an existing folder; what is made in it is removed again")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("--repetitions", options.repetitions, "parking: moves to and from host memory")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app.add_option("--disk-repetitions", options.disk_repetitions, "parking: moves to and from disk")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app.add_option("--rounds", options.rounds, "commits, start, recovery, neighbours")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--tokens", options.tokens, "image-bytes, recovery: of a long life")
      ->check(CLI::Range(int64_t{1000}, int64_t{1} << 40))
      ->capture_default_str();
  app.add_option("--seconds", options.seconds, "commits: of each configuration and round")->capture_default_str();
  app.add_option("--found", options.found, "start: sessions in the folder")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  app.add_option("--parked", options.parked, "neighbours: parked sessions")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app.add_option("--host-cache-bytes", options.host_cache_bytes, "neighbours: host memory for some of them")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--generate", options.generate, "neighbours: tokens that each active session writes in a round")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  return std::nullopt;
}

}  // namespace cascade::bench
