#include "engine/session/journal_reader.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/session/journal_wire.h"

namespace cascade {
namespace {

using journal::FrameWire;
using journal::HeaderWire;
using journal::kMaxLabelBytes;
using journal::kVersion;
using journal::Load;
using journal::RecordType;
using journal::RewindWire;
using journal::TurnWire;

std::optional<TurnRecord> DecodeTurn(std::span<const uint8_t> body) {
  if (body.size() < sizeof(TurnWire)) return std::nullopt;
  const auto wire = Load<TurnWire>(body);
  body = body.subspan(sizeof wire);
  const size_t text_bytes = size_t{wire.turn_id_bytes} + wire.stop_sequence_bytes;
  if (body.size() < text_bytes || wire.num_ids != (body.size() - text_bytes) / sizeof(int32_t) ||
      (body.size() - text_bytes) % sizeof(int32_t) != 0 || wire.zero != 0) {
    return std::nullopt;
  }
  TurnRecord record;
  record.position = wire.position;
  record.turn_id.assign(body.begin(), body.begin() + wire.turn_id_bytes);
  record.kind = wire.kind;
  record.seed = wire.seed;
  record.prompt_tokens = wire.prompt_tokens;
  record.ids.resize(wire.num_ids);
  const std::span<const uint8_t> ids = body.subspan(text_bytes);
  if (!ids.empty()) std::memcpy(record.ids.data(), ids.data(), ids.size());
  record.finish = wire.finish;
  record.reply_end = wire.reply_end;
  record.stop_sequence.assign(body.begin() + wire.turn_id_bytes, body.begin() + static_cast<ptrdiff_t>(text_bytes));
  record.ended_ms = wire.ended_ms;
  if (!journal::IsGood(record)) return std::nullopt;
  return record;
}

std::optional<RewindRecord> DecodeRewind(std::span<const uint8_t> body) {
  if (body.size() != sizeof(RewindWire)) return std::nullopt;
  const auto wire = Load<RewindWire>(body);
  const RewindRecord record = {.position = wire.position,
                               .turns = wire.turns,
                               .digest = wire.digest,
                               .last_id = wire.last_id,
                               .reply_end = wire.reply_end,
                               .last_finish = wire.last_finish,
                               .ended_ms = wire.ended_ms};
  if (wire.zero != 0 || !journal::IsGood(record)) return std::nullopt;
  return record;
}

std::optional<SegmentHeader> DecodeHeader(const HeaderWire& wire) {
  if (wire.label_bytes > kMaxLabelBytes || wire.zero != 0) return std::nullopt;
  const auto label_end = wire.label.begin() + wire.label_bytes;
  if (!std::all_of(label_end, wire.label.end(), [](char c) { return c == 0; })) return std::nullopt;
  const SegmentHeader header = {.session = wire.session,
                                .parent = wire.parent,
                                .sequence = wire.sequence,
                                .owner = wire.owner,
                                .model = wire.model,
                                .label = std::string(wire.label.begin(), label_end),
                                .durability = wire.durability,
                                .created_ms = wire.created_ms,
                                .position = wire.position,
                                .turns = wire.turns,
                                .digest = wire.digest,
                                .last_id = wire.last_id,
                                .reply_end = wire.reply_end,
                                .last_finish = wire.last_finish,
                                .last_used_ms = wire.last_used_ms,
                                .previous = wire.previous};
  if (!journal::IsGood(header)) return std::nullopt;
  return header;
}

}  // namespace

absl::Status SegmentReader::Damaged(const char* what) {
  status_ = absl::DataLossError(absl::StrCat("the session's journal is damaged at byte ", offset_, ": ", what));
  return status_;
}

absl::StatusOr<SegmentHeader> SegmentReader::Header() {
  CASCADE_CHECK(offset_ == 0 && status_.ok());
  if (bytes_.size() < kSegmentHeaderBytes) return Damaged("it is shorter than its header");
  const auto wire = Load<HeaderWire>(bytes_);
  if (wire.magic != journal::kMagic) return Damaged("it does not begin as a journal");
  if (wire.version > kVersion) {
    status_ = absl::FailedPreconditionError(
        absl::StrCat("the session's journal has version ", wire.version, ", this server reads ", kVersion));
    return status_;
  }
  if (wire.version != kVersion) return Damaged("its header has version 0");
  const std::span<const uint8_t> header = bytes_.first(sizeof wire);
  const Tag tag = sealer_.MacTag({wire.previous, header});
  if (!EqualInConstantTime(tag, bytes_.subspan(sizeof wire, sizeof tag))) {
    return Damaged("the header's seal is not this server's");
  }
  std::optional<SegmentHeader> decoded = DecodeHeader(wire);
  if (!decoded.has_value()) return Damaged("the header has a value that no server writes");
  offset_ = kSegmentHeaderBytes;
  tag_ = tag;
  return *std::move(decoded);
}

absl::StatusOr<JournalRecord> SegmentReader::Next() {
  CASCADE_CHECK(offset_ > 0);
  if (!status_.ok()) return status_;
  const std::span<const uint8_t> rest = bytes_.subspan(offset_);
  if (rest.empty()) return JournalRecord();
  torn_ = rest.size() < sizeof(FrameWire) || std::ranges::all_of(rest, [](uint8_t byte) { return byte == 0; });
  if (torn_) return JournalRecord();
  const auto frame = Load<FrameWire>(rest);
  if (frame.check != journal::FrameCheck(frame, tag_, sealer_)) {
    return Damaged("the record's size is not what was written");
  }
  const size_t room = rest.size() - sizeof frame;
  torn_ = room < sizeof(Tag) || frame.body_bytes > room - sizeof(Tag);
  if (torn_) return JournalRecord();

  const std::span<const uint8_t> sealed = rest.first(sizeof frame + frame.body_bytes);
  const Tag tag = sealer_.MacTag({tag_, sealed});
  if (!EqualInConstantTime(tag, rest.subspan(sealed.size(), sizeof tag))) {
    return Damaged("the record's seal is not this server's");
  }
  const std::span<const uint8_t> body = sealed.subspan(sizeof frame);
  JournalRecord record;
  if (frame.type == RecordType::kTurn) {
    if (std::optional<TurnRecord> turn = DecodeTurn(body)) record = *std::move(turn);
  } else if (frame.type == RecordType::kRewind) {
    if (std::optional<RewindRecord> rewind = DecodeRewind(body)) record = *rewind;
  }
  if (std::holds_alternative<std::monostate>(record)) return Damaged("the record has a value that no server writes");
  offset_ += sealed.size() + sizeof tag;
  tag_ = tag;
  return record;
}

}  // namespace cascade
