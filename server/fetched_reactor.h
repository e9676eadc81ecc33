// A streaming call whose answer is fetched once, by a waiter, and then written message by message, one write in flight.
#pragma once

#include <grpcpp/grpcpp.h>

#include "absl/status/status.h"
#include "server/service_context.h"

namespace cascade {

// Deletes itself. Made on the heap and started once.
class FetchedReactor : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  void Start(const grpc::ByteBuffer& request);

 protected:
  explicit FetchedReactor(ServiceContext& context) : context_(context), live_(context.streams) {}
  ~FetchedReactor() override = default;

  // On a waiter's thread. Anything but OK ends the call.
  virtual absl::Status Fetch(const grpc::ByteBuffer& request) = 0;
  // Writes the next message, from message(), or finishes the call.
  virtual void WriteNext() = 0;

  ServiceContext& context() { return context_; }
  grpc::ByteBuffer& message() { return message_; }

 private:
  void OnWriteDone(bool ok) override;
  void OnDone() override;

  ServiceContext& context_;
  const LiveStreams::Token live_;
  grpc::ByteBuffer message_;  // in flight
};

}  // namespace cascade
