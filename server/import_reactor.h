#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <string>

#include "engine/engine.h"
#include "server/service_context.h"

namespace cascade {

// One ImportSession call. A message is read only when the engine has taken the one before, on a waiter: a client is as
// fast as the server, and one message is all that waits. Driven by one party at a time: gRPC when something was read,
// then a waiter, who begins the next read. Deletes itself.
class ImportReactor final : public grpc::ServerReadReactor<grpc::ByteBuffer> {
 public:
  // `response` lives until the call is finished.
  ImportReactor(const grpc::CallbackServerContext& call, ServiceContext& context, grpc::ByteBuffer* response)
      : call_(call), context_(context), live_(context.streams), response_(response) {}
  void Start();

 private:
  struct Options {
    std::string label;
    std::optional<Durability> durability;
    bool replay = false;
  };

  ~ImportReactor() override = default;
  void OnReadDone(bool ok) override;
  void OnDone() override;

  absl::Status Take();  // the message that was read
  absl::Status Begin(const v1::ImportOptions& wire);
  absl::Status Complete();  // after the last one

  const grpc::CallbackServerContext& call_;
  ServiceContext& context_;
  const LiveStreams::Token live_;
  grpc::ByteBuffer* const response_;
  TransferQuota::Share share_;

  // Of the driver.
  grpc::ByteBuffer message_;
  Options options_;
  std::unique_ptr<SessionImport> import_;  // null until the options came
};

}  // namespace cascade
