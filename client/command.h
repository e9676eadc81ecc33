// What the commands of the program share. Each has a file command_<name>.cc with one function that adds it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "client/client.h"

// CLI11 is a large header; only those who add options include it.
namespace CLI {
class App;
}

namespace cascade::client {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 64;        // EX_USAGE
constexpr int kExitUnreachable = 69;  // EX_UNAVAILABLE

struct GlobalOptions {
  std::string address = "127.0.0.1:50051";
  // Deadline of each call; 0: none.
  double timeout_seconds = 0;
};

// Runs after all arguments are parsed; gives the exit code.
using Command = std::function<int(const GlobalOptions&)>;

// Each adds one command, which sets `chosen` when it is on the command line.
void AddBench(CLI::App& app, Command& chosen);
void AddChat(CLI::App& app, Command& chosen);
void AddGenerate(CLI::App& app, Command& chosen);
void AddInfo(CLI::App& app, Command& chosen);
void AddInspect(CLI::App& app, Command& chosen);
void AddModel(CLI::App& app, Command& chosen);
void AddScore(CLI::App& app, Command& chosen);
void AddSessions(CLI::App& app, Command& chosen);
void AddTokenize(CLI::App& app, Command& chosen);

// A client that has reached its server; null, and the error is printed, if it cannot. With `wait_seconds` it tries
// again for so long.
std::unique_ptr<Client> ConnectTo(const GlobalOptions& options, double wait_seconds = 0);

// For options whose empty value would mean that they were not given. "": fine.
std::string NotEmpty(const std::string& value);

// Prints the error and gives the exit code for it.
int Fail(const grpc::Status& status);

// The bytes of a file, or of standard input for "-", at most `max_bytes` of them (then `*cut` is set); an error that
// names it is printed, and nullopt given, when it cannot be read or is no UTF-8.
std::optional<std::string> ReadText(const std::string& path, size_t max_bytes, bool* cut);
// The argument itself or, if it is "-", all of standard input, refused likewise.
std::optional<std::string> TextArgument(const std::string& argument);

}  // namespace cascade::client
