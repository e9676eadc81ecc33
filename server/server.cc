#include "server/server.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <string>
#include <thread>
#include <utility>

namespace cascade {
namespace {

constexpr std::chrono::seconds kStatisticsPeriod{5};
// What calls get to deliver their last message after the engine is done.
constexpr std::chrono::seconds kDeliveryGrace{5};
// The same after a fault, which must end the process within five seconds.
constexpr std::chrono::seconds kFaultGrace{2};
constexpr std::chrono::milliseconds kWatchersGrace{200};

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
  {
    MutexLock lock(server->mutex_);
    server->listening_ = server->endpoint_.get();
    if (server->faulty_) server->endpoint_->SetFaulty();
  }
  spdlog::info("ready: listening on {}", server->endpoint_->address());
  return server;
}

void Server::OnDeviceFault(const absl::Status& cause) {
  spdlog::critical("the device has failed: {}", std::string(cause.message()));
  {
    MutexLock lock(mutex_);
    faulty_ = true;
    if (listening_ != nullptr) listening_->SetFaulty();
  }
  on_fault_();
}

void Server::Fail() {
  // Who watches our health is told by other threads; nothing says when it has been.
  std::this_thread::sleep_for(kWatchersGrace);
  endpoint_->Stop(kFaultGrace);
}

ExitCode Server::Drain() {
  Engine& engine = *stack_->engine;
  endpoint_->SetReady(false);
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
    listening_ = nullptr;
  }
  endpoint_->Stop(faulty ? kFaultGrace : kDeliveryGrace);
  if (faulty) return ExitCode::kFault;
  if (report.sessions_parked > 0) spdlog::info("{} sessions parked", report.sessions_parked);
  if (!report.complete()) {
    spdlog::warn("drain timed out: {} turns were cut, {} sessions not parked", report.turns_cut, report.sessions_left);
  }
  spdlog::info("stopped");
  return report.complete() ? ExitCode::kOk : ExitCode::kDrainTimedOut;
}

}  // namespace cascade
