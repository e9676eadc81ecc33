#include "client/command.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "client/status_text.h"
#include "client/terminal.h"
#include "client/utf8.h"

namespace cascade::client {
namespace {

// For the first connection; a machine that does not answer at all would take gRPC 20 s.
constexpr double kPatienceSeconds = 5;
// More than any server takes: the limit of a gRPC message.
constexpr size_t kMaxArgumentBytes = 16 << 20;

bool CheckUtf8(const std::string& text, const std::string& name) {
  const std::optional<size_t> wrong = FirstInvalidUtf8(text);
  if (wrong) PrintError(name + " is no valid UTF-8 (at byte " + std::to_string(*wrong) + ")");
  return !wrong;
}

}  // namespace

std::unique_ptr<Client> ConnectTo(const GlobalOptions& options, double wait_seconds) {
  ClientOptions client_options;
  client_options.address = options.address;
  if (options.timeout_seconds > 0) {
    client_options.timeout = std::chrono::milliseconds(static_cast<int64_t>(options.timeout_seconds * 1e3) + 1);
  }
  auto client = std::make_unique<Client>(std::move(client_options));
  const double patience = wait_seconds > 0 ? wait_seconds : kPatienceSeconds;
  const bool keep_trying = wait_seconds > 0;
  if (client->Connect(std::chrono::milliseconds(static_cast<int64_t>(patience * 1e3)), keep_trying).ok()) return client;
  PrintError("no server answers at " + options.address +
             " (start cascade-server, or name another with --address host:port)");
  return nullptr;
}

std::string NotEmpty(const std::string& value) { return value.empty() ? "must not be empty" : ""; }

int Fail(const grpc::Status& status) {
  PrintError(StatusText(status));
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ? kExitUnreachable : kExitFailed;
}

std::optional<std::string> ReadText(const std::string& path, size_t max_bytes, bool* cut) {
  const bool standard_input = path == "-";
  const std::string name = standard_input ? "standard input" : path;
  std::FILE* file = standard_input ? stdin : std::fopen(path.c_str(), "rb");
  if (file == nullptr) {
    PrintError("cannot open " + name + ": " + std::strerror(errno));
    return std::nullopt;
  }
  std::string text;
  char bytes[65536];
  size_t count = 0;
  while (text.size() <= max_bytes && (count = std::fread(bytes, 1, sizeof(bytes), file)) > 0) text.append(bytes, count);
  const bool failed = std::ferror(file) != 0;
  const int error = errno;
  if (!standard_input) std::fclose(file);
  if (failed) {
    PrintError("cannot read " + name + ": " + std::strerror(error));
    return std::nullopt;
  }
  *cut = text.size() > max_bytes;
  if (*cut) text.resize(WholeCharacters(std::string_view(text).substr(0, max_bytes)).size());
  if (!CheckUtf8(text, name)) return std::nullopt;
  return text;
}

std::optional<std::string> TextArgument(const std::string& argument) {
  if (argument == "-") {
    bool cut = false;
    std::optional<std::string> text = ReadText("-", kMaxArgumentBytes, &cut);
    if (!text || !cut) return text;
    PrintError("standard input is longer than " + std::to_string(kMaxArgumentBytes) + " bytes");
    return std::nullopt;
  }
  return argument;
}

}  // namespace cascade::client
