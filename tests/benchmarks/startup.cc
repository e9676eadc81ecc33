// From exec to the first token of a server, with the model's file in the page cache and without, beside the time that
// reading the file alone takes.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "client/client.h"
#include "tests/server/server_process.h"

namespace {

using Clock = std::chrono::steady_clock;
namespace v1 = cascade::v1;

double SecondsSince(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

int Open(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file >= 0) return file;
  std::perror(path.c_str());
  std::exit(1);
}

// The kernel drops clean pages that nobody maps.
void Forget(const std::string& path) {
  const int file = Open(path);
  fsync(file);
  posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  close(file);
}

double Read(const std::string& path) {
  const Clock::time_point begin = Clock::now();
  const int file = Open(path);
  std::vector<char> buffer(1 << 20);
  while (read(file, buffer.data(), buffer.size()) > 0) {
  }
  close(file);
  return SecondsSince(begin);
}

double FirstToken(const std::string& path, const std::string& memory) {
  const Clock::time_point begin = Clock::now();
  cascade::ServerProcess server({"--model", path, "--port", "0", "--cache-memory-bytes", memory});
  const std::string address = server.WaitUntilReady();
  if (address.empty()) {
    std::fprintf(stderr, "the server did not start:\n%s", server.Output().c_str());
    std::exit(1);
  }
  cascade::client::Client client({.address = address});
  v1::GenerateRequest request;
  request.mutable_prompt()->set_text("Hello");
  request.mutable_stopping()->set_max_tokens(1);
  const auto stream = client.Generate(request);
  v1::GenerateResponse response;
  while (stream->Next(&response) && response.token_ids().empty()) {
  }
  const double seconds = SecondsSince(begin);
  if (const grpc::Status status = stream->Finish(); !status.ok()) {
    std::fprintf(stderr, "%s\n", status.error_message().c_str());
    std::exit(1);
  }
  server.Signal(SIGTERM);
  server.Wait();
  return seconds;
}

void Print(const char* name, std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  std::printf("%-44s %8.2f %8.2f %8.2f\n", name, seconds[seconds.size() / 2], seconds.front(), seconds.back());
}

}  // namespace

int main(int argc, char** argv) {
  std::string path, memory = "1GiB";
  int rounds = 5;
  CLI::App app("From exec to a server's first token");
  app.add_option("--model", path, "a .gguf file")->required();
  app.add_option("--rounds", rounds)->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--cache-memory-bytes", memory)->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  std::vector<double> cold_read, warm_read, cold, warm;
  for (int round = 0; round < rounds; ++round) {
    Forget(path);
    cold_read.push_back(Read(path));
    Forget(path);
    cold.push_back(FirstToken(path, memory));
    warm_read.push_back(Read(path));
    warm.push_back(FirstToken(path, memory));
  }
  std::printf("%-44s %8s %8s %8s\n", "seconds", "median", "lowest", "highest");
  Print("reading the file, not cached", cold_read);
  Print("exec to first token, not cached", cold);
  Print("reading the file, cached", warm_read);
  Print("exec to first token, cached", warm);
  return 0;
}
