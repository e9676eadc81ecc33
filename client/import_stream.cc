#include "client/import_stream.h"

#include <utility>

namespace cascade::client {

ImportStream::ImportStream(v1::Cascade::Stub& stub, std::unique_ptr<grpc::ClientContext> context,
                           const v1::ImportOptions& options)
    : context_(std::move(context)), writer_(stub.ImportSession(context_.get(), &session_)) {
  v1::ImportSessionRequest request;
  *request.mutable_options() = options;
  writer_->Write(request);  // what is wrong with it is told by Finish
}

ImportStream::~ImportStream() {
  if (finished_) return;
  Cancel();
  v1::Session dropped;
  Finish(&dropped);
}

bool ImportStream::Send(std::string data) {
  v1::ImportSessionRequest request;
  request.set_data(std::move(data));
  return writer_->Write(request);
}

grpc::Status ImportStream::Finish(v1::Session* session) {
  finished_ = true;
  writer_->WritesDone();
  grpc::Status status = writer_->Finish();
  if (status.ok()) *session = session_;
  return status;
}

}  // namespace cascade::client
