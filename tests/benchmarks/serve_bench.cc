// What concurrent clients of a running server see: B sessions that each write T tokens, greedily, at the same time.
// Tokens per second of all together while all of them write, and the gaps between a stream's tokens.
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "client/client.h"
#include "client/percentiles.h"
#include "client/session.h"

namespace {

using Clock = std::chrono::steady_clock;
namespace v1 = cascade::v1;
using cascade::client::Percentiles;

struct Options {
  std::string address = "127.0.0.1:50051";
  std::vector<int> streams = {1};
  int tokens = 512;
  int prompt_tokens = 16;
  int rounds = 3;
  int pid = 0;
};

void Check(const grpc::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.error_message().c_str());
  std::exit(1);
}

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

// What a process has computed so far, all threads; 0 without one.
double CpuSeconds(int pid) {
  if (pid == 0) return 0;
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text);
  // After the name in brackets: state and ten fields, then user and system time in ticks.
  const size_t bracket = text.rfind(')');
  long user = 0, system = 0;
  if (bracket == std::string::npos ||
      std::sscanf(text.c_str() + bracket + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld", &user, &system) !=
          2) {
    std::fprintf(stderr, "--pid: there is no process %d\n", pid);
    std::exit(1);
  }
  return static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// When messages with tokens came, and how many each had.
struct Arrivals {
  std::vector<Clock::time_point> times;
  std::vector<int> counts;
};

Arrivals Write(const Options& options, int number) {
  // A connection of its own, as clients on other machines have.
  cascade::client::Client client({.address = options.address});
  std::unique_ptr<cascade::client::Session> session;
  Check(cascade::client::Session::Create(client, "serve_bench", &session));
  v1::GenerateRequest request;
  request.set_session_id(session->id());
  for (int i = 0; i < options.prompt_tokens; ++i) {
    request.mutable_prompt()->mutable_token_ids()->add_ids(3 + (number * 17 + i * 11) % 250);
  }
  request.mutable_sampling()->set_temperature(0);
  request.mutable_stopping()->set_max_tokens(options.tokens);
  Arrivals arrivals;
  const auto stream = client.Generate(request);
  for (v1::GenerateResponse part; stream->Next(&part);) {
    if (part.token_ids_size() == 0) continue;
    arrivals.times.push_back(Clock::now());
    arrivals.counts.push_back(part.token_ids_size());
  }
  Check(stream->Finish());
  session->Delete();
  int64_t tokens = 0;
  for (const int count : arrivals.counts) tokens += count;
  if (tokens < options.tokens) {
    std::fprintf(stderr, "a reply ended after %ld of %d tokens; random models (--model random:..) never do\n",
                 static_cast<long>(tokens), options.tokens);
    std::exit(1);
  }
  return arrivals;
}

struct Round {
  double tokens_per_second = 0;
  Percentiles gaps;  // seconds between two messages of a stream, which mostly have one token each
  double cpu_microseconds_per_token = 0;
};

Round Run(const Options& options, int streams) {
  std::vector<Arrivals> all(static_cast<size_t>(streams));
  const double cpu = CpuSeconds(options.pid);
  std::vector<std::thread> threads;
  for (int i = 0; i < streams; ++i) {
    threads.emplace_back([&, i] { all[static_cast<size_t>(i)] = Write(options, i); });
  }
  for (std::thread& thread : threads) thread.join();
  Round round;
  round.cpu_microseconds_per_token = (CpuSeconds(options.pid) - cpu) * 1e6 / (double{1} * streams * options.tokens);

  // From the moment the last stream has begun to that when the first has ended.
  Clock::time_point begin = Clock::time_point::min(), end = Clock::time_point::max();
  for (const Arrivals& arrivals : all) {
    if (arrivals.times.size() < 2) {
      std::fprintf(stderr, "a stream had fewer than two messages; ask for more tokens\n");
      std::exit(1);
    }
    begin = std::max(begin, arrivals.times.front());
    end = std::min(end, arrivals.times.back());
  }
  int64_t tokens = 0;
  for (const Arrivals& arrivals : all) {
    for (size_t i = 1; i < arrivals.times.size(); ++i) {
      if (arrivals.times[i] <= begin || arrivals.times[i] > end) continue;
      tokens += arrivals.counts[i];
      round.gaps.Add(Seconds(arrivals.times[i] - arrivals.times[i - 1]));
    }
  }
  if (end > begin) round.tokens_per_second = static_cast<double>(tokens) / Seconds(end - begin);
  return round;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Concurrent streams of a running server: throughput and gaps between tokens");
  app.add_option("--address", options.address)->capture_default_str();
  app.add_option("--streams", options.streams, "at once; several allowed (default 1)")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096));
  app.add_option("--tokens", options.tokens, "that each stream writes")
      ->check(CLI::Range(2, 10'000'000))
      ->capture_default_str();
  app.add_option("--prompt-tokens", options.prompt_tokens)->check(CLI::Range(1, 1'000'000))->capture_default_str();
  app.add_option("--rounds", options.rounds)->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--pid", options.pid, "the server's process, on this machine: also its CPU time per token");
  CLI11_PARSE(app, argc, argv);

  std::printf("%8s %12s %10s %10s %14s %10s %10s", "streams", "tokens/s", "lowest", "highest", "gap ms median", "p99",
              "longest");
  if (options.pid != 0) std::printf(" %14s", "CPU us/token");
  std::printf("\n");
  for (const int streams : options.streams) {
    Percentiles speeds, gaps, cpu;
    for (int r = 0; r < options.rounds; ++r) {
      const Round round = Run(options, streams);
      speeds.Add(round.tokens_per_second);
      gaps.Add(round.gaps);
      cpu.Add(round.cpu_microseconds_per_token);
    }
    std::printf("%8d %12.1f %10.1f %10.1f %14.2f %10.2f %10.2f", streams, speeds.At(50), speeds.At(0), speeds.At(100),
                1e3 * gaps.At(50), 1e3 * gaps.At(99), 1e3 * gaps.At(100));
    if (options.pid != 0) std::printf(" %14.1f", cpu.At(50));
    std::printf("\n");
  }
  return 0;
}
