// Work on slots by other threads than the engine's: between two of its steps.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "kernels/slot_copy.h"

namespace cascade {

// Runs a piece of work on the engine thread, between two steps, and waits for its end; false when that thread has
// ended.
using BetweenSteps = std::function<bool(std::function<void()>)>;

// That it has: UNAVAILABLE.
absl::Status ServerStopping();

// Begins a copy of a slot between two steps, and waits for it on the calling thread. Errors are OfDevice.
absl::Status CopyBetweenSteps(const BetweenSteps& between_steps,
                              const std::function<std::unique_ptr<kernels::SlotCopy>()>& begin);

// What a device has answered. A lost one says DATA_LOSS, as a damaged file does, which is no reason to end the process:
// the mark tells the two apart.
absl::Status OfDevice(absl::Status status);
bool IsLostDevice(const absl::Status& status);

}  // namespace cascade
