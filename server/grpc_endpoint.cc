#include "server/grpc_endpoint.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/exit_code.h"

namespace cascade {
namespace {

constexpr int kMaxMessageBytes = 16 << 20;
constexpr int kMaxMetadataBytes = 16 << 10;
constexpr int kMaxStreamsPerConnection = 1024;
constexpr char kReflectionPlugin[] = "proto_server_reflection";
constexpr size_t kMaxQueuedLargeRequests = 64;
// Small requests, but for turns whose session has to be read first.
constexpr size_t kMaxWaitingRequests = 1024;

// A client whose machine vanished is noticed after 80 seconds, not after TCP's hours.
constexpr int kKeepaliveMs = 60'000;
constexpr int kKeepaliveTimeoutMs = 20'000;

// The reflection library adds its plugin to every builder of the process; this takes it out of one.
class WithoutReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    const auto is_reflection = [](const auto& plugin) { return plugin->name() == kReflectionPlugin; };
    plugins->erase(std::remove_if(plugins->begin(), plugins->end(), is_reflection), plugins->end());
  }
};

// Both are settings of the process, read when a server is built.
void EnablePlugins() {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

std::string JoinAddress(const std::string& host, int port) {
  const bool ipv6 = host.find(':') != std::string::npos && host.front() != '[';
  return ipv6 ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

}  // namespace

GrpcEndpoint::GrpcEndpoint(const EndpointOptions& options)
    : options_(options),
      workers_(options.worker_threads, kMaxQueuedLargeRequests),
      waiters_(options.waiting_threads, kMaxWaitingRequests),
      transfers_(options.max_transfers) {}

absl::StatusOr<std::unique_ptr<GrpcEndpoint>> GrpcEndpoint::Start(const EndpointOptions& options, Served served) {
  EnablePlugins();
  std::unique_ptr<GrpcEndpoint> endpoint(new GrpcEndpoint(options));
  endpoint->service_ = std::make_unique<CascadeService>(ServiceContext{
      served.engine, served.tokenizer, served.chat_template, std::move(served.info), endpoint->dispatcher_,
      endpoint->workers_, endpoint->waiters_, endpoint->transfers_, endpoint->streams_});
  const std::string address = JoinAddress(options.host, options.port);
  grpc::ServerBuilder builder;
  // Without this a second server on the same port would start and silently take half of the calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  if (!options.reflection) builder.SetOption(std::make_unique<WithoutReflection>());
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &endpoint->port_);
  builder.RegisterService(endpoint->service_.get());
  endpoint->server_ = builder.BuildAndStart();
  if (endpoint->server_ == nullptr || endpoint->port_ == 0) {
    return ExitError(ExitCode::kPortInUse, absl::StrCat("--host, --port: cannot listen on ", address,
                                                        "; it is in use, not allowed or no address of this machine"));
  }
  endpoint->server_->GetHealthCheckService()->SetServingStatus("liveness", true);
  endpoint->SetReady(true);
  return endpoint;
}

GrpcEndpoint::~GrpcEndpoint() { Stop(std::chrono::milliseconds(0)); }

std::string GrpcEndpoint::address() const { return JoinAddress(options_.host, port_); }

void GrpcEndpoint::SetReady(bool ready) {
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  health->SetServingStatus("", ready);
  health->SetServingStatus("readiness", ready);
}

void GrpcEndpoint::SetFaulty() { server_->GetHealthCheckService()->Shutdown(); }

void GrpcEndpoint::Stop(std::chrono::milliseconds grace) {
  if (server_ == nullptr) return;
  constexpr std::chrono::milliseconds kUnaryGrace{50};  // calls that only look something up
  streams_.WaitForNone(std::chrono::steady_clock::now() + grace);
  server_->Shutdown(std::chrono::system_clock::now() + std::min(grace, kUnaryGrace));
  server_->Wait();
  server_.reset();
}

}  // namespace cascade
