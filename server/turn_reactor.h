// One streaming call that runs a turn: the rules of gRPC's callback API are all here.
//
// DESIGN. At any time exactly one party drives the reactor: the thread that starts it, then, in turns, the dispatcher
// (after the stream told that something is there) and gRPC (after a write is done). So at most one write is in flight,
// and what the driver touches needs no lock. While a write is in flight the engine's deltas merge in the stream; a slow
// reader costs the engine nothing. The engine always ends a turn with a `finished` delta, also after a cancel; only
// then the call is finished, once, and gRPC's OnDone deletes the reactor. The turn knows the stream, not the reactor.
//
// With several streams the driver sends what is there, from one after the other in turn, and waits for any of them when
// there is nothing. The call's status is that of the first reply that failed.
//
// A turn that goes on without its caller is left by the next driver: when the write in flight is done, or the turn has
// something again.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/token_stream.h"
#include "engine/turn_request.h"
#include "server/convert.h"
#include "server/service_context.h"
#include "server/wire.h"

namespace cascade {

using TokenStreams = std::vector<std::shared_ptr<TokenStream>>;

// How a call gets its stream, or several that are sent as they come, each message with its index.
struct TurnSource {
  std::function<absl::StatusOr<TokenStreams>()> open;  // called once
  bool waits = false;                                  // open() may wait for files
  bool takes_long = false;                             // .. or has much to do
  bool outlives_call = false;                          // a caller that goes away leaves the turn running
};

// Deletes itself. Made on the heap and started once.
class TurnReactor : public grpc::ServerWriteReactor<grpc::ByteBuffer>, private ReadyWriter {
 public:
  // Does not wait: large requests are handed to the workers, turns whose session is on the disk to the waiters.
  void Start(const grpc::ByteBuffer& request);

 protected:
  // `deadline`: the turn's, which the engine ends by itself. Where the call's is another, max().
  TurnReactor(ServiceContext& context, SteadyTime deadline);
  ~TurnReactor() override = default;

  virtual absl::StatusOr<TurnSource> Parse(const grpc::ByteBuffer& request) = 0;
  // See NextPiece.
  virtual bool NextMessage(const TurnDelta& delta, DeltaPosition* position, grpc::ByteBuffer* message) = 0;

  // The streams of a new turn, or of `replies` of them.
  TurnSource SourceOf(TurnRequest turn, int replies = 1);
  ServiceContext& context() { return context_; }
  SteadyTime deadline() const { return deadline_; }

 private:
  struct Reply {
    std::shared_ptr<TokenStream> stream;
    std::optional<TurnDelta> delta;  // being sent
    DeltaPosition position;          // in it
    bool ended = false;
  };

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  void OnReady() override;

  void Begin(const grpc::ByteBuffer& request);
  void Open(TurnSource& source);
  void Pump();
  // The next stream that has something to send, or nullptr.
  Reply* NextReply();
  void WaitForAny();

  ServiceContext& context_;
  const LiveStreams::Token live_;
  const SteadyTime deadline_;

  // Of the driver.
  std::vector<Reply> replies_;
  size_t next_reply_ = 0;  // whose turn it is
  size_t ended_ = 0;
  grpc::Status status_;
  grpc::ByteBuffer message_;  // in flight
  bool broken_ = false;       // a write failed: nobody reads any more

  Mutex mutex_;
  // Both written once, by the first driver; OnCancel may come before or after.
  TokenStreams streams_ CASCADE_GUARDED_BY(mutex_);
  bool outlives_call_ CASCADE_GUARDED_BY(mutex_) = false;
  bool cancelled_ CASCADE_GUARDED_BY(mutex_) = false;
};

// NextMessage for one kind of response.
template <class Response>
bool SerializePiece(const TurnDelta& delta, DeltaPosition* position, grpc::ByteBuffer* message) {
  Response response;
  const bool whole = NextPiece(delta, position, &response);
  SerializeWire(response, message);
  return whole;
}

// The call's deadline on the steady clock; SteadyTime::max() when it has none.
SteadyTime DeadlineOf(const grpc::CallbackServerContext& call);

}  // namespace cascade
