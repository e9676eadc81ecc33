#pragma once

#include "engine/engine.h"
#include "server/fetched_reactor.h"

namespace cascade {

// Bytes of a message of an export.
inline constexpr size_t kExportPieceBytes = size_t{1} << 20;

// One ExportSession call: the session goes out in pieces. What it holds is the engine's one copy of the cache and a
// piece.
class ExportReactor final : public FetchedReactor {
 public:
  ExportReactor(const grpc::CallbackServerContext& call, ServiceContext& context)
      : FetchedReactor(context), call_(call) {}

 private:
  ~ExportReactor() override = default;
  absl::Status Fetch(const grpc::ByteBuffer& request) override;
  void WriteNext() override;

  const grpc::CallbackServerContext& call_;
  TransferQuota::Share share_;
  SessionExport export_;
  size_t sent_ = 0;  // bytes of export_
};

}  // namespace cascade
