// A session on the server, seen from the client.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/client.h"

namespace cascade::client {

// Holds the handle only: the session lives on the server until Delete, or until it expires there. One turn at a time;
// `client` must outlive it.
class Session {
 public:
  // Makes a new one. `session` is set on success only.
  static grpc::Status Create(Client& client, const std::string& label, std::unique_ptr<Session>* session);
  // One that exists: NOT_FOUND otherwise.
  static grpc::Status Attach(Client& client, const std::string& id, std::unique_ptr<Session>* session);

  // A turn: feeds the messages that are new and streams the reply. `like`: all else that the request says.
  std::unique_ptr<GenerateStream> Send(const std::vector<v1::Message>& messages, v1::GenerateRequest like = {});
  grpc::Status Get(v1::Session* state) { return client_.GetSession(id_, state); }
  grpc::Status Delete() { return client_.DeleteSession(id_); }
  const std::string& id() const { return id_; }

 private:
  Session(Client& client, std::string id) : client_(client), id_(std::move(id)) {}

  Client& client_;
  const std::string id_;
};

}  // namespace cascade::client
