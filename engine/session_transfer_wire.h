#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace cascade {

inline constexpr size_t kTransferHeadBytes = 32;
// Ids of a session's history at most, as bytes of a segment.
inline constexpr uint64_t kMaxTransferSegment = uint64_t{1} << 30;

// The first bytes of an exported session.
struct TransferHead {
  uint64_t segment_bytes = 0;
  bool has_image = false;

  std::vector<uint8_t> Encode() const;
  static std::optional<TransferHead> Decode(std::span<const uint8_t> bytes);
};

}  // namespace cascade
