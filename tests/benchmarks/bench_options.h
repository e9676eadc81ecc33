// What cascade_bench measures, from its command line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/cache/cascade_geometry.h"

namespace cascade::bench {

struct BenchOptions {
  std::string model;
  std::string device = "cpu";
  std::string dtype = "auto";
  int threads = 0;
  bool deterministic = false;
  std::string score_kernel = "auto";
  GeometryOptions geometry;
  std::vector<int64_t> prompt;
  std::vector<int64_t> depth;
  std::vector<int64_t> ages;
  int64_t fill = -1;
  int64_t generate = 64;
  int batch = 1;
  int idle = 0;
  int max_rows = 0;
  int repetitions = 5;
  bool trace = false;
  bool json = false;

  bool cuda() const { return device == "cuda"; }
};

// Exit code: leave with it, what there was to say is said.
std::optional<int> ParseBenchOptions(int argc, char** argv, BenchOptions& options);

}  // namespace cascade::bench
