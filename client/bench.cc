#include "client/bench.h"

#include <algorithm>
#include <thread>

#include "client/session.h"
#include "client/status_text.h"

namespace cascade::client {
namespace {

using Clock = std::chrono::steady_clock;

constexpr char kText[] =
    "The river begins as a thread of water between two stones, high above the last trees. Nobody would call it a river "
    "there. It falls from one basin into the next, each wider than the one before, and in every basin it leaves a "
    "little of what it carried: first the pebbles, then the sand, and at last the fine grey dust that makes the fields "
    "of the valley so good for wheat. The people of the upper village say that the water forgets. The people of the "
    "lower village, who have dug wells in those fields, say that it only chooses what to keep. Twice a year, when the "
    "snow melts and when the autumn rain comes, the basins overflow, and for a week nobody can cross; then children "
    "count the branches that drift past, and old men tell how far the flood of their youth had come. ";

double SecondsBetween(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

grpc::Status Bench::Prepare() {
  v1::TokenizeRequest request;
  request.set_text(kText);
  v1::TokenizeResponse response;
  if (grpc::Status status = client_.Tokenize(request, &response); !status.ok()) return status;
  text_ids_.assign(response.token_ids().begin(), response.token_ids().end());
  if (text_ids_.empty()) return {grpc::StatusCode::INTERNAL, "the server made no tokens of a text"};
  return grpc::Status::OK;
}

BenchResult Bench::Run() {
  const Clock::time_point start = Clock::now();
  std::vector<std::thread> workers;
  for (int i = 0; i < std::min(options_.concurrency, options_.requests); ++i) workers.emplace_back([this] { Work(); });
  for (std::thread& worker : workers) worker.join();
  std::lock_guard lock(mutex_);
  result_.seconds = SecondsBetween(start, Clock::now());
  return result_;
}

void Bench::Stop() {
  stopped_ = true;
  std::lock_guard lock(mutex_);
  for (const auto& [number, stream] : running_) stream->Cancel();
}

void Bench::Work() {
  for (int number = next_++; number < options_.requests && !stopped_; number = next_++) {
    std::unique_ptr<Session> session;
    grpc::Status status = Session::Create(client_, "bench", &session);
    if (status.ok()) {
      status = Request(number, session->id());
      session->Delete();
    }
    ++done_;
    if (status.ok() || stopped_) continue;
    std::lock_guard lock(mutex_);
    ++result_.errors[StatusText(status)];
  }
}

grpc::Status Bench::Request(int number, const std::string& session_id) {
  v1::GenerateRequest request = options_.like;
  request.set_session_id(session_id);
  auto& ids = *request.mutable_prompt()->mutable_token_ids();
  for (int i = 0; i < options_.prompt_tokens; ++i) ids.add_ids(text_ids_[(number * 17 + i) % text_ids_.size()]);

  const Clock::time_point start = Clock::now();
  Clock::time_point first = start, last = start;
  int64_t tokens = 0, first_tokens = 0;
  const std::unique_ptr<GenerateStream> stream = client_.Generate(request);
  {
    std::lock_guard lock(mutex_);
    running_[number] = stream.get();
    if (stopped_) stream->Cancel();
  }
  for (v1::GenerateResponse part; stream->Next(&part);) {
    if (part.token_ids_size() == 0) continue;
    last = Clock::now();
    if (tokens == 0) {
      first = last;
      first_tokens = part.token_ids_size();
    }
    tokens += part.token_ids_size();
  }
  {
    std::lock_guard lock(mutex_);
    running_.erase(number);
  }
  const grpc::Status status = stream->Finish();
  if (!status.ok()) return status;

  std::lock_guard lock(mutex_);
  ++result_.finished;
  result_.prompt_tokens += options_.prompt_tokens;
  result_.sampled_tokens += tokens;
  result_.request_seconds.Add(SecondsBetween(start, Clock::now()));
  if (tokens > 0) result_.first_token_seconds.Add(SecondsBetween(start, first));
  // Tokens that came together with the first have no time of their own.
  if (tokens > first_tokens) {
    result_.token_seconds.Add(SecondsBetween(first, last) / static_cast<double>(tokens - first_tokens));
  }
  return status;
}

}  // namespace cascade::client
