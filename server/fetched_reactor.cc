#include "server/fetched_reactor.h"

#include "server/grpc_status.h"
#include "server/wire.h"

namespace cascade {

void FetchedReactor::Start(const grpc::ByteBuffer& request) {
  absl::Status status = CheckSmallRequest(request);
  if (status.ok()) {
    status = context_.waiters.Post([this, request] {
      const absl::Status fetched = Fetch(request);
      if (!fetched.ok()) return Finish(ToGrpcStatus(fetched));
      WriteNext();
    });
  }
  if (!status.ok()) Finish(ToGrpcStatus(status));
}

void FetchedReactor::OnWriteDone(bool ok) {
  if (!ok) return Finish(ToGrpcStatus(ClientGone()));
  WriteNext();
}

void FetchedReactor::OnDone() { delete this; }

}  // namespace cascade
