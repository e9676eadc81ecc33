#include "client/session.h"

namespace cascade::client {

grpc::Status Session::Create(Client& client, const std::string& label, std::unique_ptr<Session>* session) {
  v1::CreateSessionRequest request;
  request.set_label(label);
  v1::Session state;
  grpc::Status status = client.CreateSession(request, &state);
  if (status.ok()) session->reset(new Session(client, state.session_id()));
  return status;
}

grpc::Status Session::Attach(Client& client, const std::string& id, std::unique_ptr<Session>* session) {
  v1::Session state;
  grpc::Status status = client.GetSession(id, &state);
  if (status.ok()) session->reset(new Session(client, state.session_id()));
  return status;
}

std::unique_ptr<GenerateStream> Session::Send(const std::vector<v1::Message>& messages, v1::GenerateRequest like) {
  like.set_session_id(id_);
  v1::Messages& fed = *like.mutable_prompt()->mutable_messages();
  for (const v1::Message& message : messages) *fed.add_messages() = message;
  return client_.Generate(like);
}

}  // namespace cascade::client
