// One call of /v1/chat/completions or /v1/completions, streamed or whole.
//
// DESIGN. The body is parsed and its turns are queued by one of the pools; from then on all happens on the I/O thread.
// The engine tells that a turn has something through the ready queue; it is taken from the turn's stream, written, and
// only when that write is done the stream is looked at again: at most one write is in flight, deltas merge in the
// stream meanwhile, and a slow client costs the engine nothing. A client that leaves cancels its turns at once.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/token_stream.h"
#include "server/http/http_context.h"
#include "server/http/http_exchange.h"
#include "server/http/openai_format.h"

namespace cascade {

class OpenAiCall final : public StreamReader, public std::enable_shared_from_this<OpenAiCall> {
 public:
  // I/O thread; does not wait.
  static void Start(const HttpContext& context, OpenAiKind kind, std::shared_ptr<HttpExchange> exchange);

  OpenAiCall(const HttpContext& context, OpenAiKind kind, std::shared_ptr<HttpExchange> exchange)
      : context_(context), kind_(kind), exchange_(std::move(exchange)) {}

 private:
  using Streams = std::vector<std::shared_ptr<TokenStream>>;

  // In a pool, one after the other.
  void Post(WorkerPool& pool, void (OpenAiCall::*step)());
  void Parse();
  void Submit();
  absl::Status SubmitAll(Streams* streams);
  void SetFirstPromptIds();
  absl::Status Named(const absl::Status& status) const;
  void Fail(const absl::Status& status);
  void FailBegun();

  // I/O thread.
  void Begin(Streams streams);
  void OnReady(int stream) override;
  void Arm(int stream);
  void Pump();
  void Take(size_t index, TurnDelta delta, std::string* out);
  void Write(std::string out, bool last);
  void AnswerWhole();
  void OnGone();
  void LeaveStreams(bool cancel);
  bool AllFinished() const;

  const HttpContext& context_;
  const OpenAiKind kind_;
  const std::shared_ptr<HttpExchange> exchange_;
  OpenAiRequest request_;  // of the pools; its turns move on to the engine
  bool outlives_call_ = false;
  bool repeatable_ = true;
  std::atomic<bool> gone_{false};

  std::optional<OpenAiFormat> format_;
  Streams streams_;
  std::vector<OpenAiChoice> choices_;
  std::vector<bool> ready_;  // streams that may have something
  bool writing_ = false;
  bool over_ = false;
  absl::Status failure_;
};

}  // namespace cascade
