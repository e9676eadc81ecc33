#include "client/client.h"

#include <utility>

namespace cascade::client {
namespace {

// Room for a whole head's inspection of the largest cache; the server's own limit for a request is 16 MiB.
constexpr int kMaxMessageBytes = 64 << 20;

std::shared_ptr<grpc::Channel> NewChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  // gRPC's own first retry comes after a second, later ones after minutes: too slow for a server that is just starting.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // An http_proxy in the environment is meant for the web; through it a server on this very machine is not found.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

Client::Client(ClientOptions options)
    : options_(std::move(options)), channel_(NewChannel(options_.address)), stub_(v1::Cascade::NewStub(channel_)) {}

grpc::Status Client::Connect(std::chrono::milliseconds patience, bool keep_trying) {
  const auto deadline = std::chrono::system_clock::now() + patience;
  while (true) {
    const grpc_connectivity_state state = channel_->GetState(/*try_to_connect=*/true);
    if (state == GRPC_CHANNEL_READY) return grpc::Status::OK;
    const bool failed = state == GRPC_CHANNEL_SHUTDOWN || (state == GRPC_CHANNEL_TRANSIENT_FAILURE && !keep_trying);
    if (failed || !channel_->WaitForStateChange(state, deadline)) {
      return {grpc::StatusCode::UNAVAILABLE, "no server answers at " + options_.address};
    }
  }
}

std::unique_ptr<grpc::ClientContext> Client::NewContext(const std::string& session_id) const {
  auto context = std::make_unique<grpc::ClientContext>();
  if (options_.timeout) context->set_deadline(std::chrono::system_clock::now() + *options_.timeout);
  if (!session_id.empty()) context->AddMetadata("cascade-session-id", session_id);
  return context;
}

std::unique_ptr<GenerateStream> Client::Generate(const v1::GenerateRequest& request) {
  auto context = NewContext(request.session_id());
  auto reader = stub_->Generate(context.get(), request);
  return std::make_unique<GenerateStream>(std::move(context), std::move(reader));
}

std::unique_ptr<ScoreStream> Client::Score(const v1::ScoreRequest& request) {
  auto context = NewContext(request.session_id());
  auto reader = stub_->Score(context.get(), request);
  return std::make_unique<ScoreStream>(std::move(context), std::move(reader));
}

std::unique_ptr<GenerateStream> Client::ResumeTurn(const v1::ResumeTurnRequest& request) {
  auto context = NewContext(request.session_id());
  auto reader = stub_->ResumeTurn(context.get(), request);
  return std::make_unique<GenerateStream>(std::move(context), std::move(reader));
}

std::unique_ptr<ExportStream> Client::ExportSession(const v1::ExportSessionRequest& request) {
  auto context = NewContext(request.session_id());
  auto reader = stub_->ExportSession(context.get(), request);
  return std::make_unique<ExportStream>(std::move(context), std::move(reader));
}

std::unique_ptr<ImportStream> Client::ImportSession(const v1::ImportOptions& options) {
  return std::make_unique<ImportStream>(*stub_, NewContext(), options);
}

std::unique_ptr<InspectStream> Client::InspectSession(const v1::InspectSessionRequest& request) {
  auto context = NewContext(request.session_id());
  auto reader = stub_->InspectSession(context.get(), request);
  return std::make_unique<InspectStream>(std::move(context), std::move(reader));
}

grpc::Status Client::CreateSession(const v1::CreateSessionRequest& request, v1::Session* session) {
  return stub_->CreateSession(NewContext().get(), request, session);
}

grpc::Status Client::GetSession(const std::string& session_id, v1::Session* session) {
  v1::GetSessionRequest request;
  request.set_session_id(session_id);
  return stub_->GetSession(NewContext(session_id).get(), request, session);
}

grpc::Status Client::ListSessions(const v1::ListSessionsRequest& request, v1::ListSessionsResponse* response) {
  return stub_->ListSessions(NewContext().get(), request, response);
}

grpc::Status Client::DeleteSession(const std::string& session_id) {
  v1::DeleteSessionRequest request;
  request.set_session_id(session_id);
  v1::DeleteSessionResponse response;
  return stub_->DeleteSession(NewContext(session_id).get(), request, &response);
}

grpc::Status Client::ForkSession(const v1::ForkSessionRequest& request, v1::Session* session) {
  return stub_->ForkSession(NewContext(request.session_id()).get(), request, session);
}

grpc::Status Client::ParkSession(const v1::ParkSessionRequest& request, v1::Session* session) {
  return stub_->ParkSession(NewContext(request.session_id()).get(), request, session);
}

grpc::Status Client::RewindSession(const v1::RewindSessionRequest& request, v1::Session* session) {
  return stub_->RewindSession(NewContext(request.session_id()).get(), request, session);
}

grpc::Status Client::Tokenize(const v1::TokenizeRequest& request, v1::TokenizeResponse* response) {
  return stub_->Tokenize(NewContext().get(), request, response);
}

grpc::Status Client::Detokenize(const v1::DetokenizeRequest& request, v1::DetokenizeResponse* response) {
  return stub_->Detokenize(NewContext().get(), request, response);
}

grpc::Status Client::ApplyChatTemplate(const v1::ApplyChatTemplateRequest& request,
                                       v1::ApplyChatTemplateResponse* response) {
  return stub_->ApplyChatTemplate(NewContext().get(), request, response);
}

grpc::Status Client::GetServerInfo(v1::ServerInfo* info) {
  return stub_->GetServerInfo(NewContext().get(), v1::GetServerInfoRequest(), info);
}

}  // namespace cascade::client
