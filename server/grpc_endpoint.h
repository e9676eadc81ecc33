// Listening: the gRPC server, its services, health and reflection, and its end.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/cascade_service.h"

namespace cascade {

struct EndpointOptions {
  std::string host = "127.0.0.1";
  int port = 0;  // 0: any free one
  bool reflection = true;
  int worker_threads = 2;   // for long texts
  int waiting_threads = 4;  // for calls that wait for the engine or for files
  int max_transfers = 16;   // exports and imports at once
};

// What the service serves; all outlives the endpoint.
struct Served {
  Engine& engine;
  const Tokenizer& tokenizer;
  const ChatTemplate* chat_template;  // may be null
  v1::ServerInfo info;
};

// Used by one thread unless a method says otherwise; calls come on gRPC's.
class GrpcEndpoint {
 public:
  // Listens, and is ready when this returns. An ExitError (kPortInUse) when it cannot listen there.
  static absl::StatusOr<std::unique_ptr<GrpcEndpoint>> Start(const EndpointOptions& options, Served served);
  // Ends all calls.
  ~GrpcEndpoint();

  int port() const { return port_; }
  std::string address() const;  // "127.0.0.1:50051", "[::1]:50051"

  // Readiness for load balancers ("" and "readiness"); "liveness" stays as long as the process serves.
  void SetReady(bool ready);
  // Neither ready nor alive from now on, whatever SetReady says later. Any thread.
  void SetFaulty();
  // Running streams get until `grace` from now to send what they have; then all calls are cut, connections closed.
  // Idempotent.
  void Stop(std::chrono::milliseconds grace);

  // A channel to this server inside the process, for tests.
  std::shared_ptr<grpc::Channel> InProcessChannel() { return server_->InProcessChannel(grpc::ChannelArguments()); }

 private:
  explicit GrpcEndpoint(const EndpointOptions& options);

  const EndpointOptions options_;
  int port_ = 0;
  // Reactors use these until the server has stopped, so they go after it.
  ReadyDispatcher dispatcher_;
  WorkerPool workers_;
  WorkerPool waiters_;
  TransferQuota transfers_;
  LiveStreams streams_;
  std::unique_ptr<CascadeService> service_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace cascade
