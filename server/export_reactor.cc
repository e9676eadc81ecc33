#include "server/export_reactor.h"

#include <algorithm>
#include <string>
#include <utility>

#include "server/convert.h"
#include "server/grpc_status.h"
#include "server/wire.h"

namespace cascade {
namespace {

// Appends what of `part`, which begins at `begin`, lies in [from, to).
template <class Byte>
void AppendOverlap(std::span<const Byte> part, size_t begin, size_t from, size_t to, std::string* out) {
  const size_t first = std::max(from, begin) - begin;
  const size_t last = std::min(to, begin + part.size());
  if (last <= begin + first) return;
  out->append(reinterpret_cast<const char*>(part.data()) + first, last - begin - first);
}

}  // namespace

absl::Status ExportReactor::Fetch(const grpc::ByteBuffer& bytes) {
  v1::ExportSessionRequest request;
  absl::Status status = ParseWire(bytes, &request);
  if (status.ok()) status = CheckSessionId(request.session_id());
  if (!status.ok()) return status;
  if (call_.IsCancelled()) return ClientGone();
  absl::StatusOr<TransferQuota::Share> share = context().transfers.Take();
  if (!share.ok()) return share.status();
  share_ = *std::move(share);
  absl::StatusOr<SessionExport> session = context().engine.ExportSession(request.session_id(), request.with_history());
  if (!session.ok()) return session.status();
  export_ = *std::move(session);
  return absl::OkStatus();
}

void ExportReactor::WriteNext() {
  const size_t total = export_.bytes();
  const size_t end = std::min(total, sent_ + kExportPieceBytes);
  v1::ExportSessionResponse response;
  response.set_total_bytes(static_cast<int64_t>(total));
  std::string& data = *response.mutable_data();
  data.reserve(end - sent_);
  AppendOverlap(std::span<const uint8_t>(export_.head), 0, sent_, end, &data);
  if (export_.cache != nullptr) {
    AppendOverlap(std::span<const std::byte>(export_.cache->bytes()), export_.head.size(), sent_, end, &data);
  }
  sent_ = end;
  SerializeWire(response, &message());
  if (sent_ == total) return StartWriteAndFinish(&message(), grpc::WriteOptions(), grpc::Status::OK);
  StartWrite(&message());
}

}  // namespace cascade
