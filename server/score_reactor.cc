#include "server/score_reactor.h"

#include <utility>

#include "server/wire.h"

namespace cascade {

absl::StatusOr<TurnSource> ScoreReactor::Parse(const grpc::ByteBuffer& request) {
  v1::ScoreRequest wire;
  const absl::Status status = ParseWire(request, &wire);
  if (!status.ok()) return status;
  absl::StatusOr<TurnRequest> turn = ToTurnRequest(std::move(wire), deadline());
  if (!turn.ok()) return turn.status();
  return SourceOf(*std::move(turn));
}

bool ScoreReactor::NextMessage(const TurnDelta& delta, DeltaPosition* position, grpc::ByteBuffer* message) {
  return SerializePiece<v1::ScoreResponse>(delta, position, message);
}

}  // namespace cascade
