#include "server/server.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

namespace cascade {
namespace {

constexpr std::chrono::seconds kStatisticsPeriod{5};
// What calls get to deliver their last message after the engine is done.
constexpr std::chrono::seconds kDeliveryGrace{5};
// The same after a fault, which must end the process within five seconds.
constexpr std::chrono::seconds kFaultGrace{2};
constexpr std::chrono::milliseconds kWatchersGrace{200};

// Of what changes replies: the model, its size, how it computes. OpenAI's system_fingerprint.
std::string Fingerprint(const v1::ServerInfo& info) {
  const std::string text = absl::StrCat(info.version(), "|", info.model(), "|", info.parameters(), "|", info.dtype(),
                                        "|", info.kv_cache_dtype(), "|", info.geometry().ShortDebugString());
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return absl::StrCat("fp_", absl::Hex(hash, absl::kZeroPad16));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerConfig& config, std::function<void()> on_fault) {
  std::unique_ptr<Server> server(new Server(config, std::move(on_fault)));
  auto stack = BuildServingStack(config, [raw = server.get()](absl::Status cause) { raw->OnDeviceFault(cause); });
  if (!stack.ok()) return stack.status();
  server->stack_ = *std::move(stack);
  ServingStack& built = *server->stack_;
  server->statistics_ = std::make_unique<EngineStatistics>(*built.engine, kStatisticsPeriod);
  auto endpoint = GrpcEndpoint::Start({config.host, static_cast<int>(config.port), config.reflection, 2},
                                      Served{*built.engine, *built.tokenizer, built.chat_template.get(), built.info});
  if (!endpoint.ok()) return endpoint.status();
  server->endpoint_ = *std::move(endpoint);
  if (absl::Status status = server->StartHttp(); !status.ok()) return status;
  {
    MutexLock lock(server->mutex_);
    server->listening_ = true;
    if (server->faulty_) server->SetFaulty();
  }
  spdlog::info("ready: listening on {}", server->endpoint_->address());
  return server;
}

absl::Status Server::StartHttp() {
  if (config_.http_port == 0) return absl::OkStatus();
  const ServingStack& stack = *stack_;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  ServedModel model;
  model.name = stack.info.model();
  model.version = stack.info.version();
  model.fingerprint = Fingerprint(stack.info);
  model.max_positions = stack.info.max_position_embeddings();
  model.created_seconds = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  auto http = HttpEndpoint::Start({config_.host, static_cast<int>(config_.http_port)},
                                  {*stack.engine, *stack.tokenizer, stack.chat_template.get(), std::move(model)});
  if (!http.ok()) {
    return ExitError(ExitCode::kPortInUse, absl::StrCat("--host, --http-port: cannot listen on ",
                                                        http.status().message(), "; --http-port 0 does without HTTP"));
  }
  http_ = *std::move(http);
  spdlog::info("HTTP at {}", http_->url());
  return absl::OkStatus();
}

void Server::SetFaulty() {
  endpoint_->SetFaulty();
  if (http_ != nullptr) http_->SetFaulty();
}

// Both get the one grace; while the first is waited for the other one's calls go on.
void Server::StopListening(std::chrono::milliseconds grace) {
  const auto deadline = std::chrono::steady_clock::now() + grace;
  endpoint_->Stop(grace);
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  if (http_ != nullptr) http_->Stop(std::max(left, std::chrono::milliseconds(0)));
}

void Server::OnDeviceFault(const absl::Status& cause) {
  spdlog::critical("the device has failed: {}", std::string(cause.message()));
  {
    MutexLock lock(mutex_);
    faulty_ = true;
    if (listening_) SetFaulty();
  }
  on_fault_();
}

void Server::Fail() {
  // Who watches our health is told by other threads; nothing says when it has been.
  std::this_thread::sleep_for(kWatchersGrace);
  StopListening(kFaultGrace);
}

ExitCode Server::Drain() {
  Engine& engine = *stack_->engine;
  endpoint_->SetReady(false);
  if (http_ != nullptr) http_->SetReady(false);
  engine.StopAdmission();
  const Metrics& metrics = engine.metrics();
  const int turns = metrics.turns_running.load() + metrics.turns_waiting.load();
  int sessions = 0;  // to be parked
  std::chrono::duration<double> parking{0};
  if (stack_->vault != nullptr) {
    sessions = std::max(0, metrics.sessions.load() - metrics.sessions_parked_disk.load());
    parking = engine.ParkingTime();
  }
  spdlog::info("draining: {} turns, {} sessions; parking takes about {:.1f} s of {} s", turns, sessions,
               parking.count(), config_.drain_timeout);
  const DrainReport report =
      engine.Drain(std::chrono::steady_clock::now() + std::chrono::seconds(config_.drain_timeout));
  bool faulty;
  {
    MutexLock lock(mutex_);
    faulty = faulty_;
    listening_ = false;
  }
  StopListening(faulty ? kFaultGrace : kDeliveryGrace);
  if (faulty) return ExitCode::kFault;
  if (report.sessions_parked > 0) spdlog::info("{} sessions parked", report.sessions_parked);
  if (!report.complete()) {
    spdlog::warn("drain timed out: {} turns were cut, {} sessions not parked", report.turns_cut, report.sessions_left);
  }
  spdlog::info("stopped");
  return report.complete() ? ExitCode::kOk : ExitCode::kDrainTimedOut;
}

}  // namespace cascade
