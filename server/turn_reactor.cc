#include "server/turn_reactor.h"

#include <functional>
#include <utility>

#include "server/grpc_status.h"

namespace cascade {
namespace {

// gRPC cancels a call whose deadline passed. The engine ends such a turn itself, and by its right name.
constexpr std::chrono::milliseconds kDeadlineSlack{5};

absl::Status FinalStatus(const TurnDelta& delta) {
  if (!delta.status.ok()) return delta.status;
  switch (delta.finish_reason) {
    case FinishReason::kCancelled:
      return absl::CancelledError("the turn was cancelled");
    case FinishReason::kDeadline:
      return absl::DeadlineExceededError("the deadline passed");
    case FinishReason::kError:
      return absl::InternalError("a turn ended with an error that has no status");
    default:
      return absl::OkStatus();
  }
}

bool IsEmpty(const TurnDelta& delta) {
  return delta.text.empty() && delta.token_ids.empty() && delta.prompt_logprobs.empty();
}

// Passes the call on to the next driver once, when any of several streams has something, and not before all of them
// have been asked: else the next driver might ask them again before this one is done.
class FirstOfMany {
 public:
  explicit FirstOfMany(std::function<void()> on_ready) : on_ready_(std::move(on_ready)) {}
  void Ready() {
    if (Fire(&ready_)) on_ready_();
  }
  void AllAsked() {
    if (Fire(&asked_)) on_ready_();
  }

 private:
  // Whether both are there now, for the first time.
  bool Fire(bool* flag) {
    MutexLock lock(mutex_);
    *flag = true;
    return ready_ && asked_ && !std::exchange(fired_, true);
  }

  const std::function<void()> on_ready_;
  Mutex mutex_;
  bool ready_ CASCADE_GUARDED_BY(mutex_) = false;
  bool asked_ CASCADE_GUARDED_BY(mutex_) = false;
  bool fired_ CASCADE_GUARDED_BY(mutex_) = false;
};

}  // namespace

SteadyTime DeadlineOf(const grpc::CallbackServerContext& call) {
  const auto left = call.deadline() - std::chrono::system_clock::now();
  // Centuries do not fit the steady clock; who waits a year waits for ever.
  if (left > std::chrono::hours(24 * 365)) return SteadyTime::max();
  return std::chrono::steady_clock::now() + left;
}

TurnReactor::TurnReactor(ServiceContext& context, SteadyTime deadline)
    : context_(context), live_(context.streams), deadline_(deadline) {}

void TurnReactor::Start(const grpc::ByteBuffer& request) {
  if (request.Length() <= kInlineRequestBytes) return Begin(request);
  const absl::Status posted = context_.workers.Post([this, request] { Begin(request); });
  if (!posted.ok()) Finish(ToGrpcStatus(posted));
}

TurnSource TurnReactor::SourceOf(TurnRequest turn, int replies) {
  TurnSource source;
  source.waits = !turn.session_id.empty() && context_.engine.SubmitWaits(turn.session_id);
  source.takes_long = !turn.json_schema.empty();
  source.outlives_call = turn.on_cancel == OnCancel::kContinue;
  source.open = [this, turn = std::move(turn), replies]() mutable -> absl::StatusOr<TokenStreams> {
    if (replies > 1) return context_.engine.SubmitReplies(std::move(turn), replies);
    absl::StatusOr<std::shared_ptr<TokenStream>> stream = context_.engine.Submit(std::move(turn));
    if (!stream.ok()) return stream.status();
    return TokenStreams{*std::move(stream)};
  };
  return source;
}

void TurnReactor::Begin(const grpc::ByteBuffer& request) {
  absl::StatusOr<TurnSource> source = Parse(request);
  if (!source.ok()) return Finish(ToGrpcStatus(source.status()));
  if (!source->waits && !source->takes_long) return Open(*source);
  WorkerPool& pool = source->waits ? context_.waiters : context_.workers;
  const absl::Status posted = pool.Post([this, source = *std::move(source)]() mutable { Open(source); });
  if (!posted.ok()) Finish(ToGrpcStatus(posted));
}

void TurnReactor::Open(TurnSource& source) {
  bool gone;
  {
    MutexLock lock(mutex_);
    outlives_call_ = source.outlives_call;
    gone = cancelled_ && !outlives_call_;
  }
  if (gone) return Finish(ToGrpcStatus(ClientGone()));
  absl::StatusOr<TokenStreams> streams = source.open();
  if (!streams.ok()) return Finish(ToGrpcStatus(streams.status()));
  for (const auto& stream : *streams) replies_.emplace_back().stream = stream;
  bool cancel;
  {
    MutexLock lock(mutex_);
    streams_ = *streams;
    cancel = cancelled_ && !outlives_call_;
  }
  if (cancel) {
    for (const auto& stream : *streams) stream->Cancel();
  }
  Pump();
}

TurnReactor::Reply* TurnReactor::NextReply() {
  for (size_t i = 0; i < replies_.size(); ++i) {
    const size_t index = (next_reply_ + i) % replies_.size();
    Reply& reply = replies_[index];
    while (!reply.ended) {
      if (!reply.delta.has_value()) {
        reply.delta = reply.stream->TryPop();
        reply.position = {.index = static_cast<int>(index)};
      }
      if (!reply.delta.has_value()) break;
      // The usage is worth a message, also of a turn that was cut.
      if (reply.delta->finished || !(broken_ || IsEmpty(*reply.delta))) {
        next_reply_ = index + 1;
        return &reply;
      }
      reply.delta.reset();
    }
  }
  return nullptr;
}

void TurnReactor::Pump() {
  bool leave;
  {
    MutexLock lock(mutex_);
    leave = cancelled_ && outlives_call_;
  }
  if (leave) return Finish(ToGrpcStatus(ClientGone()));
  while (Reply* reply = NextReply()) {
    const bool whole = broken_ || NextMessage(*reply->delta, &reply->position, &message_);
    const bool ends = whole && reply->delta->finished;
    if (ends) {
      if (status_.ok()) status_ = ToGrpcStatus(FinalStatus(*reply->delta));
      reply->ended = true;
      ++ended_;
    }
    if (whole) reply->delta.reset();
    const bool last = ended_ == replies_.size();
    if (last && broken_) return Finish(status_);
    if (last) return StartWriteAndFinish(&message_, grpc::WriteOptions(), status_);
    if (!broken_) return StartWrite(&message_);
  }
  WaitForAny();  // from here on the reactor may be gone
}

void TurnReactor::WaitForAny() {
  const auto post = [this] { context_.dispatcher.Post(this); };
  if (replies_.size() == 1) {
    // Our own: the next driver may delete the reactor while we are still in the stream.
    const std::shared_ptr<TokenStream> stream = replies_.front().stream;
    return stream->NotifyWhenReady(post);
  }
  const auto first = std::make_shared<FirstOfMany>(post);
  for (const Reply& reply : replies_) {
    if (!reply.ended) reply.stream->NotifyWhenReady([first] { first->Ready(); });
  }
  first->AllAsked();
}

void TurnReactor::OnReady() { Pump(); }

void TurnReactor::OnWriteDone(bool ok) {
  if (!ok) {
    broken_ = true;
    OnCancel();
  }
  Pump();
}

void TurnReactor::OnCancel() {
  if (std::chrono::steady_clock::now() + kDeadlineSlack >= deadline_) return;
  TokenStreams streams;
  {
    MutexLock lock(mutex_);
    cancelled_ = true;
    if (!outlives_call_) streams = streams_;
  }
  for (const auto& stream : streams) stream->Cancel();
}

void TurnReactor::OnDone() { delete this; }

}  // namespace cascade
