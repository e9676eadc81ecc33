// cascade-server: flags, exit codes, signals.
#include <google/protobuf/stubs/logging.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <thread>

#include "server/config.h"
#include "server/server.h"

namespace cascade {
namespace {

int Leave(ExitCode code) { return static_cast<int>(code); }

// One line for people and scripts: which program, what is wrong.
int LeaveWith(ExitCode code, const std::string& line) {
  std::fprintf(stderr, "cascade-server: %s\n", line.c_str());
  return Leave(code);
}

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

int Serve(const ServerConfig& config) {
  // Blocked before any thread starts, so that only sigwait below takes them.
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  auto server = Server::Start(config);
  if (!server.ok()) {
    return LeaveWith(ExitCodeOf(server.status()), std::string(server.status().message()));
  }
  int signal = 0;
  sigwait(&signals, &signal);
  spdlog::info("{}: stopping; once more ends at once", strsignal(signal));
  // A second signal does not wait for the drain.
  std::thread([signals] {
    int again = 0;
    sigwait(&signals, &again);
    spdlog::warn("stopped before the drain was over");
    std::_Exit(Leave(ExitCode::kDrainTimedOut));
  }).detach();
  return Leave((*server)->Drain());
}

int Run(int argc, char** argv) {
  // Whoever reads the log may leave; the server stays.
  signal(SIGPIPE, SIG_IGN);
  spdlog::set_default_logger(spdlog::stderr_color_mt("cascade-server"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  // Otherwise a client could write into our log by sending bad bytes; it is told by its call's status.
  google::protobuf::SetLogHandler(nullptr);
  // gRPC's own lines; what matters of them is in ours. Whoever sets the variable sees them.
  setenv("GRPC_VERBOSITY", "NONE", 0);
  const ParsedCommandLine parsed = ParseCommandLine(argc, argv);
  if (parsed.exit == ExitCode::kOk) {
    std::fputs(parsed.output.c_str(), stdout);
    return Leave(ExitCode::kOk);
  }
  if (parsed.exit.has_value()) return LeaveWith(*parsed.exit, parsed.output);
  return Serve(parsed.config);
}

}  // namespace
}  // namespace cascade

int main(int argc, char** argv) {
  try {
    return cascade::Run(argc, argv);
  } catch (const std::exception& error) {  // memory or threads ran out
    return cascade::LeaveWith(cascade::ExitCode::kFault, error.what());
  }
}
