// The gaps between a running chat's tokens, alone and while another session reads a long prompt; against a server that
// runs already.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "client/client.h"

namespace {

using Clock = std::chrono::steady_clock;
namespace v1 = cascade::v1;

void Check(const grpc::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.error_message().c_str());
  std::exit(1);
}

v1::GenerateRequest Turn(int first_id, int64_t prompt_tokens, int max_tokens) {
  v1::GenerateRequest request;
  // Ids of plain words, never twice the same in a row.
  for (int64_t i = 0; i < prompt_tokens; ++i) request.mutable_prompt()->mutable_token_ids()->add_ids(first_id + static_cast<int>(i * 7 % 1000));
  request.mutable_sampling()->set_temperature(1.2f);
  request.mutable_sampling()->set_seed(1);
  request.mutable_stopping()->set_max_tokens(max_tokens);
  return request;
}

void Print(const char* name, std::vector<double> gaps) {
  std::sort(gaps.begin(), gaps.end());
  if (gaps.empty()) return;
  const auto at = [&](double share) { return gaps[static_cast<size_t>(share * static_cast<double>(gaps.size() - 1))]; };
  std::printf("%-28s %8zu %10.1f %10.1f %10.1f\n", name, gaps.size(), at(0.5), at(0.99), gaps.back());
}

}  // namespace

int main(int argc, char** argv) {
  std::string address = "127.0.0.1:50051";
  int64_t prompt_tokens = 20000;
  CLI::App app("Gaps between a chat's tokens while another session reads a long prompt");
  app.add_option("--address", address)->capture_default_str();
  app.add_option("--prompt-tokens", prompt_tokens)->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  cascade::client::Client client({.address = address});
  enum Phase { kAlone, kBeside, kDone };
  std::atomic<int> phase{kAlone};
  std::vector<double> alone, beside;
  std::thread chat([&] {
    while (phase != kDone) {  // a reply may end by itself
      auto stream = client.Generate(Turn(2000, 20, 100'000));
      v1::GenerateResponse response;
      Clock::time_point last{};
      int last_phase = kDone;
      while (phase != kDone && stream->Next(&response)) {
        const Clock::time_point now = Clock::now();
        const int current = phase;
        // A delta that merged several tokens is one gap; the first token waits for its prompt.
        if (last != Clock::time_point{} && current == last_phase && current != kDone) {
          (current == kAlone ? alone : beside).push_back(std::chrono::duration<double, std::milli>(now - last).count());
        }
        last = now;
        last_phase = current;
      }
    }
  });
  std::this_thread::sleep_for(std::chrono::seconds(5));
  phase = kBeside;
  const Clock::time_point begin = Clock::now();
  auto reading = client.Generate(Turn(5000, prompt_tokens, 1));
  const grpc::Status status = reading->Finish();
  const std::chrono::duration<double> took = Clock::now() - begin;
  phase = kDone;
  chat.join();
  Check(status);
  std::printf("%-28s %8s %10s %10s %10s\n", "gaps between tokens, ms", "count", "median", "p99", "longest");
  Print("alone", alone);
  Print("beside the long prompt", beside);
  std::printf("%ld prompt tokens in %.1f s, %.0f tokens/s\n", static_cast<long>(prompt_tokens), took.count(),
              static_cast<double>(prompt_tokens) / took.count());
  return 0;
}
