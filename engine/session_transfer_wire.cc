#include "engine/session_transfer_wire.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace cascade {
namespace {

constexpr std::array<uint8_t, 8> kMagic = {'C', 'S', 'C', 'D', 'S', 'E', 'S', 'S'};
constexpr uint32_t kVersion = 1;

}  // namespace

// Little-endian: magic, version, has_image, segment_bytes, zeros.
std::vector<uint8_t> TransferHead::Encode() const {
  std::vector<uint8_t> bytes(kTransferHeadBytes, 0);
  const uint32_t image = has_image ? 1 : 0;
  std::copy(kMagic.begin(), kMagic.end(), bytes.begin());
  std::memcpy(bytes.data() + 8, &kVersion, sizeof kVersion);
  std::memcpy(bytes.data() + 12, &image, sizeof image);
  std::memcpy(bytes.data() + 16, &segment_bytes, sizeof segment_bytes);
  return bytes;
}

std::optional<TransferHead> TransferHead::Decode(std::span<const uint8_t> bytes) {
  TransferHead head;
  uint32_t image = 0;
  if (bytes.size() < kTransferHeadBytes) return std::nullopt;
  std::memcpy(&image, bytes.data() + 12, sizeof image);
  std::memcpy(&head.segment_bytes, bytes.data() + 16, sizeof head.segment_bytes);
  head.has_image = image == 1;
  if (head.segment_bytes > kMaxTransferSegment) return std::nullopt;
  const std::vector<uint8_t> same = head.Encode();
  if (!std::equal(same.begin(), same.end(), bytes.begin())) return std::nullopt;
  return head;
}

}  // namespace cascade
