// A Cascade server in this process, on a port of its own, that gives scripted replies.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cascade/v1/cascade.grpc.pb.h"

namespace cascade::client {

// Tokens are the bytes of a text. Sessions live in memory and count their tokens. A prompt is answered with "echo: "
// and the prompt's last text, byte by byte, unless SetReply says otherwise. An export is the session's message, and with
// its history 3 MiB more.
class FakeCascade final : public v1::Cascade::Service {
 public:
  FakeCascade();
  ~FakeCascade() override;

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  // Every Generate from now on fails with this, error details included; grpc::Status::OK takes it back.
  void FailGenerate(grpc::Status status);
  // Replies never end by themselves.
  void ReplyForever(bool forever) { forever_ = forever; }
  // So many of the next turns are answered with ABORTED.
  void BeBusy(int turns) { busy_turns_ = turns; }
  void SetReply(std::string text);
  // Exports end before all of their bytes came.
  void CutExports() { export_cut_ = true; }

  std::vector<v1::GenerateRequest> generate_requests() const;
  std::vector<v1::ScoreRequest> score_requests() const;
  std::vector<v1::RewindSessionRequest> rewind_requests() const;
  std::vector<v1::ImportOptions> import_options() const;  // of imports that were taken
  std::vector<std::string> session_ids() const;
  // Of the last call that named one.
  std::string session_metadata() const;
  int cancelled_replies() const { return cancelled_replies_; }
  v1::Session& AddSession(const std::string& id);

  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>* writer) override;
  grpc::Status Score(grpc::ServerContext* context, const v1::ScoreRequest* request,
                     grpc::ServerWriter<v1::ScoreResponse>* writer) override;
  grpc::Status CreateSession(grpc::ServerContext* context, const v1::CreateSessionRequest* request,
                             v1::Session* session) override;
  grpc::Status GetSession(grpc::ServerContext* context, const v1::GetSessionRequest* request,
                          v1::Session* session) override;
  grpc::Status ListSessions(grpc::ServerContext* context, const v1::ListSessionsRequest* request,
                            v1::ListSessionsResponse* response) override;
  grpc::Status DeleteSession(grpc::ServerContext* context, const v1::DeleteSessionRequest* request,
                             v1::DeleteSessionResponse* response) override;
  grpc::Status ForkSession(grpc::ServerContext* context, const v1::ForkSessionRequest* request,
                           v1::Session* session) override;
  grpc::Status ParkSession(grpc::ServerContext* context, const v1::ParkSessionRequest* request,
                           v1::Session* session) override;
  grpc::Status RewindSession(grpc::ServerContext* context, const v1::RewindSessionRequest* request,
                             v1::Session* session) override;
  grpc::Status ExportSession(grpc::ServerContext* context, const v1::ExportSessionRequest* request,
                             grpc::ServerWriter<v1::ExportSessionResponse>* writer) override;
  grpc::Status ImportSession(grpc::ServerContext* context, grpc::ServerReader<v1::ImportSessionRequest>* reader,
                             v1::Session* session) override;
  grpc::Status ResumeTurn(grpc::ServerContext* context, const v1::ResumeTurnRequest* request,
                          grpc::ServerWriter<v1::GenerateResponse>* writer) override;
  grpc::Status InspectSession(grpc::ServerContext* context, const v1::InspectSessionRequest* request,
                              grpc::ServerWriter<v1::InspectSessionResponse>* writer) override;
  grpc::Status Tokenize(grpc::ServerContext* context, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override;
  grpc::Status Detokenize(grpc::ServerContext* context, const v1::DetokenizeRequest* request,
                          v1::DetokenizeResponse* response) override;
  grpc::Status GetServerInfo(grpc::ServerContext* context, const v1::GetServerInfoRequest* request,
                             v1::ServerInfo* info) override;

 private:
  grpc::Status NotFound() const { return {grpc::StatusCode::NOT_FOUND, "no such session"}; }

  mutable std::mutex mutex_;  // guards what is not atomic below
  std::map<std::string, v1::Session> sessions_;
  std::vector<v1::GenerateRequest> generate_requests_;
  std::vector<v1::ScoreRequest> score_requests_;
  std::vector<v1::RewindSessionRequest> rewind_requests_;
  std::vector<v1::ImportOptions> import_options_;
  std::string session_metadata_;
  grpc::Status generate_status_;
  std::string reply_;
  int created_ = 0;
  std::atomic<bool> forever_ = false;
  std::atomic<bool> export_cut_ = false;
  std::atomic<int> busy_turns_ = 0;
  std::atomic<int> cancelled_replies_ = 0;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace cascade::client
