#pragma once

#include "server/turn_reactor.h"

namespace cascade {

// One ResumeTurn call. Neither its end nor its deadline is the turn's.
class ResumeReactor final : public TurnReactor {
 public:
  explicit ResumeReactor(ServiceContext& context) : TurnReactor(context, SteadyTime::max()) {}

 private:
  absl::StatusOr<TurnSource> Parse(const grpc::ByteBuffer& request) override;
  bool NextMessage(const TurnDelta& delta, DeltaPosition* position, grpc::ByteBuffer* message) override;
};

}  // namespace cascade
