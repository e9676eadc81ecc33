// The whole server: what is served, where it listens, and its orderly end.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/base/mutex.h"
#include "server/config.h"
#include "server/engine_statistics.h"
#include "server/grpc_endpoint.h"
#include "server/http/http_endpoint.h"
#include "server/serving_stack.h"

namespace cascade {

// Used by one thread.
class Server {
 public:
  // Serves when this returns. ExitErrors. `on_fault` is called, on another thread and once, when the device fails while
  // it serves: health says NOT_SERVING then and turns have ended; what is left is Fail().
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerConfig& config, std::function<void()> on_fault);

  // Readiness off, no new turns; within --drain-timeout running ones end and sessions are parked in the data folder;
  // then calls end. kOk, kDrainTimedOut when turns were cut or sessions not parked, or kFault when the device failed
  // meanwhile.
  ExitCode Drain();
  // After a fault: calls get a moment to deliver their status. The server is of no use then, and its destructor may
  // wait for a device that does not answer: leave the process without it.
  void Fail();

 private:
  Server(const ServerConfig& config, std::function<void()> on_fault)
      : config_(config), on_fault_(std::move(on_fault)) {}
  void OnDeviceFault(const absl::Status& cause);
  absl::Status StartHttp();
  void SetFaulty() CASCADE_REQUIRES(mutex_);
  void StopListening(std::chrono::milliseconds grace);

  const ServerConfig config_;
  const std::function<void()> on_fault_;
  Mutex mutex_;
  bool faulty_ CASCADE_GUARDED_BY(mutex_) = false;
  bool listening_ CASCADE_GUARDED_BY(mutex_) = false;  // the endpoints are there
  std::unique_ptr<ServingStack> stack_;
  std::unique_ptr<EngineStatistics> statistics_;
  std::unique_ptr<GrpcEndpoint> endpoint_;
  std::unique_ptr<HttpEndpoint> http_;  // null with --http-port 0
};

}  // namespace cascade
