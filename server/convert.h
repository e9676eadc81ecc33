// Wire messages to plain requests and back. Here is everything about a request that depends on the wire: presence,
// ranges of wire integers, names. What depends on the model or a session is checked by the engine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cascade/v1/cascade.pb.h"
#include "engine/engine.h"

namespace cascade {

// Requests. INVALID_ARGUMENT names the field as on the wire.
absl::StatusOr<TurnRequest> ToTurnRequest(v1::GenerateRequest request, SteadyTime deadline);
absl::StatusOr<TurnRequest> ToTurnRequest(v1::ScoreRequest request, SteadyTime deadline);
// Replies that are wanted.
absl::StatusOr<int> Replies(const v1::GenerateRequest& request);
absl::StatusOr<RewindRequest> ToRewindRequest(const v1::RewindSessionRequest& request);
absl::StatusOr<ParkTarget> ToParkTarget(v1::ParkTarget wire);
// No value: the field is unset.
absl::StatusOr<std::optional<Durability>> ToDurability(const std::string& field, v1::Durability wire);
absl::StatusOr<int64_t> FromSeq(const v1::ResumeTurnRequest& request);
absl::Status CheckLabel(const std::string& label, const std::string& field = "label");
// Of a field that may be unset.
absl::StatusOr<std::optional<int64_t>> ExpectedPosition(bool has, int64_t value);
// [1, 1000], 100 when unset.
absl::StatusOr<int> PageSize(const v1::ListSessionsRequest& request);
// Each in [0, limit); doubles removed.
absl::StatusOr<std::vector<int>> CheckIndices(const std::string& field,
                                              const google::protobuf::RepeatedField<int32_t>& values, int limit);
std::vector<ChatMessage> ToChatMessages(google::protobuf::RepeatedPtrField<v1::Message>* messages);
absl::Status CheckSessionId(const std::string& id);  // not empty

// Responses. A merged delta may be larger than a message should be, so it is sent in pieces.
struct DeltaPosition {
  size_t text = 0;    // bytes sent
  size_t tokens = 0;  // ids sent, with their log-probabilities
  size_t prompt = 0;  // log-probabilities of the prompt sent
  int index = 0;      // which of several replies it is
};
// The next piece of `delta`; true when it is the last one (which has the finishing fields, if the turn is finished, and
// the delta's seq).
bool NextPiece(const TurnDelta& delta, DeltaPosition* position, v1::GenerateResponse* response);
bool NextPiece(const TurnDelta& delta, DeltaPosition* position, v1::ScoreResponse* response);

v1::Usage ToWire(const Usage& usage);
v1::FinishReason ToWire(FinishReason reason);
v1::Durability ToWire(Durability durability);
v1::CacheGeometry ToWire(const CascadeGeometry& geometry);
v1::Session ToWire(const SessionInfo& session, const EngineOptions& options);
v1::InspectSessionResponse ToWire(const HeadView& head, int64_t position);

}  // namespace cascade
