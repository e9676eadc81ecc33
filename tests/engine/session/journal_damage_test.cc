// Random damage to journals: what is read is always the beginning of what was written. CASCADE_DAMAGE_CASES asks for a
// longer run.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "engine/session/journal_wire.h"
#include "gtest/gtest.h"
#include "tests/engine/session/journal_test_util.h"
#include "tests/support/heap_peak.h"

namespace cascade {
namespace {

using test::Bytes;
using test::IsPrefix;
using test::RandomSegment;
using test::Read;
using test::ReadSegment;
using test::Segment;

constexpr int kMinCases = 20'000;

int NumCases() {
  const char* const cases = std::getenv("CASCADE_DAMAGE_CASES");
  return cases != nullptr ? std::atoi(cases) : kMinCases;
}

void Append(Bytes& out, const Bytes& bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }

class Damager {
 public:
  Damager(const Segment& segment, const Segment& other, const Sealer& sealer, std::mt19937_64& random)
      : segment_(segment), other_(other), sealer_(sealer), random_(random) {}

  static constexpr uint64_t kKinds = 12;

  Bytes Damaged(uint64_t kind) {
    Bytes bytes = segment_.bytes;
    const size_t place = Below(bytes.size());
    const auto at = bytes.begin() + static_cast<ptrdiff_t>(place);
    const auto until = at + static_cast<ptrdiff_t>(Below(std::min<size_t>(bytes.size() - place, 64)) + 1);
    switch (kind) {
      case 0:  // some bits
        for (uint64_t count = 1 + Below(8); count > 0; --count) bytes[Below(bytes.size())] ^= Bit();
        return bytes;
      case 1:  // a stretch
        std::generate(at, until, [&] { return static_cast<uint8_t>(random_()); });
        return bytes;
      case 2:
        bytes.erase(at, until);
        return bytes;
      case 3: {
        const Bytes more(at, until);
        bytes.insert(bytes.begin() + static_cast<ptrdiff_t>(Below(bytes.size() + 1)), more.begin(), more.end());
        return bytes;
      }
      case 4:  // cut, and perhaps something behind it
        bytes.resize(place);
        if (Below(2) == 0) bytes.resize(place + Below(5000), static_cast<uint8_t>(Below(2) == 0 ? 0 : random_()));
        return bytes;
      case 5: {  // pages, or what is left of one, that were never written
        const size_t page = size_t{64} << Below(7);
        const size_t begin = place / page * page;
        const size_t end = std::min(bytes.size(), begin + page * (1 + Below(3)));
        std::fill(bytes.begin() + static_cast<ptrdiff_t>(begin), bytes.begin() + static_cast<ptrdiff_t>(end), 0);
        return bytes;
      }
      case 6:
        return Rebuilt([&](auto& parts) { std::swap(parts[RandomPart()], parts[RandomPart()]); });
      case 7:  // left out, or there twice
        return Rebuilt([&](auto& parts) {
          const auto part = parts.begin() + static_cast<ptrdiff_t>(RandomPart());
          if (Below(2) == 0) {
            parts.erase(part);
          } else {
            parts.insert(part, Bytes(*part));
          }
        });
      case 8:  // a record, or the header, of another chain
        return Rebuilt([&](auto& parts) {
          parts[Below(2) == 0 ? 0 : RandomPart()] = other_.Part(Below(2) == 0 ? 0 : RandomPart());
        });
      case 9:  // another chain's tail
        return Rebuilt([&](auto& parts) {
          for (size_t part = RandomPart(); part < parts.size(); ++part) parts[part] = other_.Part(part);
        });
      case 10:
        return WithRepairedFrame(std::move(bytes));
      default:  // what was there before the file grew over it
        std::copy_n(other_.bytes.begin() + static_cast<ptrdiff_t>(Below(other_.bytes.size() - 64)), until - at, at);
        return bytes;
    }
  }

 private:
  uint64_t Below(uint64_t limit) { return random_() % limit; }
  uint8_t Bit() { return static_cast<uint8_t>(1 << Below(8)); }
  size_t RandomPart() { return 1 + Below(segment_.records.size()); }  // not the header

  template <class Change>
  Bytes Rebuilt(const Change& change) {
    std::vector<Bytes> parts;
    for (size_t i = 0; i < segment_.ends.size(); ++i) parts.push_back(segment_.Part(i));
    change(parts);
    Bytes bytes;
    for (const Bytes& part : parts) Append(bytes, part);
    return bytes;
  }

  // A wrong size or type that its check agrees with, as if the key were known.
  Bytes WithRepairedFrame(Bytes bytes) {
    static constexpr uint64_t kSizes[] = {
        0, 1, 40, 47, 48, 1u << 31, uint64_t{1} << 63, ~uint64_t{0}, ~uint64_t{0} - 39};
    const size_t record = RandomPart();
    const size_t begin = segment_.ends[record - 1];
    journal::FrameWire frame;
    std::memcpy(&frame, bytes.data() + begin, sizeof frame);
    switch (Below(3)) {
      case 0:
        frame.body_bytes = kSizes[Below(std::size(kSizes))];
        break;
      case 1:
        frame.body_bytes += Below(100) - 50;
        break;
      default:
        frame.type = static_cast<journal::RecordType>(Below(4));
    }
    frame.check = journal::FrameCheck(frame, segment_.tags[record - 1], sealer_);
    std::memcpy(bytes.data() + begin, &frame, sizeof frame);
    return bytes;
  }

