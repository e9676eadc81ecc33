// What every back end asks of a cache's shape and of what steps do with it; a device adds its own limits.
#pragma once

#include <span>

#include "absl/status/status.h"
#include "kernels/backend.h"
#include "kernels/cache_shape.h"

namespace cascade::kernels {

// INVALID_ARGUMENT that says what is wrong. All but kv_type, whose types are the device's; head_dim is positive and
// even.
absl::Status CheckCacheShape(const CacheShape& shape);

// CHECKs a step's slice. segment_slots: [N + 1], sinks first.
void CheckSlice(std::span<const int> segment_slots, int stride, const Slice& slice);

// INVALID_ARGUMENT with the numbers that there are.
absl::Status CheckHead(int num_slots, int num_layers, int num_kv_heads, int slot, int layer, int kv_head);

}  // namespace cascade::kernels
