#include "server/import_reactor.h"

#include <span>
#include <utility>

#include "server/convert.h"
#include "server/grpc_status.h"
#include "server/session_calls.h"
#include "server/wire.h"

namespace cascade {

void ImportReactor::Start() {
  absl::StatusOr<TransferQuota::Share> share = context_.transfers.Take();
  if (!share.ok()) return Finish(ToGrpcStatus(share.status()));
  share_ = *std::move(share);
  StartRead(&message_);
}

void ImportReactor::OnReadDone(bool ok) {
  const absl::Status posted = context_.waiters.Post([this, ok] {
    const absl::Status status = ok ? Take() : Complete();
    if (!status.ok() || !ok) return Finish(ToGrpcStatus(status));
    StartRead(&message_);
  });
  if (!posted.ok()) Finish(ToGrpcStatus(posted));
}

absl::Status ImportReactor::Take() {
  v1::ImportSessionRequest request;
  const absl::Status status = ParseWire(message_, &request);
  message_.Clear();
  if (!status.ok()) return status;
  if (request.has_options()) {
    if (import_ != nullptr) return absl::InvalidArgumentError("options must be the first message only");
    return Begin(request.options());
  }
  if (import_ == nullptr) return absl::InvalidArgumentError("options must be the first message");
  if (request.data().empty()) return absl::InvalidArgumentError("data must not be empty");
  return import_->Add({reinterpret_cast<const uint8_t*>(request.data().data()), request.data().size()});
}

absl::Status ImportReactor::Begin(const v1::ImportOptions& wire) {
  if (absl::Status status = CheckLabel(wire.label(), "options.label"); !status.ok()) return status;
  const auto durability = ToDurability("options.durability", wire.durability());
  if (!durability.ok()) return durability.status();
  options_ = {wire.label(), *durability, wire.replay()};
  absl::StatusOr<std::unique_ptr<SessionImport>> import = context_.engine.ImportSession();
  if (!import.ok()) return import.status();
  import_ = *std::move(import);
  return absl::OkStatus();
}

absl::Status ImportReactor::Complete() {
  // The end of the messages; or of the client.
  if (call_.IsCancelled()) return ClientGone();
  if (import_ == nullptr) return absl::InvalidArgumentError("options must be the first message");
  v1::Session session;
  const absl::Status status =
      SetNewSession(context_, call_, import_->Finish(options_.label, options_.durability, options_.replay), &session);
  import_.reset();
  if (status.ok()) SerializeWire(session, response_);
  return status;
}

void ImportReactor::OnDone() { delete this; }

}  // namespace cascade
