#include "engine/session/journal_record.h"

#include <cstring>

#include "engine/session/journal_wire.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/session/journal_test_util.h"
#include "tests/support/heap_peak.h"

namespace cascade {
namespace {

using test::Bytes;
using test::IsPrefix;
using test::MakeSegment;
using test::RandomSegment;
using test::Read;
using test::ReadSegment;
using test::Segment;
using ::testing::HasSubstr;

const Sealer& TestSealer() {
  static const Sealer* const sealer = new Sealer(SealKey{1, 2, 3});
  return *sealer;
}

TEST(JournalRecordTest, ReadsWhatWasWritten) {
  std::mt19937_64 random(1);
  int records = 0;
  for (int i = 0; i < 100; ++i) {
    const Segment segment = RandomSegment(random, 100, TestSealer(), 200);
    const ReadSegment read = Read(segment.bytes, TestSealer());
    ASSERT_TRUE(read.status.ok()) << read.status;
    ASSERT_TRUE(IsPrefix(read, segment));
    ASSERT_FALSE(read.torn);
    ASSERT_EQ(read.offset, segment.bytes.size());
    records += static_cast<int>(read.records.size());
  }
  EXPECT_EQ(records, 10'000);
}

TEST(JournalRecordTest, Extremes) {
  SegmentHeader header;
  header.label = std::string(64, '-');
  header.position = header.turns = header.created_ms = INT64_MAX;
  header.last_used_ms = INT64_MIN;
  header.last_id = INT32_MAX;
  TurnRecord most;
  most.position = INT64_MAX - 1'000'000;
  most.turn_id = std::string(64, '~');
  most.ids.assign(1'000'000, INT32_MAX);
  most.prompt_tokens = 1'000'000;
  most.stop_sequence = std::string(256, '\0');
  const Segment segment = MakeSegment(header, {most, TurnRecord(), RewindRecord()}, TestSealer());
  const ReadSegment read = Read(segment.bytes, TestSealer());
  EXPECT_TRUE(read.status.ok()) << read.status;
  EXPECT_TRUE(IsPrefix(read, segment));
  EXPECT_EQ(read.records.size(), 3u);
  EXPECT_EQ(segment.ends[0], kSegmentHeaderBytes);
  EXPECT_LT(segment.bytes.size(), 4'000'000u + 1000);  // four bytes a token
}

// The format is what other versions wrote: a change needs a new version. Another implementation gives the same bytes.
TEST(JournalRecordTest, FormatStaysAsItIs) {
  SegmentHeader header;
  for (size_t i = 0; i < 16; ++i) header.session[i] = static_cast<uint8_t>(i);
  header.label = "a-label";
  header.position = 5;
  header.last_id = 7;
  TurnRecord turn;
  turn.position = 5;
  turn.turn_id = "turn";
  turn.ids = {1, 2, 3};
  turn.prompt_tokens = 2;
  turn.stop_sequence = "stop";
  RewindRecord rewind;
  rewind.position = 6;
  rewind.last_id = 1;
  const Segment segment = MakeSegment(header, {turn, rewind}, TestSealer());
  EXPECT_EQ(segment.bytes.size(), 248u + 24 + 48 + 8 + 12 + 16 + 24 + 40 + 16);
  SessionKey digest;
  std::copy_n(Sha256Of(segment.bytes).begin(), digest.size(), digest.begin());
  EXPECT_EQ(ToHex(digest), "07c6670079f32c6ecf6c63218135c87e");
}

TEST(JournalRecordTest, HexOfKeys) {
  const SessionKey key = {0x00, 0x01, 0xab, 0xff, 0x10};
  EXPECT_EQ(ToHex(key), "0001abff100000000000000000000000");
  EXPECT_EQ(SessionKeyFromHex(ToHex(key)), key);
  for (const char* bad :
       {"", "0001abff10000000000000000000000", "0001abff1000000000000000000000000", "0001ABff100000000000000000000000",
        "0001abff10000000000000000000000g", "0001abff100000000000000000000 00"}) {
    EXPECT_EQ(SessionKeyFromHex(bad), std::nullopt) << bad;
  }
  EXPECT_EQ(SessionKeyFromHex(std::string(32, '\0')), std::nullopt);
}

TEST(JournalRecordTest, AnotherKeyReadsNothing) {
  std::mt19937_64 random(2);
  const Segment segment = RandomSegment(random, 3, TestSealer());
  for (size_t bit = 0; bit < 256; ++bit) {
    SealKey key = {1, 2, 3};
    key[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    const ReadSegment read = Read(segment.bytes, Sealer(key));
    EXPECT_EQ(read.status.code(), absl::StatusCode::kDataLoss);
    EXPECT_FALSE(read.has_header);
  }
}

TEST(JournalRecordTest, EveryFlippedBitIsFound) {
  std::mt19937_64 random(3);
  const Segment segment = RandomSegment(random, 6, TestSealer(), 5);
  const size_t version = offsetof(journal::HeaderWire, version);
  for (size_t bit = 0; bit < 8 * segment.bytes.size(); ++bit) {
    Bytes bytes = segment.bytes;
    bytes[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    const ReadSegment read = Read(bytes, TestSealer());
    const bool of_version = bit / 8 >= version && bit / 8 < version + 4;
    ASSERT_TRUE(read.status.code() == absl::StatusCode::kDataLoss ||
                (of_version && read.status.code() == absl::StatusCode::kFailedPrecondition))
        << bit << ": " << read.status;
    ASSERT_FALSE(read.torn) << bit;
    ASSERT_TRUE(IsPrefix(read, segment)) << bit;
    ASSERT_LE(read.offset, bit / 8);
  }
}

TEST(JournalRecordTest, NewerVersionsAreNamed) {
  std::mt19937_64 random(4);
  Bytes bytes = RandomSegment(random, 1, TestSealer()).bytes;
  bytes[offsetof(journal::HeaderWire, version)] = 2;
  const absl::Status status = Read(bytes, TestSealer()).status;
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("version 2"));
  bytes[offsetof(journal::HeaderWire, version)] = 0;
  EXPECT_EQ(Read(bytes, TestSealer()).status.code(), absl::StatusCode::kDataLoss);
}

TEST(JournalRecordTest, CutAnywhereIsAPrefix) {
  std::mt19937_64 random(5);
  const Segment segment = RandomSegment(random, 20, TestSealer());
  for (size_t size = 0; size < segment.bytes.size(); ++size) {
    for (const bool zeros : {false, true}) {  // cut, or cut and filled with zeros up to where it was
      if (zeros && std::ranges::find(segment.ends, size) == segment.ends.end()) continue;
      Bytes bytes = segment.bytes;
      bytes.resize(size);
      if (zeros) bytes.resize(segment.bytes.size() + size % 5000, 0);
      const ReadSegment read = Read(bytes, TestSealer());
      ASSERT_TRUE(IsPrefix(read, segment)) << size;
      if (size < kSegmentHeaderBytes) {
        ASSERT_EQ(read.status.code(), absl::StatusCode::kDataLoss) << size;
        continue;
      }
      ASSERT_TRUE(read.status.ok()) << size << ": " << read.status;
      const auto end = std::ranges::upper_bound(segment.ends, size) - 1;
      ASSERT_EQ(read.offset, *end);
      ASSERT_EQ(read.torn, zeros || *end != size) << size;
    }
  }
}

TEST(JournalRecordTest, TheEndStaysTheEnd) {
  std::mt19937_64 random(6);
  const Segment segment = RandomSegment(random, 1, TestSealer());
  Bytes damaged = segment.bytes;
  damaged[kSegmentHeaderBytes] ^= 1;
  const std::span<const uint8_t> all(segment.bytes);
  SegmentReader at_end(all.first(kSegmentHeaderBytes), TestSealer()), torn(all.first(all.size() - 1), TestSealer()),
      bad(damaged, TestSealer());
  ASSERT_TRUE(at_end.Header().ok() && torn.Header().ok() && bad.Header().ok());
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(std::holds_alternative<std::monostate>(at_end.Next().value()));
    EXPECT_FALSE(at_end.torn());
    EXPECT_TRUE(std::holds_alternative<std::monostate>(torn.Next().value()));
    EXPECT_TRUE(torn.torn());
    EXPECT_EQ(bad.Next().status().code(), absl::StatusCode::kDataLoss);
    EXPECT_FALSE(bad.torn());
  }
}

// Sealed with the right key, and still not what a server writes: as far as only a fault of ours can go.
class SealedNonsense : public testing::Test {
 protected:
  // A segment of one record, changed at `offset` of the header or of the record's body, and sealed again.
  template <class Value>
  void Expect(size_t record, size_t offset, Value value, const char* what) {
    SCOPED_TRACE(what);
    constexpr size_t kFrame = sizeof(journal::FrameWire);
    Bytes bytes = segment_.bytes;
    const size_t begin = record == 0 ? 0 : segment_.ends[record - 1];
    std::memcpy(bytes.data() + begin + (record == 0 ? 0 : kFrame) + offset, &value, sizeof value);
    const size_t end = segment_.ends[record] - sizeof(Tag);
    const std::span<const uint8_t> sealed = std::span<const uint8_t>(bytes).subspan(begin, end - begin);
    const Tag previous = record == 0 ? segment_.header.previous : segment_.tags[record - 1];
    const Tag tag = TestSealer().MacTag({previous, sealed});
    std::memcpy(bytes.data() + end, tag.data(), tag.size());
    const test::HeapPeak peak;
    const ReadSegment read = Read(bytes, TestSealer());
    EXPECT_LT(peak.bytes(), 20'000u);
    EXPECT_EQ(read.status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(read.status.message()), HasSubstr("no server writes"));
    EXPECT_EQ(read.records.size(), record == 0 ? 0u : record - 1);
  }

  static Segment Make() {
    SegmentHeader header;
    header.label = "label";
    TurnRecord turn;
    turn.turn_id = "turn";
    turn.ids = {1, 2, 3};
    turn.prompt_tokens = 2;
    turn.stop_sequence = "stop";
    return MakeSegment(header, {turn, RewindRecord()}, TestSealer());
  }
  const Segment segment_ = Make();
};

TEST_F(SealedNonsense, Header) {
  using Wire = journal::HeaderWire;
  Expect(0, offsetof(Wire, durability), uint8_t{3}, "durability");
  Expect(0, offsetof(Wire, reply_end), uint8_t{3}, "reply_end");
  Expect(0, offsetof(Wire, last_finish), uint8_t{7}, "last_finish");
  Expect(0, offsetof(Wire, label_bytes), uint8_t{4}, "a letter behind the label");
  Expect(0, offsetof(Wire, label_bytes), uint8_t{6}, "a zero in the label");
  Expect(0, offsetof(Wire, label_bytes), uint8_t{65}, "a long label");
  Expect(0, offsetof(Wire, label), '/', "a label that is none");
  Expect(0, offsetof(Wire, position), int64_t{-1}, "position");
  Expect(0, offsetof(Wire, position), int64_t{1}, "position without an id");
  Expect(0, offsetof(Wire, last_id), int32_t{1}, "an id without position");
  Expect(0, offsetof(Wire, last_id), int32_t{-2}, "last_id");
  Expect(0, offsetof(Wire, turns), int64_t{-1}, "turns");
  Expect(0, offsetof(Wire, zero), uint8_t{1}, "zero");
}

TEST_F(SealedNonsense, Turn) {
  using Wire = journal::TurnWire;
  for (const uint64_t count : {uint64_t{0}, uint64_t{2}, uint64_t{4}, uint64_t{1} << 62, ~uint64_t{0}}) {
    Expect(1, offsetof(Wire, num_ids), count, "num_ids");
  }
  for (const uint16_t size : {0, 3, 8, 21, 65535}) Expect(1, offsetof(Wire, turn_id_bytes), size, "turn_id_bytes");
  for (const uint16_t size : {0, 3, 16, 65535}) Expect(1, offsetof(Wire, stop_sequence_bytes), size, "stop_bytes");
  Expect(1, offsetof(Wire, position), int64_t{-1}, "position");
  Expect(1, offsetof(Wire, position), INT64_MAX - 2, "position that overflows");
  Expect(1, offsetof(Wire, prompt_tokens), int64_t{4}, "prompt_tokens");
  Expect(1, offsetof(Wire, prompt_tokens), int64_t{-1}, "prompt_tokens");
  Expect(1, offsetof(Wire, kind), uint8_t{2}, "kind");
  Expect(1, offsetof(Wire, finish), uint8_t{7}, "finish");
  Expect(1, offsetof(Wire, reply_end), uint8_t{3}, "reply_end");
  Expect(1, offsetof(Wire, zero), uint8_t{1}, "zero");
  Expect(1, sizeof(Wire), '\n', "turn_id");
  Expect(1, sizeof(Wire) + 8, int32_t{-1}, "an id");
}

TEST_F(SealedNonsense, Rewind) {
  using Wire = journal::RewindWire;
  Expect(2, offsetof(Wire, position), int64_t{-1}, "position");
  Expect(2, offsetof(Wire, position), int64_t{1}, "position without an id");
  Expect(2, offsetof(Wire, turns), int64_t{-1}, "turns");
  Expect(2, offsetof(Wire, last_id), int32_t{1}, "an id without position");
  Expect(2, offsetof(Wire, reply_end), uint8_t{3}, "reply_end");
  Expect(2, offsetof(Wire, last_finish), uint8_t{7}, "last_finish");
  Expect(2, offsetof(Wire, zero), uint16_t{256}, "zero");
}

TEST(JournalRecordDeathTest, EncodersTakeOnlyWhatReadersTake) {
  Tag tag = {};
  TurnRecord turn;
  turn.turn_id = std::string(65, 'a');
  EXPECT_DEATH(EncodeRecord(turn, TestSealer(), &tag), "IsGood");
  SegmentHeader header;
  header.label = "no label";
  EXPECT_DEATH(EncodeHeader(header, TestSealer(), &tag), "IsGood");
  RewindRecord rewind;
  rewind.position = 1;
  EXPECT_DEATH(EncodeRecord(rewind, TestSealer(), &tag), "IsGood");
}

}  // namespace
}  // namespace cascade
