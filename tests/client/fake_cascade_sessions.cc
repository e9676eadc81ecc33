#include <algorithm>

#include "tests/client/fake_cascade.h"

namespace cascade::client {

grpc::Status FakeCascade::CreateSession(grpc::ServerContext* context, const v1::CreateSessionRequest* request,
                                        v1::Session* session) {
  int number = 0;
  {
    std::lock_guard lock(mutex_);
    number = ++created_;
  }
  v1::Session& made = AddSession("session" + std::to_string(number));
  std::lock_guard lock(mutex_);
  made.set_label(request->label());
  made.set_durability(request->durability());
  *session = made;
  return grpc::Status::OK;
}

grpc::Status FakeCascade::GetSession(grpc::ServerContext* context, const v1::GetSessionRequest* request,
                                     v1::Session* session) {
  std::lock_guard lock(mutex_);
  const auto found = sessions_.find(request->session_id());
  if (found == sessions_.end()) return NotFound();
  *session = found->second;
  return grpc::Status::OK;
}

grpc::Status FakeCascade::ListSessions(grpc::ServerContext* context, const v1::ListSessionsRequest* request,
                                       v1::ListSessionsResponse* response) {
  std::lock_guard lock(mutex_);
  for (const auto& [id, session] : sessions_) {
    if (id <= request->page_token()) continue;
    if (response->sessions_size() == request->page_size()) {
      response->set_next_page_token(response->sessions(response->sessions_size() - 1).session_id());
      break;
    }
    *response->add_sessions() = session;
  }
  return grpc::Status::OK;
}

grpc::Status FakeCascade::DeleteSession(grpc::ServerContext* context, const v1::DeleteSessionRequest* request,
                                        v1::DeleteSessionResponse* response) {
  std::lock_guard lock(mutex_);
  return sessions_.erase(request->session_id()) == 1 ? grpc::Status::OK : NotFound();
}

grpc::Status FakeCascade::ForkSession(grpc::ServerContext* context, const v1::ForkSessionRequest* request,
                                      v1::Session* session) {
  std::lock_guard lock(mutex_);
  const auto found = sessions_.find(request->session_id());
  if (found == sessions_.end()) return NotFound();
  if (request->has_expected_position() && request->expected_position() != found->second.position()) {
    return {grpc::StatusCode::FAILED_PRECONDITION, "the session's position is another"};
  }
  *session = found->second;
  session->set_session_id("session" + std::to_string(++created_));
  session->set_label(request->label());
  sessions_[session->session_id()] = *session;
  return grpc::Status::OK;
}

grpc::Status FakeCascade::ParkSession(grpc::ServerContext* context, const v1::ParkSessionRequest* request,
                                      v1::Session* session) {
  std::lock_guard lock(mutex_);
  const auto found = sessions_.find(request->session_id());
  if (found == sessions_.end()) return NotFound();
  found->second.set_state(request->target() == v1::PARK_TARGET_HOST ? v1::SESSION_STATE_PARKED_HOST
                                                                    : v1::SESSION_STATE_PARKED_DISK);
  *session = found->second;
  return grpc::Status::OK;
}

grpc::Status FakeCascade::RewindSession(grpc::ServerContext* context, const v1::RewindSessionRequest* request,
                                        v1::Session* session) {
  std::lock_guard lock(mutex_);
  rewind_requests_.push_back(*request);
  const auto found = sessions_.find(request->session_id());
  if (found == sessions_.end()) return NotFound();
  const int64_t back = request->has_take_back() ? request->take_back() : 1;
  found->second.set_turns(request->has_to_turn() ? request->to_turn() : found->second.turns() - back);
  *session = found->second;
  return grpc::Status::OK;
}

grpc::Status FakeCascade::ExportSession(grpc::ServerContext* context, const v1::ExportSessionRequest* request,
                                        grpc::ServerWriter<v1::ExportSessionResponse>* writer) {
  std::string bytes;
  {
    std::lock_guard lock(mutex_);
    const auto found = sessions_.find(request->session_id());
    if (found == sessions_.end()) return NotFound();
    bytes = found->second.SerializeAsString();
  }
  if (request->with_history()) bytes += std::string(3 << 20, 'h');
  constexpr size_t kPiece = 1 << 20;
  const size_t sent = export_cut_ ? bytes.size() / 2 : bytes.size();
  for (size_t begin = 0; begin < sent; begin += kPiece) {
    v1::ExportSessionResponse part;
    part.set_data(bytes.substr(begin, std::min(kPiece, sent - begin)));
    part.set_total_bytes(static_cast<int64_t>(bytes.size()));
    writer->Write(part);
  }
  return grpc::Status::OK;
}

grpc::Status FakeCascade::ImportSession(grpc::ServerContext* context,
                                        grpc::ServerReader<v1::ImportSessionRequest>* reader, v1::Session* session) {
  v1::ImportSessionRequest request;
  if (!reader->Read(&request) || !request.has_options()) {
    return {grpc::StatusCode::INVALID_ARGUMENT, "options must be the first message"};
  }
  const v1::ImportOptions options = request.options();
  std::string bytes;
  while (reader->Read(&request)) {
    bytes += request.data();
    // "refuse" is refused in the middle.
    if (bytes.substr(0, 6) == "refuse") return {grpc::StatusCode::DATA_LOSS, "the bytes are damaged"};
  }
  std::lock_guard lock(mutex_);
  if (context->IsCancelled()) return grpc::Status::CANCELLED;
  v1::Session made;
  if (!made.ParseFromString(bytes.substr(0, bytes.find("hhhh")))) {
    return {grpc::StatusCode::DATA_LOSS, "the bytes are damaged"};
  }
  import_options_.push_back(options);
  made.set_session_id("session" + std::to_string(++created_));
  made.set_label(options.label());
  made.set_durability(options.durability());
  *session = sessions_[made.session_id()] = made;
  return grpc::Status::OK;
}

// Replies are forgotten here: it says how far the client was.
grpc::Status FakeCascade::ResumeTurn(grpc::ServerContext* context, const v1::ResumeTurnRequest* request,
                                     grpc::ServerWriter<v1::GenerateResponse>* writer) {
  v1::GenerateResponse part;
  part.set_text("rest after " + std::to_string(request->from_seq()));
  part.set_finish_reason(v1::FINISH_REASON_STOP);
  writer->Write(part);
  return grpc::Status::OK;
}

std::vector<v1::RewindSessionRequest> FakeCascade::rewind_requests() const {
  std::lock_guard lock(mutex_);
  return rewind_requests_;
}

std::vector<v1::ImportOptions> FakeCascade::import_options() const {
  std::lock_guard lock(mutex_);
  return import_options_;
}

}  // namespace cascade::client
