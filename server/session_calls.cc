#include "server/session_calls.h"

#include "server/convert.h"
#include "server/grpc_status.h"

namespace cascade {
namespace {

absl::Status SetSession(const ServiceContext& context, const absl::StatusOr<SessionInfo>& session,
                        v1::Session* response) {
  if (!session.ok()) return session.status();
  *response = ToWire(*session, context.engine.options());
  return absl::OkStatus();
}

}  // namespace

absl::Status SetNewSession(const ServiceContext& context, const grpc::CallbackServerContext& call,
                           const absl::StatusOr<SessionInfo>& session, v1::Session* response) {
  if (session.ok() && call.IsCancelled()) {
    context.engine.DeleteSession(session->id).IgnoreError();
    return ClientGone();
  }
  return SetSession(context, session, response);
}

absl::Status RunCreateSession(const ServiceContext& context, const grpc::CallbackServerContext& call,
                              const v1::CreateSessionRequest& request, v1::Session* response) {
  if (absl::Status status = CheckLabel(request.label()); !status.ok()) return status;
  const auto durability = ToDurability("durability", request.durability());
  if (!durability.ok()) return durability.status();
  return SetNewSession(context, call, context.engine.CreateSession(request.label(), *durability), response);
}

absl::Status RunForkSession(const ServiceContext& context, const grpc::CallbackServerContext& call,
                            const v1::ForkSessionRequest& request, v1::Session* response) {
  absl::Status status = CheckSessionId(request.session_id());
  if (status.ok()) status = CheckLabel(request.label());
  if (!status.ok()) return status;
  const auto position = ExpectedPosition(request.has_expected_position(), request.expected_position());
  if (!position.ok()) return position.status();
  return SetNewSession(context, call, context.engine.ForkSession(request.session_id(), request.label(), *position),
                       response);
}

absl::Status RunGetSession(const ServiceContext& context, const v1::GetSessionRequest& request, v1::Session* response) {
  if (absl::Status status = CheckSessionId(request.session_id()); !status.ok()) return status;
  return SetSession(context, context.engine.GetSession(request.session_id()), response);
}

absl::Status RunListSessions(const ServiceContext& context, const v1::ListSessionsRequest& request,
                             v1::ListSessionsResponse* response) {
  const absl::StatusOr<int> page_size = PageSize(request);
  if (!page_size.ok()) return page_size.status();
  const absl::StatusOr<SessionPage> page = context.engine.ListSessions(*page_size, request.page_token());
  if (!page.ok()) return page.status();
  for (const SessionInfo& session : page->sessions) {
    *response->add_sessions() = ToWire(session, context.engine.options());
  }
  response->set_next_page_token(page->next_page_token);
  return absl::OkStatus();
}

absl::Status RunDeleteSession(const ServiceContext& context, const v1::DeleteSessionRequest& request) {
  if (absl::Status status = CheckSessionId(request.session_id()); !status.ok()) return status;
  return context.engine.DeleteSession(request.session_id());
}

absl::Status RunParkSession(const ServiceContext& context, const v1::ParkSessionRequest& request,
                            v1::Session* response) {
  if (absl::Status status = CheckSessionId(request.session_id()); !status.ok()) return status;
  const absl::StatusOr<ParkTarget> target = ToParkTarget(request.target());
  if (!target.ok()) return target.status();
  return SetSession(context, context.engine.ParkSession(request.session_id(), *target), response);
}

absl::Status RunRewindSession(const ServiceContext& context, const v1::RewindSessionRequest& request,
                              v1::Session* response) {
  const absl::StatusOr<RewindRequest> rewind = ToRewindRequest(request);
  if (!rewind.ok()) return rewind.status();
  return SetSession(context, context.engine.RewindSession(*rewind), response);
}

}  // namespace cascade
