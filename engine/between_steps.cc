#include "engine/between_steps.h"

#include "absl/strings/cord.h"

namespace cascade {
namespace {

constexpr char kDeviceMark[] = "cascade.device";

}  // namespace

absl::Status ServerStopping() { return absl::UnavailableError("the server is stopping"); }

absl::Status CopyBetweenSteps(const BetweenSteps& between_steps,
                              const std::function<std::unique_ptr<kernels::SlotCopy>()>& begin) {
  std::unique_ptr<kernels::SlotCopy> copy;
  if (!between_steps([&] { copy = begin(); })) return ServerStopping();
  return OfDevice(copy->Wait());
}

absl::Status OfDevice(absl::Status status) {
  if (!status.ok()) status.SetPayload(kDeviceMark, absl::Cord());
  return status;
}

bool IsLostDevice(const absl::Status& status) {
  return absl::IsDataLoss(status) && status.GetPayload(kDeviceMark).has_value();
}

}  // namespace cascade
