#pragma once

#include <grpcpp/grpcpp.h>

#include "engine/engine.h"
#include "server/service_context.h"

namespace cascade {

// Bytes of a message of an export.
inline constexpr size_t kExportPieceBytes = size_t{1} << 20;

// One ExportSession call: a waiter fetches the session, then it goes out in pieces, one write in flight. What it holds
// is the engine's one copy of the cache and a piece. Deletes itself.
class ExportReactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  ExportReactor(const grpc::CallbackServerContext& call, ServiceContext& context)
      : call_(call), context_(context), live_(context.streams) {}
  void Start(const grpc::ByteBuffer& request);

 private:
  ~ExportReactor() override = default;
  void OnWriteDone(bool ok) override;
  void OnDone() override;

  absl::Status Fetch(const grpc::ByteBuffer& request);
  void WriteNext();

  const grpc::CallbackServerContext& call_;
  ServiceContext& context_;
  const LiveStreams::Token live_;
  TransferQuota::Share share_;
  SessionExport export_;
  size_t sent_ = 0;           // bytes of export_
  grpc::ByteBuffer message_;  // in flight
};

}  // namespace cascade
