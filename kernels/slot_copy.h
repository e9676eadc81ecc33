// Moving what a slot holds between the pool of caches and host memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"

namespace cascade::kernels {

// What of a slot is meant.
enum class SlotPart : uint8_t {
  kAll,
  // The attention scores alone, and with max reduction the open stride's sums. While no stride closes, they and the rows
  // that are new are all that reading changes: with the scores of an earlier time a slot is again what it was then.
  kScores,
};

// Memory that slots are copied to and from; pinned where a device copies by itself. Freed by whoever holds it.
class HostMemory {
 public:
  virtual ~HostMemory() = default;
  virtual std::span<std::byte> bytes() = 0;
};

// A copy that is under way. Wait() is called once, on any thread, and returns when it is done; the slot must be in no
// step until then, and the host memory must stay.
class SlotCopy {
 public:
  virtual ~SlotCopy() = default;
  // An error leaves the target undefined; DATA_LOSS: the device can not be used any more.
  virtual absl::Status Wait() = 0;
};

}  // namespace cascade::kernels
