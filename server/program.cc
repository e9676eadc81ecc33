#include "server/program.h"

#include <google/protobuf/stubs/logging.h>
#include <signal.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <thread>

#include "server/config.h"
#include "server/end_of_service.h"
#include "server/server.h"

namespace cascade {
namespace {

// From a fault to the process's end at most, with what hangs left behind.
constexpr std::chrono::seconds kFaultPatience{4};

int Leave(ExitCode code) { return static_cast<int>(code); }

// One line for people and scripts: which program, what is wrong.
int LeaveWith(ExitCode code, const std::string& line) {
  std::fprintf(stderr, "cascade-server: %s\n", line.c_str());
  return Leave(code);
}

// Without destructors: they would wait for a device that may never answer.
[[noreturn]] void LeaveAfterFault(Server& server) {
  std::thread([] {
    std::this_thread::sleep_for(kFaultPatience);
    std::_Exit(Leave(ExitCode::kFault));
  }).detach();
  server.Fail();
  std::_Exit(Leave(ExitCode::kFault));
}

int Serve(const ServerConfig& config) {
  // Outlives main: a thread waits in it for ever.
  static EndOfService& end = *new EndOfService;
  auto server = Server::Start(config, [] { end.Fault(); });
  if (!server.ok()) {
    return LeaveWith(ExitCodeOf(server.status()), std::string(server.status().message()));
  }
  end.Serving();
  const int signal = end.Wait();
  if (signal == 0) LeaveAfterFault(**server);
  spdlog::info("{}: stopping; once more ends at once", strsignal(signal));
  const ExitCode code = (*server)->Drain();
  if (code == ExitCode::kFault) LeaveAfterFault(**server);
  return Leave(code);
}

// Each client and each file of a session takes a descriptor; the usual soft limit of 1,024 is for programs with select.
void RaiseFileLimit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int Run(int argc, char** argv) {
  // Whoever reads the log may leave; the server stays.
  signal(SIGPIPE, SIG_IGN);
  RaiseFileLimit();
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

int RunServerProgram(int argc, char** argv) {
  try {
    return Run(argc, argv);
  } catch (const std::exception& error) {  // memory or threads ran out
    return LeaveWith(ExitCode::kFault, error.what());
  }
}

}  // namespace cascade
