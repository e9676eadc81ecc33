#include "server/cascade_service.h"

#include <algorithm>
#include <utility>

#include "server/convert.h"
#include "server/generate_reactor.h"
#include "server/grpc_status.h"
#include "server/inspect_reactor.h"
#include "server/score_reactor.h"
#include "server/text_calls.h"
#include "server/wire.h"

namespace cascade {
namespace {

// Where a unary call runs: those that may wait for the engine never run on a callback thread, the others only when
// their bytes are few.
enum class Runs { kAnywhere, kOnWorker };

// Parses, runs work(Request&, Response*) -> absl::Status, answers.
template <class Request, class Response, class Work>
grpc::ServerUnaryReactor* Answer(ServiceContext& context, grpc::CallbackServerContext* call,
                                 const grpc::ByteBuffer* request, grpc::ByteBuffer* response, Runs runs, Work work) {
  grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
  // Request and response bytes live until the call is finished, which is the last thing done here.
  auto job = [reactor, request, response, work = std::move(work)] {
    Request parsed;
    Response result;
    absl::Status status = ParseWire(*request, &parsed);
    if (status.ok()) status = work(parsed, &result);
    if (status.ok()) SerializeWire(result, response);
    reactor->Finish(ToGrpcStatus(status));
  };
  if (runs == Runs::kAnywhere && request->Length() <= kInlineRequestBytes) {
    job();
    return reactor;
  }
  const absl::Status posted = context.workers.Post(std::move(job));
  if (!posted.ok()) reactor->Finish(ToGrpcStatus(posted));
  return reactor;
}

absl::Status SetSession(const absl::StatusOr<SessionInfo>& session, const ServiceContext& context,
                        v1::Session* response) {
  if (!session.ok()) return session.status();
  *response = ToWire(*session, context.engine.options());
  return absl::OkStatus();
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

CascadeService::Stream* CascadeService::InspectSession(Call* call, const Bytes* request) {
  auto* reactor = new InspectReactor(context_);
  reactor->Start(*request);
  return reactor;
}

CascadeService::Unary* CascadeService::CreateSession(Call* call, const Bytes* request, Bytes* response) {
  return Answer<v1::CreateSessionRequest, v1::Session>(
      context_, call, request, response, Runs::kAnywhere, [this](v1::CreateSessionRequest& in, v1::Session* out) {
        const absl::Status status = CheckLabel(in.label());
        return status.ok() ? SetSession(context_.engine.CreateSession(in.label()), context_, out) : status;
      });
}

CascadeService::Unary* CascadeService::GetSession(Call* call, const Bytes* request, Bytes* response) {
  return Answer<v1::GetSessionRequest, v1::Session>(
      context_, call, request, response, Runs::kAnywhere, [this](v1::GetSessionRequest& in, v1::Session* out) {
        const absl::Status status = CheckSessionId(in.session_id());
        return status.ok() ? SetSession(context_.engine.GetSession(in.session_id()), context_, out) : status;
      });
}

CascadeService::Unary* CascadeService::ListSessions(Call* call, const Bytes* request, Bytes* response) {
  return Answer<v1::ListSessionsRequest, v1::ListSessionsResponse>(
      context_, call, request, response, Runs::kAnywhere,
      [this](v1::ListSessionsRequest& in, v1::ListSessionsResponse* out) -> absl::Status {
        const absl::StatusOr<int> page_size = PageSize(in);
        if (!page_size.ok()) return page_size.status();
        const absl::StatusOr<SessionPage> page = context_.engine.ListSessions(*page_size, in.page_token());
        if (!page.ok()) return page.status();
        for (const SessionInfo& session : page->sessions) {
          *out->add_sessions() = ToWire(session, context_.engine.options());
        }
        out->set_next_page_token(page->next_page_token);
        return absl::OkStatus();
      });
}

CascadeService::Unary* CascadeService::DeleteSession(Call* call, const Bytes* request, Bytes* response) {
  return Answer<v1::DeleteSessionRequest, v1::DeleteSessionResponse>(
      context_, call, request, response, Runs::kOnWorker,
      [this](v1::DeleteSessionRequest& in, v1::DeleteSessionResponse* out) {
        const absl::Status status = CheckSessionId(in.session_id());
        return status.ok() ? context_.engine.DeleteSession(in.session_id()) : status;
      });
}

CascadeService::Unary* CascadeService::ForkSession(Call* call, const Bytes* request, Bytes* response) {
  return Answer<v1::ForkSessionRequest, v1::Session>(
      context_, call, request, response, Runs::kOnWorker, [this, call](v1::ForkSessionRequest& in, v1::Session* out) {
        absl::Status status = CheckSessionId(in.session_id());
        if (status.ok()) status = CheckLabel(in.label());
        const auto position = ExpectedPosition(in.has_expected_position(), in.expected_position());
        if (status.ok()) status = position.status();
        // A session that nobody will learn of must not keep a slot.
        const absl::Status gone = absl::CancelledError("the client went away");
        if (status.ok() && call->IsCancelled()) status = gone;
        if (!status.ok()) return status;
        const absl::StatusOr<SessionInfo> fork = context_.engine.ForkSession(in.session_id(), in.label(), *position);
        if (fork.ok() && call->IsCancelled()) {
          context_.engine.DeleteSession(fork->id).IgnoreError();
          return gone;
        }
        return SetSession(fork, context_, out);
      });
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
  return Answer<v1::GetServerInfoRequest, v1::ServerInfo>(
      context_, call, request, response, Runs::kAnywhere, [this](v1::GetServerInfoRequest&, v1::ServerInfo* out) {
        *out = context_.info;
        // One slot stays for one-shot requests.
        out->set_sessions_free(std::clamp(context_.engine.SlotsFree() - 1, 0, context_.info.max_num_sessions()));
        return absl::OkStatus();
      });
}

}  // namespace cascade
