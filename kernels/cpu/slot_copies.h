// What a slot of the CPU pool holds, to other host memory and back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "kernels/cpu/cache_layout.h"
#include "kernels/slot_copy.h"

namespace cascade::kernels {

// Copies go by pieces, of which zero ones take no memory where they arrive (whole pages of an anonymous mapping). `target`
// is aligned to a page and as long as `source`. Any thread may copy any piece.
int64_t NumPieces(size_t bytes);
void CopyPiece(std::span<const std::byte> source, std::byte* target, int64_t piece);

// kernels/backend.h. Whoever waits for the copy makes it: the engine's thread is not held up. `slot` lies in the pool.
size_t SlotPartBytes(const CacheLayout& layout, SlotPart part);
std::unique_ptr<SlotCopy> StartReadSlot(const CacheLayout& layout, std::byte* slot, SlotPart part,
                                        std::span<std::byte> host);
std::unique_ptr<SlotCopy> StartWriteSlot(const CacheLayout& layout, std::byte* slot, SlotPart part,
                                         std::span<const std::byte> host);

// Zeroed, in whole pages, which take memory when they are written. RESOURCE_EXHAUSTED.
absl::StatusOr<std::unique_ptr<HostMemory>> AllocateMapped(size_t bytes);

}  // namespace cascade::kernels
