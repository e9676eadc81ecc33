// How many sessions fit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

namespace cascade {

// MemAvailable of /proc/meminfo in bytes; 0 when the text has none.
int64_t ParseMemAvailable(std::string_view meminfo);
// What this process may still take: free memory, or what its control group leaves if that is less. 0: not known.
int64_t AvailableMemoryBytes();

// Slots that fit `memory_bytes`, at most max_sessions and one more for one-shot requests. An ExitError (kConfig) when
// not even one session and the slot for one-shot requests fit.
absl::StatusOr<int> PlanSlots(int64_t memory_bytes, size_t bytes_per_slot, int64_t max_sessions);

// The same where caches are in device memory.
struct DeviceRoom {
  int64_t bytes = 0;  // that caches may take
  double utilization = 0.9;
  int64_t model_bytes = 0;
};
// At most `limit_bytes` (--cache-memory-bytes; 0: no limit). An ExitError, kConfig when the limit is what leaves too
// few, kDevice when the device is: it says the numbers and what to lower.
absl::StatusOr<int> PlanDeviceSlots(const DeviceRoom& room, int64_t limit_bytes, size_t bytes_per_slot,
                                    int64_t max_sessions);

}  // namespace cascade
