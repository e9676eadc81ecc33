// A connection to one Cascade server.
//
//   Client client({.address = "127.0.0.1:50051"});
//   v1::GenerateRequest request;
//   request.mutable_prompt()->set_text("Once upon a time");
//   auto reply = client.Generate(request);
//   for (v1::GenerateResponse part; reply->Next(&part);) std::cout << part.text();
//   grpc::Status status = reply->Finish();
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "cascade/v1/cascade.grpc.pb.h"
#include "client/import_stream.h"
#include "client/stream.h"

namespace cascade::client {

struct ClientOptions {
  // host:port.
  std::string address = "127.0.0.1:50051";
  // Deadline of each call, from its start. None: a call may take as long as it needs.
  std::optional<std::chrono::milliseconds> timeout = std::nullopt;
};

using GenerateStream = Stream<v1::GenerateResponse>;
using ScoreStream = Stream<v1::ScoreResponse>;
using InspectStream = Stream<v1::InspectSessionResponse>;
using ExportStream = Stream<v1::ExportSessionResponse>;

// Any thread may call anything. Errors are those of the server (cascade.proto lists them), and UNAVAILABLE when it
// cannot be reached.
class Client {
 public:
  explicit Client(ClientOptions options);

  // Waits until the server is reached. UNAVAILABLE at the first failure, or, with `keep_trying`, when `patience` is
  // over.
  grpc::Status Connect(std::chrono::milliseconds patience, bool keep_trying = false);

  std::unique_ptr<GenerateStream> Generate(const v1::GenerateRequest& request);
  std::unique_ptr<ScoreStream> Score(const v1::ScoreRequest& request);
  // The rest of a session's last Generate call.
  std::unique_ptr<GenerateStream> ResumeTurn(const v1::ResumeTurnRequest& request);
  std::unique_ptr<InspectStream> InspectSession(const v1::InspectSessionRequest& request);
  std::unique_ptr<ExportStream> ExportSession(const v1::ExportSessionRequest& request);
  std::unique_ptr<ImportStream> ImportSession(const v1::ImportOptions& options);

  grpc::Status CreateSession(const v1::CreateSessionRequest& request, v1::Session* session);
  grpc::Status GetSession(const std::string& session_id, v1::Session* session);
  grpc::Status ListSessions(const v1::ListSessionsRequest& request, v1::ListSessionsResponse* response);
  grpc::Status DeleteSession(const std::string& session_id);
  grpc::Status ForkSession(const v1::ForkSessionRequest& request, v1::Session* session);
  grpc::Status ParkSession(const v1::ParkSessionRequest& request, v1::Session* session);
  grpc::Status RewindSession(const v1::RewindSessionRequest& request, v1::Session* session);

  grpc::Status Tokenize(const v1::TokenizeRequest& request, v1::TokenizeResponse* response);
  grpc::Status Detokenize(const v1::DetokenizeRequest& request, v1::DetokenizeResponse* response);
  grpc::Status ApplyChatTemplate(const v1::ApplyChatTemplateRequest& request, v1::ApplyChatTemplateResponse* response);
  grpc::Status GetServerInfo(v1::ServerInfo* info);

  const std::string& address() const { return options_.address; }

 private:
  // With the deadline, and the session's id as metadata, by which a proxy can route.
  std::unique_ptr<grpc::ClientContext> NewContext(const std::string& session_id = "") const;

  ClientOptions options_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Cascade::Stub> stub_;
};

}  // namespace cascade::client
