#pragma once

#include <cstdint>
#include <vector>

#include "engine/engine.h"
#include "server/fetched_reactor.h"

namespace cascade {

// One InspectSession call: one message per layer and head.
class InspectReactor final : public FetchedReactor {
 public:
  explicit InspectReactor(ServiceContext& context) : FetchedReactor(context) {}

 private:
  ~InspectReactor() override = default;
  absl::Status Fetch(const grpc::ByteBuffer& request) override;
  void WriteNext() override;

  std::vector<HeadView> heads_;
  int64_t position_ = 0;
  size_t next_ = 0;  // of heads_
};

}  // namespace cascade
