#include "server/cascade_service.h"

#include <algorithm>
#include <utility>

#include "server/export_reactor.h"
#include "server/generate_reactor.h"
#include "server/grpc_status.h"
#include "server/import_reactor.h"
#include "server/inspect_reactor.h"
#include "server/resume_reactor.h"
#include "server/score_reactor.h"
#include "server/session_calls.h"
#include "server/text_calls.h"
#include "server/wire.h"

namespace cascade {
namespace {

// Where a unary call runs: those that may wait for the engine or for files never on a callback thread, the others only
// when their bytes are few.
enum class Runs { kAnywhere, kOnWaiter };

// Parses, runs work(Request&, Response*) -> absl::Status, answers.
template <class Request, class Response, class Work>
grpc::ServerUnaryReactor* Answer(ServiceContext& context, grpc::CallbackServerContext* call,
                                 const grpc::ByteBuffer* request, grpc::ByteBuffer* response, Runs runs, Work work) {
  grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
  const bool waits = runs == Runs::kOnWaiter;
  // Request and response bytes live until the call is finished, which is the last thing done here.
  auto job = [reactor, call, request, response, waits, work = std::move(work)] {
    Request parsed;
    Response result;
    absl::Status status = ParseWire(*request, &parsed);
    if (status.ok() && waits && call->IsCancelled()) status = ClientGone();
    if (status.ok()) status = work(parsed, &result);
    if (status.ok()) SerializeWire(result, response);
    reactor->Finish(ToGrpcStatus(status));
  };
  if (!waits && request->Length() <= kInlineRequestBytes) {
    job();
    return reactor;
  }
  absl::Status status = waits ? CheckSmallRequest(*request) : absl::OkStatus();
  if (status.ok()) status = (waits ? context.waiters : context.workers).Post(std::move(job));
  if (!status.ok()) reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

// Sessions that can still be made.
int SessionsFree(const ServiceContext& context) {
  const EngineOptions& options = context.engine.options();
  int free = context.info.max_num_sessions() - context.engine.metrics().sessions.load();
  // Where none can be parked each needs a slot; one stays for one-shot requests.
  if (options.vault == nullptr && options.host_cache_bytes == 0) free = std::min(free, context.engine.SlotsFree() - 1);
  return std::max(0, free);
}

}  // namespace

CascadeService::Stream* CascadeService::Generate(Call* call, const Bytes* request) {
  auto* reactor = new GenerateReactor(*call, context_);
  reactor->Start(*request);
  return reactor;
}

CascadeService::Stream* CascadeService::Score(Call* call, const Bytes* request) {
  auto* reactor = new ScoreReactor(*call, context_);
  reactor->Start(*request);
  return reactor;
}

CascadeService::Stream* CascadeService::ResumeTurn(Call* call, const Bytes* request) {
  auto* reactor = new ResumeReactor(context_);
  reactor->Start(*request);
  return reactor;
}

CascadeService::Stream* CascadeService::ExportSession(Call* call, const Bytes* request) {
  auto* reactor = new ExportReactor(*call, context_);
  reactor->Start(*request);
  return reactor;
}

CascadeService::Reader* CascadeService::ImportSession(Call* call, Bytes* response) {
  auto* reactor = new ImportReactor(*call, context_, response);
  reactor->Start();
  return reactor;
}

CascadeService::Stream* CascadeService::InspectSession(Call* call, const Bytes* request) {
  auto* reactor = new InspectReactor(context_);
  reactor->Start(*request);
  return reactor;
}

CascadeService::Unary* CascadeService::CreateSession(Call* call, const Bytes* request, Bytes* response) {
  return Answer<v1::CreateSessionRequest, v1::Session>(context_, call, request, response, Runs::kOnWaiter,
                                                       [this, call](v1::CreateSessionRequest& in, v1::Session* out) {
                                                         return RunCreateSession(context_, *call, in, out);
                                                       });
}

CascadeService::Unary* CascadeService::GetSession(Call* call, const Bytes* request, Bytes* response) {
  return Answer<v1::GetSessionRequest, v1::Session>(
      context_, call, request, response, Runs::kOnWaiter,
      [this](v1::GetSessionRequest& in, v1::Session* out) { return RunGetSession(context_, in, out); });
}

CascadeService::Unary* CascadeService::ListSessions(Call* call, const Bytes* request, Bytes* response) {
  return Answer<v1::ListSessionsRequest, v1::ListSessionsResponse>(
      context_, call, request, response, Runs::kOnWaiter,
      [this](v1::ListSessionsRequest& in, v1::ListSessionsResponse* out) {
        return RunListSessions(context_, in, out);
      });
}

CascadeService::Unary* CascadeService::DeleteSession(Call* call, const Bytes* request, Bytes* response) {
  return Answer<v1::DeleteSessionRequest, v1::DeleteSessionResponse>(
      context_, call, request, response, Runs::kOnWaiter,
      [this](v1::DeleteSessionRequest& in, v1::DeleteSessionResponse*) { return RunDeleteSession(context_, in); });
}

CascadeService::Unary* CascadeService::ForkSession(Call* call, const Bytes* request, Bytes* response) {
  return Answer<v1::ForkSessionRequest, v1::Session>(
      context_, call, request, response, Runs::kOnWaiter,
      [this, call](v1::ForkSessionRequest& in, v1::Session* out) { return RunForkSession(context_, *call, in, out); });
}

CascadeService::Unary* CascadeService::ParkSession(Call* call, const Bytes* request, Bytes* response) {
  return Answer<v1::ParkSessionRequest, v1::Session>(
      context_, call, request, response, Runs::kOnWaiter,
      [this](v1::ParkSessionRequest& in, v1::Session* out) { return RunParkSession(context_, in, out); });
}

CascadeService::Unary* CascadeService::RewindSession(Call* call, const Bytes* request, Bytes* response) {
  return Answer<v1::RewindSessionRequest, v1::Session>(
      context_, call, request, response, Runs::kOnWaiter,
      [this](v1::RewindSessionRequest& in, v1::Session* out) { return RunRewindSession(context_, in, out); });
}

CascadeService::Unary* CascadeService::Tokenize(Call* call, const Bytes* request, Bytes* response) {
  return Answer<v1::TokenizeRequest, v1::TokenizeResponse>(
      context_, call, request, response, Runs::kAnywhere,
      [this](v1::TokenizeRequest& in, v1::TokenizeResponse* out) { return RunTokenize(context_, in, out); });
}

CascadeService::Unary* CascadeService::Detokenize(Call* call, const Bytes* request, Bytes* response) {
  return Answer<v1::DetokenizeRequest, v1::DetokenizeResponse>(
      context_, call, request, response, Runs::kAnywhere,
      [this](v1::DetokenizeRequest& in, v1::DetokenizeResponse* out) { return RunDetokenize(context_, in, out); });
}

CascadeService::Unary* CascadeService::ApplyChatTemplate(Call* call, const Bytes* request, Bytes* response) {
  return Answer<v1::ApplyChatTemplateRequest, v1::ApplyChatTemplateResponse>(
      context_, call, request, response, Runs::kAnywhere,
      [this](v1::ApplyChatTemplateRequest& in, v1::ApplyChatTemplateResponse* out) {
        return RunApplyChatTemplate(context_, in, out);
      });
}

CascadeService::Unary* CascadeService::GetServerInfo(Call* call, const Bytes* request, Bytes* response) {
  return Answer<v1::GetServerInfoRequest, v1::ServerInfo>(context_, call, request, response, Runs::kAnywhere,
                                                          [this](v1::GetServerInfoRequest&, v1::ServerInfo* out) {
                                                            *out = context_.info;
                                                            out->set_sessions_free(SessionsFree(context_));
                                                            return absl::OkStatus();
                                                          });
}

}  // namespace cascade
