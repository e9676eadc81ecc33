#include "server/server.h"

#include <spdlog/spdlog.h>

#include <utility>

namespace cascade {
namespace {

constexpr std::chrono::seconds kStatisticsPeriod{5};
// What calls get to deliver their last message after the engine is done.
constexpr std::chrono::seconds kDeliveryGrace{5};

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerConfig& config) {
  std::unique_ptr<Server> server(new Server(config));
  auto stack = BuildServingStack(config);
  if (!stack.ok()) return stack.status();
  server->stack_ = *std::move(stack);
  ServingStack& built = *server->stack_;
  server->statistics_ = std::make_unique<EngineStatistics>(*built.engine, kStatisticsPeriod);
  auto endpoint = GrpcEndpoint::Start({config.host, static_cast<int>(config.port), config.reflection, 2},
                                      Served{*built.engine, *built.tokenizer, built.chat_template.get(), built.info});
  if (!endpoint.ok()) return endpoint.status();
  server->endpoint_ = *std::move(endpoint);
  spdlog::info("ready: listening on {}", server->endpoint_->address());
  return server;
}

ExitCode Server::Drain() {
  Engine& engine = *stack_->engine;
  endpoint_->SetReady(false);
  engine.StopAdmission();
  const Metrics& metrics = engine.metrics();
  const int turns = metrics.turns_running.load() + metrics.turns_waiting.load();
  spdlog::info("draining: {} turns get {} s", turns, config_.drain_timeout);
  const SteadyTime deadline = std::chrono::steady_clock::now() + std::chrono::seconds(config_.drain_timeout);
  engine.Drain(deadline);
  const bool cut = turns > 0 && std::chrono::steady_clock::now() >= deadline;
  endpoint_->Stop(kDeliveryGrace);
  if (cut) spdlog::warn("drain timed out; running turns were cut");
  spdlog::info("stopped");
  return cut ? ExitCode::kDrainTimedOut : ExitCode::kOk;
}

}  // namespace cascade
