// What the unary calls about sessions do. They may wait for the engine and for files: not on a gRPC callback thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cascade/v1/cascade.pb.h"
#include "server/service_context.h"

namespace cascade {

// Calls that make a session take it back when nobody waits for it any more: it would keep its place, and nobody would
// know its id.
absl::Status RunCreateSession(const ServiceContext& context, const grpc::CallbackServerContext& call,
                              const v1::CreateSessionRequest& request, v1::Session* response);
absl::Status RunForkSession(const ServiceContext& context, const grpc::CallbackServerContext& call,
                            const v1::ForkSessionRequest& request, v1::Session* response);
absl::Status RunGetSession(const ServiceContext& context, const v1::GetSessionRequest& request, v1::Session* response);
absl::Status RunListSessions(const ServiceContext& context, const v1::ListSessionsRequest& request,
                             v1::ListSessionsResponse* response);
absl::Status RunDeleteSession(const ServiceContext& context, const v1::DeleteSessionRequest& request);
absl::Status RunParkSession(const ServiceContext& context, const v1::ParkSessionRequest& request,
                            v1::Session* response);
absl::Status RunRewindSession(const ServiceContext& context, const v1::RewindSessionRequest& request,
                              v1::Session* response);

// The answer of a call that makes a session.
absl::Status SetNewSession(const ServiceContext& context, const grpc::CallbackServerContext& call,
                           const absl::StatusOr<SessionInfo>& session, v1::Session* response);

}  // namespace cascade
