// A client-side stream while it is sent: a session on its way into a server.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "cascade/v1/cascade.grpc.pb.h"

namespace cascade::client {

// Owns one ImportSession call. Send and Finish belong to one thread; Cancel may be called from any, as long as the
// stream lives. Dropping one that has not finished cancels the call, and the server keeps nothing.
class ImportStream {
 public:
  // Sends the options.
  ImportStream(v1::Cascade::Stub& stub, std::unique_ptr<grpc::ClientContext> context, const v1::ImportOptions& options);
  ~ImportStream();
  ImportStream(const ImportStream&) = delete;
  ImportStream& operator=(const ImportStream&) = delete;

  // The next bytes of an export, at most 16 MiB; waits while the server has enough. False: it takes no more, and Finish
  // says why.
  bool Send(std::string data);
  // How it ended, and the session on success only. Once only.
  grpc::Status Finish(v1::Session* session);

  // The call ends soon with CANCELLED, unless it has ended by itself.
  void Cancel() { context_->TryCancel(); }

 private:
  std::unique_ptr<grpc::ClientContext> context_;
  v1::Session session_;  // written by the call
  std::unique_ptr<grpc::ClientWriter<v1::ImportSessionRequest>> writer_;
  bool finished_ = false;
};

}  // namespace cascade::client
