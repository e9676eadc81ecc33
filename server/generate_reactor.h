#pragma once

#include "server/turn_reactor.h"

namespace cascade {

// One Generate call.
class GenerateReactor final : public TurnReactor {
 public:
  GenerateReactor(const grpc::CallbackServerContext& call, ServiceContext& context) : TurnReactor(call, context) {}

 private:
  absl::StatusOr<TurnRequest> Parse(const grpc::ByteBuffer& request, SteadyTime deadline) override;
  bool NextMessage(const TurnDelta& delta, DeltaPosition* position, grpc::ByteBuffer* message) override;
};

}  // namespace cascade
