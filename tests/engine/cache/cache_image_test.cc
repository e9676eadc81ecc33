#include "engine/cache/cache_image.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <string>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cascade {
namespace {

using Bytes = std::vector<uint8_t>;
using ::testing::HasSubstr;

constexpr int kMinCases = 20'000;
constexpr size_t kVersionAt = 8;  // in the header

const Sealer& TestSealer() {
  static const Sealer* const sealer = new Sealer(SealKey{7, 8, 9});
  return *sealer;
}

Digest RandomDigest(std::mt19937_64& random) {
  Digest digest;
  std::ranges::generate(digest, [&] { return static_cast<uint8_t>(random()); });
  return digest;
}

ImageHeader RandomHeader(std::mt19937_64& random, size_t cache_bytes) {
  ImageHeader header;
  header.model = RandomDigest(random);
  header.geometry = RandomDigest(random);
  std::ranges::generate(header.session, [&] { return static_cast<uint8_t>(random()); });
  header.tenant = RandomDigest(random);
  header.generation = random();
  header.tokens_seen = static_cast<int64_t>(random() >> 1);
  header.digest = random();
  header.cache_bytes = cache_bytes;
  return header;
}

std::span<const std::byte> AsCache(std::span<const uint8_t> bytes) { return std::as_bytes(bytes); }

// A file's bytes.
struct Image {
  ImageHeader header;
  Bytes bytes;
  size_t header_bytes = 0;
};

Image MakeImage(std::mt19937_64& random, size_t cache_bytes, int threads = 1) {
  Image image = {.header = RandomHeader(random, cache_bytes), .bytes = {}, .header_bytes = 0};
  Bytes cache(cache_bytes);
  for (uint8_t& byte : cache) byte = static_cast<uint8_t>(random());
  image.bytes = SealImage(image.header, AsCache(cache), TestSealer(), threads);
  image.header_bytes = image.bytes.size();
  image.bytes.insert(image.bytes.end(), cache.begin(), cache.end());
  return image;
}

// As a server reads it that expects a cache of `cache_bytes`.
absl::StatusOr<ImageHeader> ReadFile(const Bytes& file, size_t cache_bytes, int threads = 1,
                                     const Sealer& sealer = TestSealer()) {
  const std::span<const uint8_t> all(file);
  const size_t header_bytes = std::min(file.size(), ImageHeaderBytes(cache_bytes));
  const auto opened = OpenImage(all.first(header_bytes), file.size(), sealer);
  if (!opened.ok()) return opened.status();
  EXPECT_EQ(opened->header.cache_bytes, cache_bytes);
  const absl::Status sections = CheckSections(*opened, AsCache(all.subspan(header_bytes)), threads);
  if (!sections.ok()) return sections;
  return opened->header;
}

TEST(CacheImageTest, ReadsWhatWasSealed) {
  std::mt19937_64 random(1);
  for (const size_t cache_bytes : {size_t{0}, size_t{1}, size_t{1000}, kImageSectionBytes - 1, kImageSectionBytes,
                                   kImageSectionBytes + 1, 3 * kImageSectionBytes + 5}) {
    for (const int threads : {1, 2, 9}) {
      const Image image = MakeImage(random, cache_bytes, threads);
      EXPECT_EQ(image.header_bytes, ImageHeaderBytes(cache_bytes));
      EXPECT_EQ(image.bytes.size(), ImageBytes(cache_bytes));
      EXPECT_EQ(image.header_bytes % kImageBlockBytes, 0u);
      const auto read = ReadFile(image.bytes, cache_bytes, 10 - threads);
      ASSERT_TRUE(read.ok()) << read.status();
      EXPECT_EQ(*read, image.header);
      const auto header =
          ReadImageHeader(std::span(image.bytes).first(kImageBlockBytes), image.bytes.size(), TestSealer());
      ASSERT_TRUE(header.ok()) << header.status();
      EXPECT_EQ(*header, image.header);
    }
  }
}

TEST(CacheImageTest, Sizes) {
  EXPECT_EQ(ImageHeaderBytes(0), 8192u);
  EXPECT_EQ(ImageHeaderBytes(127 * kImageSectionBytes), 8192u);  // and the MAC: a block
  EXPECT_EQ(ImageHeaderBytes(127 * kImageSectionBytes + 1), 12288u);
  EXPECT_EQ(ImageBytes(1000), 9192u);
  EXPECT_GT(ImageBytes(kMaxCacheBytes), kMaxCacheBytes);
}

// The format is what other versions wrote: a change needs a new version. Another implementation gives the same bytes.
TEST(CacheImageTest, FormatStaysAsItIs) {
  ImageHeader header;
  for (size_t i = 0; i < 16; ++i) header.session[i] = static_cast<uint8_t>(i);
  header.generation = 5;
  header.tokens_seen = 6;
  header.cache_bytes = 3;
  const Bytes bytes = SealImage(header, AsCache(Bytes{1, 2, 3}), TestSealer());
  const Digest digest = Sha256Of(bytes);
  EXPECT_EQ(std::vector<int>(digest.begin(), digest.begin() + 8),
            (std::vector<int>{165, 68, 16, 121, 88, 191, 188, 10}));
}

TEST(CacheImageTest, NewerVersionsAreNamed) {
  std::mt19937_64 random(2);
  Bytes bytes = MakeImage(random, 10).bytes;
  bytes[kVersionAt] = 2;
  const absl::Status status = ReadFile(bytes, 10).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("version 2"));
  bytes[kVersionAt] = 0;
  EXPECT_EQ(ReadFile(bytes, 10).status().code(), absl::StatusCode::kDataLoss);
}

