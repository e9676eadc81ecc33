// What cascade_bench prints.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda_backend.h"
#include "tests/benchmarks/bench_options.h"
#include "tests/benchmarks/bench_sessions.h"

namespace cascade::bench {

struct Measurement {
  std::string name;
  std::vector<Timing> repetitions;
  double limit_seconds = 0;  // of one repetition; 0: not known
  double idle_share = -1;    // of the device's time, between steps; below 0: not known
  double stride_fill = -1;   // of the open stride, 0 to 1; below 0: not a decode measurement

  // Sorted.
  std::vector<double> TokensPerSecond() const;
};

// The middle one, or the mean of the two.
double Median(const std::vector<double>& sorted);

void PrintTable(const BenchOptions& options, const std::string& setup,
                const std::optional<kernels::DeviceCeilings>& ceilings, const std::vector<Measurement>& measurements);
void PrintJson(const BenchOptions& options, const std::string& setup,
               const std::optional<kernels::DeviceCeilings>& ceilings, const std::vector<Measurement>& measurements);

}  // namespace cascade::bench
