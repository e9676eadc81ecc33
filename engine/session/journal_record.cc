#include "engine/session/journal_record.h"

#include <algorithm>
#include <limits>

#include "absl/strings/ascii.h"
#include "engine/session/journal_wire.h"
#include "engine/session/session.h"
#include "kernels/base/check.h"

namespace cascade {
namespace {

using journal::BytesOf;
using journal::FrameWire;
using journal::HeaderWire;
using journal::RecordType;
using journal::RewindWire;
using journal::TurnWire;

constexpr char kHexDigits[] = "0123456789abcdef";

// Their numbers are the format's.
static_assert(static_cast<int>(ReplyEnd::kCut) == 2 && static_cast<int>(FinishReason::kError) == 6 &&
              static_cast<int>(TurnKind::kScore) == 1 && static_cast<int>(Durability::kImage) == 2);

// Switches, so that the compiler names what a new value leaves out.
bool IsKnown(ReplyEnd value) {
  switch (value) {
    case ReplyEnd::kNone:
    case ReplyEnd::kEndToken:
    case ReplyEnd::kCut:
      return true;
  }
  return false;
}

bool IsKnown(FinishReason value) {
  switch (value) {
    case FinishReason::kNone:
    case FinishReason::kStop:
    case FinishReason::kStopSequence:
    case FinishReason::kLength:
    case FinishReason::kCancelled:
    case FinishReason::kDeadline:
    case FinishReason::kError:
      return true;
  }
  return false;
}

bool IsKnown(TurnKind value) {
  switch (value) {
    case TurnKind::kGenerate:
    case TurnKind::kScore:
      return true;
  }
  return false;
}

bool IsKnown(Durability value) {
  switch (value) {
    case Durability::kNone:
    case Durability::kJournal:
    case Durability::kImage:
      return true;
  }
  return false;
}

// A session's state, as headers and rewinds have it.
template <class State>
bool IsGoodState(const State& state) {
  return state.position >= 0 && state.turns >= 0 && state.last_id >= -1 &&
         (state.last_id == -1) == (state.position == 0) && IsKnown(state.reply_end) && IsKnown(state.last_finish);
}

template <class Bytes>  // or characters
void Append(std::vector<uint8_t>& out, const Bytes& bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}

std::vector<uint8_t> StartRecord(RecordType type, size_t body_bytes, const Sealer& sealer, const Tag& previous) {
  FrameWire frame = {body_bytes, type, 0};
  frame.check = journal::FrameCheck(frame, previous, sealer);
  std::vector<uint8_t> out;
  out.reserve(sizeof frame + body_bytes + sizeof(Tag));
  Append(out, BytesOf(frame));
  return out;
}

void Seal(std::vector<uint8_t>& out, const Sealer& sealer, Tag* tag) {
  *tag = sealer.MacTag({*tag, out});
  Append(out, *tag);
}

}  // namespace

bool journal::IsGood(const SegmentHeader& header) {
  return IsGoodState(header) && IsKnown(header.durability) && ValidateLabel(header.label).ok();
}

bool journal::IsGood(const RewindRecord& record) { return IsGoodState(record); }

bool journal::IsGood(const TurnRecord& record) {
  const auto printable = [](char c) { return absl::ascii_isprint(static_cast<unsigned char>(c)); };
  const auto num_ids = static_cast<int64_t>(record.ids.size());
  return record.position >= 0 && record.position <= std::numeric_limits<int64_t>::max() - num_ids &&
         record.turn_id.size() <= kMaxTurnIdBytes && std::ranges::all_of(record.turn_id, printable) &&
         record.stop_sequence.size() <= kMaxStopSequenceBytes && record.prompt_tokens >= 0 &&
         record.prompt_tokens <= num_ids && std::ranges::all_of(record.ids, [](int32_t id) { return id >= 0; }) &&
         IsKnown(record.kind) && IsKnown(record.finish) && IsKnown(record.reply_end);
}

std::string ToHex(const SessionKey& key) {
  std::string hex;
  for (const uint8_t byte : key) hex.append({kHexDigits[byte >> 4], kHexDigits[byte & 15]});
  return hex;
}

std::optional<SessionKey> SessionKeyFromHex(std::string_view hex) {
  SessionKey key = {};
  if (hex.size() != 2 * key.size()) return std::nullopt;
  for (size_t i = 0; i < hex.size(); ++i) {
    const size_t digit = std::string_view(kHexDigits).find(hex[i]);
    if (digit == std::string_view::npos) return std::nullopt;
    key[i / 2] = static_cast<uint8_t>(key[i / 2] << 4 | digit);
  }
  return key;
}

std::vector<uint8_t> EncodeHeader(const SegmentHeader& header, const Sealer& sealer, Tag* tag) {
  CASCADE_CHECK(journal::IsGood(header));
  HeaderWire wire = {.magic = journal::kMagic,
                     .version = journal::kVersion,
                     .durability = header.durability,
                     .reply_end = header.reply_end,
                     .last_finish = header.last_finish,
                     .label_bytes = static_cast<uint8_t>(header.label.size()),
                     .session = header.session,
                     .parent = header.parent,
                     .owner = header.owner,
                     .sequence = header.sequence,
                     .model = header.model,
                     .label = {},
                     .created_ms = header.created_ms,
                     .position = header.position,
                     .turns = header.turns,
                     .digest = header.digest,
                     .last_used_ms = header.last_used_ms,
                     .last_id = header.last_id,
                     .zero = 0,
                     .previous = header.previous};
  std::ranges::copy(header.label, wire.label.begin());
  std::vector<uint8_t> out;
  out.reserve(kSegmentHeaderBytes);
  Append(out, BytesOf(wire));
  *tag = header.previous;
  Seal(out, sealer, tag);
  return out;
}

std::vector<uint8_t> EncodeRecord(const TurnRecord& record, const Sealer& sealer, Tag* tag) {
  CASCADE_CHECK(journal::IsGood(record));
  const TurnWire wire = {.position = record.position,
                         .seed = record.seed,
                         .prompt_tokens = record.prompt_tokens,
                         .ended_ms = record.ended_ms,
                         .num_ids = record.ids.size(),
                         .turn_id_bytes = static_cast<uint16_t>(record.turn_id.size()),
                         .stop_sequence_bytes = static_cast<uint16_t>(record.stop_sequence.size()),
                         .kind = record.kind,
                         .finish = record.finish,
                         .reply_end = record.reply_end,
                         .zero = 0};
  const std::span<const uint8_t> ids = {reinterpret_cast<const uint8_t*>(record.ids.data()),
                                        record.ids.size() * sizeof(int32_t)};
  const size_t body_bytes = sizeof wire + record.turn_id.size() + record.stop_sequence.size() + ids.size();
  std::vector<uint8_t> out = StartRecord(RecordType::kTurn, body_bytes, sealer, *tag);
  Append(out, BytesOf(wire));
  Append(out, record.turn_id);
  Append(out, record.stop_sequence);
  Append(out, ids);
  Seal(out, sealer, tag);
  return out;
}

std::vector<uint8_t> EncodeRecord(const RewindRecord& record, const Sealer& sealer, Tag* tag) {
  CASCADE_CHECK(journal::IsGood(record));
  const RewindWire wire = {.position = record.position,
                           .turns = record.turns,
                           .digest = record.digest,
                           .ended_ms = record.ended_ms,
                           .last_id = record.last_id,
                           .reply_end = record.reply_end,
                           .last_finish = record.last_finish,
                           .zero = 0};
  std::vector<uint8_t> out = StartRecord(RecordType::kRewind, sizeof wire, sealer, *tag);
  Append(out, BytesOf(wire));
  Seal(out, sealer, tag);
  return out;
}

}  // namespace cascade
