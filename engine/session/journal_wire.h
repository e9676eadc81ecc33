// What journal_record.h and journal_reader.h have in common: how a journal lies on disk.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "engine/base/seal.h"
#include "engine/session/journal_record.h"
#include "kernels/base/check.h"

namespace cascade::journal {

static_assert(std::endian::native == std::endian::little, "journals are little-endian");

inline constexpr std::array<uint8_t, 8> kMagic = {'C', 'S', 'C', 'D', 'J', 'R', 'N', 'L'};
inline constexpr uint32_t kVersion = 1;
inline constexpr size_t kMaxLabelBytes = 64;

// On disk, each followed by its tag; a record's frame is followed by its body.
struct HeaderWire {
  std::array<uint8_t, 8> magic;
  uint32_t version;
  Durability durability;
  ReplyEnd reply_end;
  FinishReason last_finish;
  uint8_t label_bytes;
  SessionKey session;
  SessionKey parent;
  std::array<uint8_t, 16> owner;
  uint64_t sequence;
  Digest model;
  std::array<char, kMaxLabelBytes> label;
  int64_t created_ms;
  int64_t position;
  int64_t turns;
  uint64_t digest;
  int64_t last_used_ms;
  int32_t last_id;
  uint32_t zero;
  Tag previous;
};
static_assert(sizeof(HeaderWire) + sizeof(Tag) == kSegmentHeaderBytes);

enum class RecordType : uint64_t { kTurn = 1, kRewind = 2 };

struct FrameWire {
  uint64_t body_bytes;
  RecordType type;
  uint64_t check;  // of these and of the place: a damaged size must not look like a record that was cut
};

// Then the turn's id, the stop sequence, the ids.
struct TurnWire {
  int64_t position;
  uint64_t seed;
  int64_t prompt_tokens;
  int64_t ended_ms;
  uint64_t num_ids;
  uint16_t turn_id_bytes;
  uint16_t stop_sequence_bytes;
  TurnKind kind;
  FinishReason finish;
  ReplyEnd reply_end;
  uint8_t zero;
};

struct RewindWire {
  int64_t position;
  int64_t turns;
  uint64_t digest;
  int64_t ended_ms;
  int32_t last_id;
  ReplyEnd reply_end;
  FinishReason last_finish;
  uint16_t zero;
};

template <class Wire>
std::span<const uint8_t> BytesOf(const Wire& wire) {
  static_assert(std::has_unique_object_representations_v<Wire>);  // no byte of it is undefined
  return {reinterpret_cast<const uint8_t*>(&wire), sizeof wire};
}

template <class Wire>
Wire Load(std::span<const uint8_t> bytes) {
  static_assert(std::is_trivially_copyable_v<Wire>);
  CASCADE_CHECK(bytes.size() >= sizeof(Wire));
  Wire wire;
  std::memcpy(&wire, bytes.data(), sizeof wire);
  return wire;
}

// A MAC of fewer bytes than any tag is of, so never of the same ones.
inline uint64_t FrameCheck(const FrameWire& frame, const Tag& previous, const Sealer& sealer) {
  return Load<uint64_t>(sealer.MacTag({previous, BytesOf(frame).first(offsetof(FrameWire, check))}));
}

// Whether all fields are as journal_record.h says.
bool IsGood(const SegmentHeader& header);
bool IsGood(const TurnRecord& record);
bool IsGood(const RewindRecord& record);

}  // namespace cascade::journal
