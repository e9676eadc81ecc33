#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/seal.h"
#include "engine/session/journal_record.h"

namespace cascade {

// Reads a segment that nobody vouches for. What it returns has been sealed by the server, at this place of this chain;
// whether the segment continues the one before it, and whether its records fit together, is the caller's to check.
// Takes no more memory than the bytes do, times a constant. One thread at a time; bytes and sealer outlive it.
class SegmentReader {
 public:
  SegmentReader(std::span<const uint8_t> bytes, const Sealer& sealer) : bytes_(bytes), sealer_(sealer) {}

  // First, and once. DATA_LOSS: damaged, shorter than a header, or sealed with another key; FAILED_PRECONDITION: of a
  // newer version.
  absl::StatusOr<SegmentHeader> Header();

  // After a good Header(). std::monostate: the end, and torn() says whether a record is cut there, as a crash in the
  // middle of a write leaves it: it goes beyond the end, or all is zero from its begin on. DATA_LOSS for all else, and
  // from then on.
  absl::StatusOr<JournalRecord> Next();
  bool torn() const { return torn_; }

  // Of the last good record, or of the header: where it ends, and its tag.
  int64_t offset() const { return static_cast<int64_t>(offset_); }
  Tag tag() const { return tag_; }

 private:
  absl::Status Damaged(const char* what);

  const std::span<const uint8_t> bytes_;
  const Sealer& sealer_;
  size_t offset_ = 0;
  Tag tag_ = {};
  bool torn_ = false;
  absl::Status status_;
};

}  // namespace cascade
