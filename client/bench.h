// Load on a server, and what its clients see of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "client/client.h"
#include "client/percentiles.h"

namespace cascade::client {

struct BenchOptions {
  int concurrency = 8;
  int requests = 32;
  int prompt_tokens = 128;
  v1::GenerateRequest like;  // what each request says beside its prompt
};

struct BenchResult {
  Percentiles first_token_seconds;
  // Of one request: from its first token to its last, over the tokens after the first.
  Percentiles token_seconds;
  Percentiles request_seconds;
  int64_t prompt_tokens = 0;
  int64_t sampled_tokens = 0;
  int64_t finished = 0;
  // Text of the error to how often it came.
  std::map<std::string, int64_t> errors;
  double seconds = 0;
};

// Each request is the first turn of a session of its own, made before and deleted after it, which is not measured. A
// prompt is a cut of a plain English text that differs from request to request.
class Bench {
 public:
  // `client` must outlive it.
  Bench(Client& client, BenchOptions options) : client_(client), options_(std::move(options)) {}

  // Before Run: makes the prompts.
  grpc::Status Prepare();
  // `concurrency` threads share out the requests; returns when all have ended.
  BenchResult Run();
  // From any thread: Run ends early, with what it has. Running requests are cancelled.
  void Stop();
  // Requests ended so far.
  int64_t done() const { return done_; }

 private:
  void Work();
  grpc::Status Request(int number, const std::string& session_id);

  Client& client_;
  const BenchOptions options_;
  std::vector<int32_t> text_ids_;
  std::atomic<int> next_ = 0;
  std::atomic<int64_t> done_ = 0;
  std::atomic<bool> stopped_ = false;
  std::mutex mutex_;
  BenchResult result_;                      // guarded by mutex_
  std::map<int, GenerateStream*> running_;  // likewise; by number of the request
};

}  // namespace cascade::client
