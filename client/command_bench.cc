// cascade bench: N sessions at once, and how long their tokens take.
#include <CLI/CLI.hpp>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <thread>

#include "client/bench.h"
#include "client/command.h"
#include "client/format.h"
#include "client/interrupts.h"
#include "client/progress_bar.h"
#include "client/sampling_flags.h"
#include "client/table.h"

namespace cascade::client {
namespace {

void AddTimes(Table& table, const std::string& name, const Percentiles& seconds) {
  const auto milliseconds = [&](double value) { return Fixed(value * 1e3, 1); };
  table.AddRow({name, milliseconds(seconds.Mean()), milliseconds(seconds.At(50)), milliseconds(seconds.At(90)),
                milliseconds(seconds.At(99)), milliseconds(seconds.At(100))});
}

void Print(const BenchOptions& options, const BenchResult& result) {
  std::printf("%d requests, %d at once, prompts of %d tokens\n\n", options.requests, options.concurrency,
              options.prompt_tokens);
  Table table({Align::kLeft, Align::kRight, Align::kRight, Align::kRight, Align::kRight, Align::kRight});
  table.AddRow({"milliseconds", "mean", "p50", "p90", "p99", "max"});
  AddTimes(table, "to the first token", result.first_token_seconds);
  AddTimes(table, "per token after it", result.token_seconds);
  AddTimes(table, "whole request", result.request_seconds);
  std::fputs(table.Draw().c_str(), stdout);
  const double seconds = std::max(result.seconds, 1e-9);
  std::printf("\nfinished    %s in %s, %.2f requests/s\n", WithCommas(result.finished).c_str(),
              Seconds(result.seconds).c_str(), static_cast<double>(result.finished) / seconds);
  std::printf("throughput  %.1f tokens/s sampled (%s), %.1f tokens/s with the prompts\n",
              static_cast<double>(result.sampled_tokens) / seconds, WithCommas(result.sampled_tokens).c_str(),
              static_cast<double>(result.sampled_tokens + result.prompt_tokens) / seconds);
  int64_t errors = 0;
  for (const auto& [text, count] : result.errors) errors += count;
  std::printf("errors      %s\n", WithCommas(errors).c_str());
  for (const auto& [text, count] : result.errors)
    std::printf("            %s x %s\n", WithCommas(count).c_str(), text.c_str());
}

// Draws until told to stop.
class Watcher {
 public:
  Watcher(const Bench& bench, int requests) : thread_([this, &bench, requests] { Watch(bench, requests); }) {}
  ~Watcher() {
    {
      std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    condition_.notify_one();
    thread_.join();
  }

 private:
  void Watch(const Bench& bench, int requests) {
    ProgressBar bar;
    std::unique_lock lock(mutex_);
    while (!condition_.wait_for(lock, std::chrono::milliseconds(200), [&] { return stopped_; })) {
      bar.Update(bench.done(), requests,
                 std::to_string(bench.done()) + " of " + std::to_string(requests) + " requests");
    }
  }

  std::mutex mutex_;
  std::condition_variable condition_;
  bool stopped_ = false;
  std::thread thread_;
};

int Run(const BenchOptions& options, const GlobalOptions& global) {
  const std::unique_ptr<Client> client = ConnectTo(global);
  if (client == nullptr) return kExitUnreachable;
  Bench bench(*client, options);
  if (grpc::Status status = bench.Prepare(); !status.ok()) return Fail(status);
  Interrupts interrupts;
  std::atomic<bool> interrupted = false;
  BenchResult result;
  {
    Interrupts::Handler handler(interrupts, [&] {
      interrupted = true;
      bench.Stop();
    });
    Watcher watcher(bench, options.requests);
    result = bench.Run();
  }
  Print(options, result);
  if (interrupted) return 130;
  return result.errors.empty() ? 0 : kExitFailed;
}

}  // namespace

void AddBench(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<BenchOptions>();
  auto flags = std::make_shared<SamplingFlags>();
  CLI::App* command =
      app.add_subcommand("bench", "Many sessions at once: time to first token, time per token, throughput");
  command->fallthrough();
  command->add_option("--concurrency", options->concurrency, "sessions at once (default 8)")
      ->check(CLI::Range(1, 4096));
  command->add_option("--requests", options->requests, "requests in all (default 32)")->check(CLI::Range(1, 1'000'000));
  command->add_option("--prompt-tokens", options->prompt_tokens, "tokens of each prompt (default 128)")
      ->check(CLI::Range(1, 1'000'000));
  flags->AddTo(*command);
  command->get_option("--max-tokens")->description("tokens of each reply at most (default 64)");
  command->callback([=, &chosen] {
    chosen = [=](const GlobalOptions& global) {
      if (!flags->SetIn(&options->like)) return kExitFailed;
      if (!options->like.stopping().has_max_tokens()) options->like.mutable_stopping()->set_max_tokens(64);
      return Run(*options, global);
    };
  });
}

}  // namespace cascade::client
