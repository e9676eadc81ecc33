#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <vector>

#include "engine/engine.h"
#include "server/service_context.h"

namespace cascade {

// One InspectSession call: a waiter fetches the views, then one message per layer and head, one write in flight.
// Deletes itself.
class InspectReactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  explicit InspectReactor(ServiceContext& context) : context_(context), live_(context.streams) {}
  void Start(const grpc::ByteBuffer& request);

 private:
  ~InspectReactor() override = default;
  void OnWriteDone(bool ok) override;
  void OnDone() override;

  absl::Status Fetch(const grpc::ByteBuffer& request);
  void WriteNext();

  ServiceContext& context_;
  const LiveStreams::Token live_;
  std::vector<HeadView> heads_;
  int64_t position_ = 0;
  size_t next_ = 0;           // of heads_
  grpc::ByteBuffer message_;  // in flight
};

}  // namespace cascade
