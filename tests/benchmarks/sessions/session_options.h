// What session_bench measures, from its command line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/cache/cascade_geometry.h"

namespace cascade::bench {

struct SessionOptions {
  std::vector<std::string> sections;  // empty: all
  std::string model;
  std::string device = "cpu";
  int threads = 0;
  GeometryOptions geometry;
  std::string data_dir;  // where the program makes and removes folders of its own
  int repetitions = 20;
  int disk_repetitions = 20;
  int rounds = 7;            // of sections that run several configurations in turn
  int64_t tokens = 1000000;  // of a long life
  int parked = 500;
  int found = 10000;
  int64_t host_cache_bytes = int64_t{2} << 30;
  int generate = 192;
  double seconds = 2;  // of one configuration of `commits`

  bool cuda() const { return device == "cuda"; }
  bool Wants(const std::string& section) const;
};

// Exit code: leave with it, what there was to say is said.
std::optional<int> ParseSessionOptions(int argc, char** argv, SessionOptions& options);

}  // namespace cascade::bench