  const Segment& segment_;
  const Segment& other_;
  const Sealer& sealer_;
  std::mt19937_64& random_;
};

TEST(JournalDamageTest, OnlyBeginningsAreRead) {
  const Sealer sealer(SealKey{4, 5, 6});
  std::mt19937_64 random(1);
  int cases = 0;
  int damaged = 0;
  int torn = 0;
  int clean = 0;
  std::map<uint64_t, int> by_kind;
  Segment segment;
  Segment other;
  for (const int wanted = NumCases(); cases < wanted;) {
    if (cases % 100 == 0) {
      const size_t records = 1 + random() % 20;
      segment = RandomSegment(random, records, sealer);
      other = RandomSegment(random, records, sealer);
    }
    const uint64_t kind = random() % Damager::kKinds;
    const Bytes bytes = Damager(segment, other, sealer, random).Damaged(kind);
    if (bytes == segment.bytes || bytes == other.bytes) continue;
    ++cases;
    ++by_kind[kind];
    SCOPED_TRACE(testing::Message() << "case " << cases << " of kind " << kind);

    ReadSegment read;
    {
      const test::HeapPeak peak;
      read = Read(bytes, sealer);
      ASSERT_LT(peak.bytes(), 20 * bytes.size() + 4096);
    }
    // Never a record that was not written there, and never the whole: but for the end, that is.
    const Segment& written = read.has_header && read.header == other.header ? other : segment;
    ASSERT_TRUE(IsPrefix(read, written));
    ASSERT_LE(read.offset, bytes.size());
    ASSERT_TRUE(std::equal(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(read.offset), written.bytes.begin()));
    if (!read.status.ok()) {
      ASSERT_TRUE(read.status.code() == absl::StatusCode::kDataLoss ||
                  (read.status.code() == absl::StatusCode::kFailedPrecondition && !read.has_header))
          << read.status;
      ASSERT_FALSE(read.torn);
      ASSERT_EQ(read.status.message().find('\n'), absl::string_view::npos);
      ++damaged;
    } else if (read.torn) {
      ASSERT_LT(read.offset, bytes.size());
      ++torn;
    } else {
      ASSERT_EQ(read.offset, bytes.size());
      ++clean;
    }
  }
  std::printf("%d damaged journals: %d refused, %d torn, %d cut between records\n", cases, damaged, torn, clean);
  EXPECT_GE(cases, kMinCases);
  EXPECT_EQ(by_kind.size(), Damager::kKinds);
  for (const auto& [kind, count] : by_kind) EXPECT_GT(count, cases / 100) << kind;
  EXPECT_GT(damaged, cases / 2);
  EXPECT_GT(torn, cases / 50);
  EXPECT_GT(clean, 0);
}

// Bodies of any size that are sealed with the right key: as far as only a fault of ours can go.
TEST(JournalDamageTest, BodiesHaveTheirSize) {
  const Sealer sealer(SealKey{4, 5, 6});
  std::mt19937_64 random(2);
  const Segment segment = RandomSegment(random, 0, sealer);
  const auto body = [](const auto& wire) {
    const std::span<const uint8_t> bytes = journal::BytesOf(wire);
    return Bytes(bytes.begin(), bytes.end());
  };
  journal::TurnWire overflow = {};  // what is left of no body behind four bytes of text, counted without a sign
  overflow.turn_id_bytes = 4;
  overflow.num_ids = (uint64_t{0} - 4) / 4;
  journal::RewindWire rewind = {};
  rewind.last_id = -1;
  const struct {
    uint64_t type;
    Bytes body;  // cut, or filled with zeros
    size_t good_size;
  } cases[] = {{0, {}, SIZE_MAX},
               {1, body(journal::TurnWire()), sizeof(journal::TurnWire)},
               {1, body(overflow), SIZE_MAX},
               {2, body(rewind), sizeof rewind},
               {3, body(rewind), SIZE_MAX}};
  for (const auto& one : cases) {
    for (size_t size = 0; size < 100; ++size) {
      journal::FrameWire frame = {size, static_cast<journal::RecordType>(one.type), 0};
      frame.check = journal::FrameCheck(frame, segment.tags[0], sealer);
      Bytes record = body(frame);
      Append(record, one.body);
      record.resize(sizeof frame + size);
      const Tag tag = sealer.MacTag({segment.tags[0], record});
      record.insert(record.end(), tag.begin(), tag.end());
      Bytes bytes = segment.bytes;
      Append(bytes, record);
      const absl::StatusCode code = Read(bytes, sealer).status.code();
      ASSERT_EQ(code, size == one.good_size ? absl::StatusCode::kOk : absl::StatusCode::kDataLoss)
          << "type " << one.type << " of " << size;
    }
  }
}

}  // namespace
}  // namespace cascade