TEST(CacheImageTest, SaysWhatDiffers) {
  std::mt19937_64 random(3);
  const ImageHeader image = RandomHeader(random, 10);
  EXPECT_TRUE(CheckImageFits(image, image.model, image.geometry).ok());
  const absl::Status model = CheckImageFits(image, RandomDigest(random), RandomDigest(random));
  EXPECT_EQ(model.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(model.message()), HasSubstr("another model"));
  const absl::Status geometry = CheckImageFits(image, image.model, RandomDigest(random));
  EXPECT_EQ(geometry.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(geometry.message()), HasSubstr("another cache geometry, type or device"));
}

// A whole image that was made by a server with another cache is not a damaged one, whatever the two sizes are.
TEST(CacheImageTest, CachesOfAnotherSizeAreNotDamage) {
  std::mt19937_64 random(4);
  const size_t sizes[] = {1, 1000, kImageSectionBytes, 130 * kImageSectionBytes};
  for (const size_t cache_bytes : {size_t{1}, size_t{1000}, 2 * kImageSectionBytes}) {
    const Image image = MakeImage(random, cache_bytes);
    for (const size_t expected : sizes) {
      if (expected == cache_bytes) continue;
      const std::span<const uint8_t> begin =
          std::span(image.bytes).first(std::min(image.bytes.size(), ImageHeaderBytes(expected)));
      const auto header = ReadImageHeader(begin, image.bytes.size(), TestSealer());
      ASSERT_TRUE(header.ok()) << header.status();
      EXPECT_EQ(header->cache_bytes, cache_bytes);
      const auto opened = OpenImage(begin, image.bytes.size(), TestSealer());
      EXPECT_EQ(opened.ok(), begin.size() == image.header_bytes);
      const absl::Status status = opened.ok() ? CheckSections(*opened, AsCache(Bytes(expected))) : opened.status();
      EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
      EXPECT_THAT(std::string(status.message()), HasSubstr("another cache geometry"));
    }
  }
}

TEST(CacheImageTest, AnotherKeyReadsNothing) {
  std::mt19937_64 random(5);
  const Image image = MakeImage(random, 100);
  for (size_t bit = 0; bit < 256; ++bit) {
    SealKey key = {7, 8, 9};
    key[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    EXPECT_EQ(ReadFile(image.bytes, 100, 1, Sealer(key)).status().code(), absl::StatusCode::kDataLoss);
  }
}

TEST(CacheImageTest, EveryFlippedBitIsFound) {
  std::mt19937_64 random(6);
  const Image image = MakeImage(random, 300);
  for (size_t bit = 0; bit < 8 * image.bytes.size(); ++bit) {
    Bytes bytes = image.bytes;
    bytes[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    const absl::StatusCode code = ReadFile(bytes, 300).status().code();
    const bool of_version = bit / 8 >= kVersionAt && bit / 8 < kVersionAt + 4;
    ASSERT_TRUE(code == absl::StatusCode::kDataLoss || (of_version && code == absl::StatusCode::kFailedPrecondition))
        << bit;
  }
}

TEST(CacheImageTest, OtherLengthsAreFound) {
  std::mt19937_64 random(7);
  const Image image = MakeImage(random, 300);
  for (size_t size = 0; size < image.bytes.size() + 300; ++size) {
    if (size == image.bytes.size()) continue;
    Bytes bytes = image.bytes;
    bytes.resize(size);
    ASSERT_EQ(ReadFile(bytes, 300).status().code(), absl::StatusCode::kDataLoss) << size;
  }
}

// Sealed with the right key, and still not what a server writes: as far as only a fault of ours can go.
TEST(CacheImageTest, SealedNonsenseIsRefused) {
  std::mt19937_64 random(9);
  const std::string what = "cascade cache image: header";
  constexpr size_t kMacAt = 160;
  for (const auto& [offset, value] : std::map<size_t, uint64_t>{{8, uint64_t{1} << 32 | 1},  // at 12: always zero
                                                                {136, ~uint64_t{0}},         // tokens_seen
                                                                {152, kMaxCacheBytes + 1}}) {
    Bytes bytes = MakeImage(random, 300).bytes;
    std::memcpy(bytes.data() + offset, &value, sizeof value);
    const Digest mac = TestSealer().Mac({Bytes(what.begin(), what.end()), std::span(bytes).first(kMacAt)});
    std::memcpy(bytes.data() + kMacAt, mac.data(), mac.size());
    const absl::Status status = ReadFile(bytes, 300).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), HasSubstr("no server writes")) << offset;
  }
}

