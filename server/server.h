// The whole server: what is served, where it listens, and its orderly end.
#pragma once

#include <chrono>
#include <memory>

#include "absl/status/statusor.h"
#include "server/config.h"
#include "server/engine_statistics.h"
#include "server/grpc_endpoint.h"
#include "server/serving_stack.h"

namespace cascade {

// Used by one thread.
class Server {
 public:
  // Serves when this returns. ExitErrors.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerConfig& config);

  // Readiness off, no new turns, running ones get --drain-timeout, then calls end. kOk, or kDrainTimedOut when turns
  // had to be cut.
  ExitCode Drain();

 private:
  explicit Server(const ServerConfig& config) : config_(config) {}

  const ServerConfig config_;
  std::unique_ptr<ServingStack> stack_;
  std::unique_ptr<EngineStatistics> statistics_;
  std::unique_ptr<GrpcEndpoint> endpoint_;
};

}  // namespace cascade
