#include "server/resume_reactor.h"

#include <string>
#include <utility>

#include "server/wire.h"

namespace cascade {

absl::StatusOr<TurnSource> ResumeReactor::Parse(const grpc::ByteBuffer& request) {
  v1::ResumeTurnRequest wire;
  absl::Status status = CheckSmallRequest(request);
  if (status.ok()) status = ParseWire(request, &wire);
  if (status.ok()) status = CheckSessionId(wire.session_id());
  if (!status.ok()) return status;
  const absl::StatusOr<int64_t> from_seq = FromSeq(wire);
  if (!from_seq.ok()) return from_seq.status();
  TurnSource source;
  source.waits = true;
  source.outlives_call = true;
  source.open = [this, id = std::move(*wire.mutable_session_id()),
                 from_seq = *from_seq]() -> absl::StatusOr<TokenStreams> {
    absl::StatusOr<std::shared_ptr<TokenStream>> stream = context().engine.ResumeTurn(id, from_seq);
    if (!stream.ok()) return stream.status();
    return TokenStreams{*std::move(stream)};
  };
  return source;
}

bool ResumeReactor::NextMessage(const TurnDelta& delta, DeltaPosition* position, grpc::ByteBuffer* message) {
  return SerializePiece<v1::GenerateResponse>(delta, position, message);
}

}  // namespace cascade
