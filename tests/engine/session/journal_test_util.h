// Journals of random contents, and how a reader takes them.
#pragma once

#include <algorithm>
#include <random>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "engine/session/journal_reader.h"
#include "engine/session/journal_record.h"

namespace cascade::test {

using Bytes = std::vector<uint8_t>;

template <size_t kSize>
void FillRandom(std::mt19937_64& random, std::array<uint8_t, kSize>& bytes) {
  std::ranges::generate(bytes, [&] { return static_cast<uint8_t>(random()); });
}

inline std::string RandomText(std::mt19937_64& random, size_t max_bytes, std::string_view letters) {
  std::string text(random() % (max_bytes + 1), ' ');
  std::ranges::generate(text, [&] { return letters[random() % letters.size()]; });
  return text;
}

// What headers and rewinds have in common.
template <class State>
void FillRandomState(std::mt19937_64& random, State& state) {
  state.position = random() % 4 == 0 ? 0 : static_cast<int64_t>(random() >> (1 + random() % 40));
  state.turns = static_cast<int64_t>(random() >> 1);
  state.digest = random();
  state.last_id = state.position == 0 ? -1 : static_cast<int32_t>(random() % 0x80000000u);
  state.reply_end = static_cast<ReplyEnd>(random() % 3);
  state.last_finish = static_cast<FinishReason>(random() % 7);
}

inline SegmentHeader RandomHeader(std::mt19937_64& random) {
  SegmentHeader header;
  FillRandom(random, header.session);
  FillRandom(random, header.parent);
  header.sequence = random();
  FillRandom(random, header.owner);
  FillRandom(random, header.model);
  header.label = RandomText(random, 64, "abcXYZ019_-");
  header.durability = static_cast<Durability>(random() % 3);
  header.created_ms = static_cast<int64_t>(random());
  FillRandomState(random, header);
  header.last_used_ms = static_cast<int64_t>(random());
  FillRandom(random, header.previous);
  return header;
}

inline RewindRecord RandomRewind(std::mt19937_64& random) {
  RewindRecord record;
  FillRandomState(random, record);
  record.ended_ms = static_cast<int64_t>(random());
  return record;
}

inline TurnRecord RandomTurn(std::mt19937_64& random, size_t max_ids = 40) {
  TurnRecord record;
  record.position = static_cast<int64_t>(random() >> 2);
  record.turn_id = RandomText(random, kMaxTurnIdBytes, " !azAZ09/~");
  record.kind = static_cast<TurnKind>(random() % 2);
  record.seed = random();
  record.ids.resize(random() % (max_ids + 1));
  std::ranges::generate(record.ids, [&] { return static_cast<int32_t>(random() % 0x80000000u); });
  record.prompt_tokens = static_cast<int64_t>(random() % (record.ids.size() + 1));
  record.finish = static_cast<FinishReason>(random() % 7);
  record.reply_end = static_cast<ReplyEnd>(random() % 3);
  record.stop_sequence =
      RandomText(random, random() % 8 == 0 ? kMaxStopSequenceBytes : 8, std::string("\0\n\xff x", 5));
  record.ended_ms = static_cast<int64_t>(random());
  return record;
}

struct Segment {
  SegmentHeader header;
  std::vector<JournalRecord> records;
  Bytes bytes;
  std::vector<size_t> ends;  // of the header, then of each record
  std::vector<Tag> tags;     // of the same

  Bytes Part(size_t i) const {  // the header's bytes, then each record's
    return Bytes(bytes.begin() + static_cast<ptrdiff_t>(i == 0 ? 0 : ends[i - 1]),
                 bytes.begin() + static_cast<ptrdiff_t>(ends[i]));
  }
};

inline Segment MakeSegment(const SegmentHeader& header, const std::vector<JournalRecord>& records,
                           const Sealer& sealer) {
  Segment segment = {.header = header, .records = records, .bytes = {}, .ends = {}, .tags = {}};
  Tag tag;
  const auto add = [&](const Bytes& bytes) {
    segment.bytes.insert(segment.bytes.end(), bytes.begin(), bytes.end());
    segment.ends.push_back(segment.bytes.size());
    segment.tags.push_back(tag);
  };
  add(EncodeHeader(header, sealer, &tag));
  for (const JournalRecord& record : records) {
    const auto* turn = std::get_if<TurnRecord>(&record);
    add(turn != nullptr ? EncodeRecord(*turn, sealer, &tag)
                        : EncodeRecord(std::get<RewindRecord>(record), sealer, &tag));
  }
  return segment;
}

inline Segment RandomSegment(std::mt19937_64& random, size_t num_records, const Sealer& sealer, size_t max_ids = 40) {
  const SegmentHeader header = RandomHeader(random);
  std::vector<JournalRecord> records;
  for (size_t i = 0; i < num_records; ++i) {
    if (random() % 4 == 0) {
      records.push_back(RandomRewind(random));
    } else {
      records.push_back(RandomTurn(random, max_ids));
    }
  }
  return MakeSegment(header, records, sealer);
}

// What a reader made of some bytes.
struct ReadSegment {
  absl::Status status;  // OK: it came to the end
  SegmentHeader header;
  bool has_header = false;
  std::vector<JournalRecord> records;
  bool torn = false;
  size_t offset = 0;
  Tag tag = {};
};

inline ReadSegment Read(std::span<const uint8_t> bytes, const Sealer& sealer) {
  ReadSegment result;
  SegmentReader reader(bytes, sealer);
  const auto header = reader.Header();
  result.status = header.status();
  result.has_header = header.ok();
  if (header.ok()) {
    result.header = *header;
    while (true) {
      auto record = reader.Next();
      result.status = record.status();
      if (!record.ok() || std::holds_alternative<std::monostate>(*record)) break;
      result.records.push_back(*std::move(record));
    }
  }
  result.torn = reader.torn();
  result.offset = static_cast<size_t>(reader.offset());
  result.tag = reader.tag();
  return result;
}

// Whether all that was read is what the segment begins with.
inline bool IsPrefix(const ReadSegment& read, const Segment& segment) {
  if (!read.has_header) return read.records.empty() && read.offset == 0;
  const size_t count = read.records.size();
  return read.header == segment.header && count <= segment.records.size() &&
         std::equal(read.records.begin(), read.records.end(), segment.records.begin()) &&
         read.offset == segment.ends[count] && read.tag == segment.tags[count];
}

}  // namespace cascade::test
