#pragma once

#include "server/turn_reactor.h"

namespace cascade {

// One Score call.
class ScoreReactor final : public TurnReactor {
 public:
  ScoreReactor(const grpc::CallbackServerContext& call, ServiceContext& context)
      : TurnReactor(context, DeadlineOf(call)) {}

 private:
  absl::StatusOr<TurnSource> Parse(const grpc::ByteBuffer& request) override;
  bool NextMessage(const TurnDelta& delta, DeltaPosition* position, grpc::ByteBuffer* message) override;
};

}  // namespace cascade
