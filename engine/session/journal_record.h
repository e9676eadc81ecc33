// The bytes of a session's journal: its tokens and how its turns ended, in a chain of segments. Pure functions of byte
// spans; who writes and reads the files is elsewhere.
//
// A segment is a header, then records. Each carries a tag, HMAC-SHA256 with the server's key over the previous tag and
// its own bytes, so none can be altered, moved, left out of the middle or put into another chain; only the end can be
// missing. All numbers are little-endian, all widths fixed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/base/seal.h"
#include "engine/turn_request.h"

namespace cascade {

inline constexpr size_t kMaxTurnIdBytes = 64;
inline constexpr size_t kMaxStopSequenceBytes = 256;
inline constexpr size_t kSegmentHeaderBytes = 248;

using SessionKey = std::array<uint8_t, 16>;
std::string ToHex(const SessionKey& key);                           // lower case: a session's id
std::optional<SessionKey> SessionKeyFromHex(std::string_view hex);  // only what ToHex writes

// Whose segment it is, and the session's state before its first record.
struct SegmentHeader {
  SessionKey session = {};
  SessionKey parent = {};  // zero: none. Forked from that one: earlier segments of the chain may be its
  uint64_t sequence = 0;
  std::array<uint8_t, 16> owner = {};  // random id of the server process
  Digest model = {};                   // fingerprint of model and tokenizer: what the ids mean
  std::string label;                   // as ValidateLabel wants it
  Durability durability = Durability::kNone;
  int64_t created_ms = 0;  // unix time, as all of them

  int64_t position = 0;
  int64_t turns = 0;
  uint64_t digest = 0;   // ExtendTokenDigest of its tokens
  int32_t last_id = -1;  // -1 at position 0 and only there
  ReplyEnd reply_end = ReplyEnd::kNone;
  FinishReason last_finish = FinishReason::kNone;
  int64_t last_used_ms = 0;

  Tag previous = {};  // the chain's last tag before it; zero in its first segment

  bool operator==(const SegmentHeader&) const = default;
};

struct TurnRecord {
  int64_t position = 0;  // before it
  std::string turn_id;   // at most kMaxTurnIdBytes, printable ASCII
  TurnKind kind = TurnKind::kGenerate;
  uint64_t seed = 0;
  int64_t prompt_tokens = 0;  // how many of the ids are not sampled
  std::vector<int32_t> ids;   // fed, then sampled; none is negative
  FinishReason finish = FinishReason::kNone;
  ReplyEnd reply_end = ReplyEnd::kNone;
  std::string stop_sequence;  // at most kMaxStopSequenceBytes
  int64_t ended_ms = 0;

  bool operator==(const TurnRecord&) const = default;
};

// The session goes back to this.
struct RewindRecord {
  int64_t position = 0;
  int64_t turns = 0;
  uint64_t digest = 0;
  int32_t last_id = -1;  // as in SegmentHeader
  ReplyEnd reply_end = ReplyEnd::kNone;
  FinishReason last_finish = FinishReason::kNone;
  int64_t ended_ms = 0;

  bool operator==(const RewindRecord&) const = default;
};

using JournalRecord = std::variant<std::monostate, TurnRecord, RewindRecord>;

// A field beyond what is said above is the caller's bug. `tag`: set to the header's.
std::vector<uint8_t> EncodeHeader(const SegmentHeader& header, const Sealer& sealer, Tag* tag);
// `tag`: the segment's last one, then this record's.
std::vector<uint8_t> EncodeRecord(const TurnRecord& record, const Sealer& sealer, Tag* tag);
std::vector<uint8_t> EncodeRecord(const RewindRecord& record, const Sealer& sealer, Tag* tag);

}  // namespace cascade
