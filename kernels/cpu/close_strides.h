#pragma once

#include <cstddef>
#include <span>

#include "kernels/backend.h"
#include "kernels/cpu/cache_layout.h"
#include "kernels/base/thread_pool.h"

namespace cascade::kernels {

// Closes full strides in all layers: folds scores (max reduction), sets the distinctness of the stride's tokens, then
// moves and selects (cache.md, sections 2 and 3). pool_memory is that of slot 0.
void CloseStrides(const CacheLayout& layout, std::byte* pool_memory, int num_slots, std::span<const Close> closes,
                  ThreadPool& pool);

}  // namespace cascade::kernels
