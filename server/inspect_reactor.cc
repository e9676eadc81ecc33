#include "server/inspect_reactor.h"

#include <utility>

#include "server/convert.h"
#include "server/grpc_status.h"
#include "server/wire.h"

namespace cascade {

void InspectReactor::Start(const grpc::ByteBuffer& request) {
  const absl::Status posted = context_.workers.Post([this, request] {
    const absl::Status status = Fetch(request);
    if (!status.ok()) return Finish(ToGrpcStatus(status));
    WriteNext();
  });
  if (!posted.ok()) Finish(ToGrpcStatus(posted));
}

absl::Status InspectReactor::Fetch(const grpc::ByteBuffer& bytes) {
  v1::InspectSessionRequest request;
  absl::Status status = ParseWire(bytes, &request);
  if (!status.ok()) return status;
  status = CheckSessionId(request.session_id());
  if (!status.ok()) return status;
  const EngineOptions& options = context_.engine.options();
  absl::StatusOr<std::vector<int>> layers = CheckIndices("layers", request.layers(), options.num_layers);
  if (!layers.ok()) return layers.status();
  absl::StatusOr<std::vector<int>> kv_heads = CheckIndices("kv_heads", request.kv_heads(), options.num_kv_heads);
  if (!kv_heads.ok()) return kv_heads.status();
  absl::StatusOr<std::vector<HeadView>> heads =
      context_.engine.InspectSession(request.session_id(), *std::move(layers), *std::move(kv_heads), &position_);
  if (!heads.ok()) return heads.status();
  heads_ = *std::move(heads);
  return absl::OkStatus();
}

void InspectReactor::WriteNext() {
  if (next_ == heads_.size()) return Finish(grpc::Status::OK);
  SerializeWire(ToWire(heads_[next_++], position_), &message_);
  StartWrite(&message_);
}

void InspectReactor::OnWriteDone(bool ok) {
  if (!ok) return Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the client went away"));
  WriteNext();
}

void InspectReactor::OnDone() { delete this; }

}  // namespace cascade
