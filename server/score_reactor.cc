#include "server/score_reactor.h"

#include <utility>

#include "server/wire.h"

namespace cascade {

absl::StatusOr<TurnRequest> ScoreReactor::Parse(const grpc::ByteBuffer& request, SteadyTime deadline) {
  v1::ScoreRequest wire;
  const absl::Status status = ParseWire(request, &wire);
  if (!status.ok()) return status;
  return ToTurnRequest(std::move(wire), deadline);
}

bool ScoreReactor::NextMessage(const TurnDelta& delta, DeltaPosition* position, grpc::ByteBuffer* message) {
  v1::ScoreResponse response;
  const bool whole = NextPiece(delta, position, &response);
  SerializeWire(response, message);
  return whole;
}

}  // namespace cascade