// Of `image`, with the help of another one that has a cache of the same size; both are the server's own.
Bytes Damaged(const Image& image, const Image& other, uint64_t kind, std::mt19937_64& random) {
  const auto below = [&](uint64_t limit) { return random() % limit; };
  Bytes bytes = image.bytes;
  const size_t size = below(3) == 0 ? bytes.size() : std::min<size_t>(bytes.size(), 256);  // most in what counts
  const size_t begin = (below(2) == 0 || bytes.size() == image.header_bytes ? 0 : image.header_bytes / 2) + below(size);
  const size_t place = std::min(begin, bytes.size() - 1);
  const auto at = bytes.begin() + static_cast<ptrdiff_t>(place);
  const auto until = at + static_cast<ptrdiff_t>(1 + below(std::min<size_t>(bytes.size() - place, 64)));
  const auto copy = [&](size_t from, size_t to) {
    std::copy(other.bytes.begin() + static_cast<ptrdiff_t>(from), other.bytes.begin() + static_cast<ptrdiff_t>(to),
              bytes.begin() + static_cast<ptrdiff_t>(from));
  };
  switch (kind) {
    case 0:
      for (uint64_t count = 1 + below(4); count > 0; --count) bytes[below(size)] ^= static_cast<uint8_t>(1 << below(8));
      break;
    case 1:
      std::generate(at, until, [&] { return static_cast<uint8_t>(random()); });
      break;
    case 2: {  // a page that was never written
      const size_t page = (kImageBlockBytes >> below(4));
      const size_t first = place / page * page;
      std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(first), std::min(page, bytes.size() - first), uint8_t{0});
      break;
    }
    case 3:
      bytes.resize(place);
      break;
    case 4:
      bytes.erase(at, until);
      if (below(2) == 0) bytes.resize(image.bytes.size());
      break;
    case 5:  // the other's header, sections' digests, or cache
      copy(0, kImageBlockBytes);
      break;
    case 6:
      copy(kImageBlockBytes, image.header_bytes);
      break;
    case 7:
      copy(image.header_bytes, bytes.size());
      break;
    case 8:  // of both
      copy(place, static_cast<size_t>(until - bytes.begin()));
      break;
    case 9: {  // two sections, and perhaps their digests, in each other's place
      if (image.header.cache_bytes < 2 * kImageSectionBytes) break;
      const auto cache = bytes.begin() + static_cast<ptrdiff_t>(image.header_bytes);
      const auto digests = bytes.begin() + static_cast<ptrdiff_t>(kImageBlockBytes);
      if (below(2) == 0) std::swap_ranges(digests, digests + 32, digests + 32);
      std::swap_ranges(cache, cache + kImageSectionBytes, cache + kImageSectionBytes);
      break;
    }
    default: {  // a section that its digest agrees with
      if (image.header.cache_bytes == 0) break;
      bytes.back() ^= 1;
      const size_t last = (image.header.cache_bytes - 1) / kImageSectionBytes;
      const auto section = std::span(bytes).subspan(image.header_bytes + last * kImageSectionBytes);
      std::ranges::copy(Sha256Of(section), bytes.begin() + static_cast<ptrdiff_t>(kImageBlockBytes + 32 * last));
    }
  }
  return bytes;
}

TEST(CacheImageTest, DamageIsFound) {
  constexpr uint64_t kKinds = 11;
  const char* const asked = std::getenv("CASCADE_DAMAGE_CASES");
  const int wanted = asked != nullptr ? std::atoi(asked) : kMinCases;
  std::mt19937_64 random(8);
  int cases = 0;
  std::map<uint64_t, int> by_kind;
  const size_t sizes[] = {0, 1, 5000, 2 * kImageSectionBytes + 100};
  std::map<size_t, std::pair<Image, Image>> images;
  for (const size_t size : sizes) images[size] = {MakeImage(random, size), MakeImage(random, size)};
  while (cases < wanted) {
    const size_t size = random() % 200 == 0 ? sizes[3] : sizes[random() % 3];  // the large one takes milliseconds
    const auto& [image, other] = images[size];
    const uint64_t kind = size == sizes[3] && random() % 4 == 0 ? 9 : random() % kKinds;
    const Bytes bytes = Damaged(image, other, kind, random);
    if (bytes == image.bytes || bytes == other.bytes) continue;
    ++cases;
    ++by_kind[kind];
    const absl::Status status = ReadFile(bytes, size).status();
    const bool newer = absl::StrContains(status.message(), "this server reads");
    ASSERT_EQ(status.code(), newer ? absl::StatusCode::kFailedPrecondition : absl::StatusCode::kDataLoss)
        << "case " << cases << " of kind " << kind << ": " << status;
  }
  std::printf("%d damaged images, all refused\n", cases);
  EXPECT_GE(cases, kMinCases);
  EXPECT_EQ(by_kind.size(), kKinds);
  for (const auto& [kind, count] : by_kind) EXPECT_GT(count, kind == 9 ? 10 : cases / 100) << kind;
}

}  // namespace
}  // namespace cascade
