// A server-side stream while it is read.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <utility>

namespace cascade::client {

// Owns one call. Next and Finish belong to one thread; Cancel may be called from any, as long as the stream lives.
// Dropping a stream that has not finished cancels the call.
template <class Response>
class Stream {
 public:
  Stream(std::unique_ptr<grpc::ClientContext> context, std::unique_ptr<grpc::ClientReader<Response>> reader)
      : context_(std::move(context)), reader_(std::move(reader)) {}
  ~Stream() {
    if (finished_) return;
    Cancel();
    Finish();
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Waits for the next message. False: there is none, Finish says why.
  bool Next(Response* response) {
    ended_ = ended_ || !reader_->Read(response);
    return !ended_;
  }

  // How the call ended. Messages that were not read are dropped. Once only.
  grpc::Status Finish() {
    Response dropped;
    while (Next(&dropped)) {
    }
    finished_ = true;
    return reader_->Finish();
  }

  // The call ends soon with CANCELLED, unless it has ended by itself.
  void Cancel() { context_->TryCancel(); }

 private:
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReader<Response>> reader_;
  bool ended_ = false;
  bool finished_ = false;
};

}  // namespace cascade::client
