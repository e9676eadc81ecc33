#include "server/inspect_reactor.h"

#include <utility>

#include "server/convert.h"
#include "server/wire.h"

namespace cascade {

absl::Status InspectReactor::Fetch(const grpc::ByteBuffer& bytes) {
  v1::InspectSessionRequest request;
  absl::Status status = ParseWire(bytes, &request);
  if (!status.ok()) return status;
  status = CheckSessionId(request.session_id());
  if (!status.ok()) return status;
  const EngineOptions& options = context().engine.options();
  absl::StatusOr<std::vector<int>> layers = CheckIndices("layers", request.layers(), options.num_layers);
  if (!layers.ok()) return layers.status();
  absl::StatusOr<std::vector<int>> kv_heads = CheckIndices("kv_heads", request.kv_heads(), options.num_kv_heads);
  if (!kv_heads.ok()) return kv_heads.status();
  absl::StatusOr<std::vector<HeadView>> heads =
      context().engine.InspectSession(request.session_id(), *std::move(layers), *std::move(kv_heads), &position_);
  if (!heads.ok()) return heads.status();
  heads_ = *std::move(heads);
  return absl::OkStatus();
}

void InspectReactor::WriteNext() {
  if (next_ == heads_.size()) return Finish(grpc::Status::OK);
  SerializeWire(ToWire(heads_[next_++], position_), &message());
  StartWrite(&message());
}

}  // namespace cascade
