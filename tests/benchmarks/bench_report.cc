#include "tests/benchmarks/bench_report.h"

#include <algorithm>
#include <cstdio>

#include "nlohmann/json.hpp"

namespace cascade::bench {
namespace {

std::vector<double> Sorted(const Measurement& measurement, double (*value)(const Timing&)) {
  std::vector<double> values;
  for (const Timing& timing : measurement.repetitions) values.push_back(value(timing));
  std::sort(values.begin(), values.end());
  return values;
}

double StepMicroseconds(const Timing& timing) {
  return 1e6 * timing.seconds / static_cast<double>(std::max<int64_t>(1, timing.totals.steps));
}
double LaunchMicroseconds(const Timing& timing) {
  return 1e6 * timing.launch_seconds / static_cast<double>(std::max<int64_t>(1, timing.totals.steps));
}
double WaitedShare(const Timing& timing) {
  return static_cast<double>(timing.waits) / static_cast<double>(std::max<int64_t>(1, timing.totals.steps));
}

// Of the limit's rate: 1 is as fast as the device allows.
double Share(const Measurement& measurement) {
  const double tokens = static_cast<double>(measurement.repetitions.front().totals.rows);
  return measurement.limit_seconds * Median(measurement.TokensPerSecond()) / tokens;
}

}  // namespace

std::vector<double> Measurement::TokensPerSecond() const {
  return Sorted(*this, [](const Timing& t) { return static_cast<double>(t.totals.rows) / t.seconds; });
}

double Median(const std::vector<double>& sorted) {
  const size_t middle = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

void PrintTable(const BenchOptions& options, const std::string& setup,
                const std::optional<kernels::DeviceCeilings>& ceilings, const std::vector<Measurement>& measurements) {
  std::printf("%s\n%d session%s", setup.c_str(), options.batch, options.batch == 1 ? "" : "s together");
  if (options.idle > 0) std::printf(", %d idle", options.idle);
  std::printf(", %d repetitions\n", options.repetitions);
  if (ceilings.has_value()) {
    std::printf("ceilings: reading %.2f TB/s, copying %.2f TB/s, bf16 product %.0f TFLOP/s\n",
                ceilings->read_bytes_per_s / 1e12, ceilings->copy_bytes_per_s / 1e12, ceilings->bf16_flops / 1e12);
  }
  std::printf("%-30s %10s %10s %10s %10s", "", "tokens/s", "lowest", "highest", "us/step");
  if (ceilings.has_value()) std::printf(" %10s %7s", "limit", "share");
  std::printf(" %7s", "stride");
  if (options.trace) std::printf(" %10s %8s %8s", "host us", "waited", "idle");
  std::printf("\n");
  for (const Measurement& m : measurements) {
    const std::vector<double> speeds = m.TokensPerSecond();
    std::printf("%-30s %10.1f %10.1f %10.1f %10.1f", m.name.c_str(), Median(speeds), speeds.front(), speeds.back(),
                Median(Sorted(m, StepMicroseconds)));
    if (ceilings.has_value()) std::printf(" %10.1f %6.1f%%", Median(speeds) / Share(m), 100 * Share(m));
    if (m.stride_fill >= 0) {
      std::printf(" %6.0f%%", 100 * m.stride_fill);
    } else {
      std::printf(" %7s", "");
    }
    if (options.trace) {
      std::printf(" %10.1f %7.1f%%", Median(Sorted(m, LaunchMicroseconds)), 100 * Median(Sorted(m, WaitedShare)));
      if (m.idle_share >= 0) std::printf(" %7.2f%%", 100 * m.idle_share);
    }
    std::printf("\n");
  }
  if (options.trace) {
    std::printf(
        "host us: what beginning a step costs the host. waited: steps that it then waited for, so that the device had "
        "the next\none before it was done. idle: share of the device's time between one step's end and the next one's "
        "beginning\n");
  }
}

void PrintJson(const BenchOptions& options, const std::string& setup,
               const std::optional<kernels::DeviceCeilings>& ceilings, const std::vector<Measurement>& measurements) {
  nlohmann::ordered_json json = {{"setup", setup}, {"batch", options.batch}, {"idle", options.idle}};
  if (ceilings.has_value()) {
    json["ceilings"] = {{"read_bytes_per_second", ceilings->read_bytes_per_s},
                        {"copy_bytes_per_second", ceilings->copy_bytes_per_s},
                        {"bf16_flops", ceilings->bf16_flops}};
  }
  json["measurements"] = nlohmann::json::array();
  for (const Measurement& m : measurements) {
    const std::vector<double> speeds = m.TokensPerSecond();
    nlohmann::ordered_json entry = {{"name", m.name},
                                    {"median_tokens_per_second", Median(speeds)},
                                    {"tokens_per_second", speeds},
                                    {"step_microseconds", Median(Sorted(m, StepMicroseconds))},
                                    {"host_microseconds_per_step", Median(Sorted(m, LaunchMicroseconds))},
                                    {"steps_waited_for", Median(Sorted(m, WaitedShare))}};
    if (m.stride_fill >= 0) entry["stride_fill"] = m.stride_fill;
    if (m.idle_share >= 0) entry["device_idle"] = m.idle_share;
    if (ceilings.has_value()) {
      entry["limit_tokens_per_second"] = Median(speeds) / Share(m);
      entry["share_of_limit"] = Share(m);
    }
    json["measurements"].push_back(std::move(entry));
  }
  std::printf("%s\n", json.dump(2).c_str());
}

}  // namespace cascade::bench
