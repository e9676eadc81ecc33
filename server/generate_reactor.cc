#include "server/generate_reactor.h"

#include <utility>

#include "server/wire.h"

namespace cascade {

absl::StatusOr<TurnSource> GenerateReactor::Parse(const grpc::ByteBuffer& request) {
  v1::GenerateRequest wire;
  const absl::Status status = ParseWire(request, &wire);
  if (!status.ok()) return status;
  const absl::StatusOr<int> replies = Replies(wire);
  if (!replies.ok()) return replies.status();
  absl::StatusOr<TurnRequest> turn = ToTurnRequest(std::move(wire), deadline());
  if (!turn.ok()) return turn.status();
  return SourceOf(*std::move(turn), *replies);
}

bool GenerateReactor::NextMessage(const TurnDelta& delta, DeltaPosition* position, grpc::ByteBuffer* message) {
  return SerializePiece<v1::GenerateResponse>(delta, position, message);
}

}  // namespace cascade
