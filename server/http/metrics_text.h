// Counters in Prometheus' text format.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "engine/engine.h"
#include "server/http/http_context.h"

namespace cascade {

// One family after another, each with HELP and TYPE. Names begin with cascade_; counters end in _total, durations are
// in seconds. No label says whose a session is.
std::string EngineMetricsText(const Engine& engine, const ServedModel& model);
// `responses`: by the first digit of their status.
std::string HttpMetricsText(int open_connections, const std::array<std::atomic<int64_t>, 6>& responses);

}  // namespace cascade
