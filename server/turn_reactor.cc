#include "server/turn_reactor.h"

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

bool IsEmpty(const TurnDelta& delta) { return delta.text.empty() && delta.token_ids.empty(); }

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

TurnSource TurnReactor::SourceOf(TurnRequest turn) {
  TurnSource source;
  source.waits = !turn.session_id.empty() && context_.engine.SubmitWaits(turn.session_id);
  source.outlives_call = turn.on_cancel == OnCancel::kContinue;
  source.open = [this, turn = std::move(turn)]() mutable { return context_.engine.Submit(std::move(turn)); };
  return source;
}

void TurnReactor::Begin(const grpc::ByteBuffer& request) {
  absl::StatusOr<TurnSource> source = Parse(request);
  if (!source.ok()) return Finish(ToGrpcStatus(source.status()));
  if (!source->waits) return Open(*source);
  const absl::Status posted = context_.waiters.Post([this, source = *std::move(source)]() mutable { Open(source); });
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
  absl::StatusOr<std::shared_ptr<TokenStream>> stream = source.open();
  if (!stream.ok()) return Finish(ToGrpcStatus(stream.status()));
  bool cancel;
  {
    MutexLock lock(mutex_);
    stream_ = *stream;
    cancel = cancelled_ && !outlives_call_;
  }
  if (cancel) (*stream)->Cancel();
  Pump();
}

void TurnReactor::Pump() {
  std::shared_ptr<TokenStream>
      stream;  // our own: the next driver may delete the reactor while we are still in the stream
  bool leave;
  {
    MutexLock lock(mutex_);
    stream = stream_;
    leave = cancelled_ && outlives_call_;
  }
  if (leave) return Finish(ToGrpcStatus(ClientGone()));
  for (;;) {
    if (!delta_.has_value()) {
      delta_ = stream->TryPop();
      position_ = {};
    }
    if (!delta_.has_value()) {
      stream->NotifyWhenReady([this] { context_.dispatcher.Post(this); });
      return;  // from here on the reactor may be gone
    }
    if (delta_->finished && (broken_ || IsEmpty(*delta_))) return FinishTurn();
    if (broken_ || IsEmpty(*delta_)) {
      delta_.reset();
      continue;
    }
    const bool whole = NextMessage(*delta_, &position_, &message_);
    if (whole && delta_->finished) {
      return StartWriteAndFinish(&message_, grpc::WriteOptions(), ToGrpcStatus(FinalStatus(*delta_)));
    }
    if (whole) delta_.reset();
    return StartWrite(&message_);
  }
}

void TurnReactor::FinishTurn() {
  const grpc::Status status = ToGrpcStatus(FinalStatus(*delta_));
  if (broken_) return Finish(status);
  // The usage is worth a message, also of a turn that was cut.
  NextMessage(*delta_, &position_, &message_);
  StartWriteAndFinish(&message_, grpc::WriteOptions(), status);
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
  std::shared_ptr<TokenStream> stream;
  {
    MutexLock lock(mutex_);
    cancelled_ = true;
    if (!outlives_call_) stream = stream_;
  }
  if (stream != nullptr) stream->Cancel();
}

void TurnReactor::OnDone() { delete this; }

}  // namespace cascade
