#include "engine/cache/cache_image.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string_view>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"
#include "kernels/base/thread_pool.h"

namespace cascade {
namespace {

static_assert(std::endian::native == std::endian::little, "images are little-endian");

constexpr std::array<uint8_t, 8> kMagic = {'C', 'S', 'C', 'D', 'I', 'M', 'A', 'G'};
constexpr uint32_t kVersion = 1;

// The first block: this, then zeros.
struct BlockWire {
  std::array<uint8_t, 8> magic;
  uint32_t version;
  uint32_t zero;
  Digest model;
  Digest geometry;
  std::array<uint8_t, 16> session;
  Digest tenant;
  uint64_t generation;
  int64_t tokens_seen;
  uint64_t digest;
  uint64_t cache_bytes;
  Digest mac;  // of all before it
};
static_assert(std::has_unique_object_representations_v<BlockWire> && std::is_trivially_copyable_v<BlockWire>);
static_assert(sizeof(BlockWire) <= kImageBlockBytes);

std::span<const uint8_t> BytesOf(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// What is sealed begins with what it is: neither seal can stand for the other, or for one of a journal.
Digest BlockMac(const BlockWire& block, const Sealer& sealer) {
  const std::span<const uint8_t> bytes = {reinterpret_cast<const uint8_t*>(&block), offsetof(BlockWire, mac)};
  return sealer.Mac({BytesOf("cascade cache image: header"), bytes});
}

// Of the header's MAC too, so that a table belongs to one header.
Digest TableMac(std::span<const uint8_t> block_mac, std::span<const uint8_t> table, const Sealer& sealer) {
  return sealer.Mac({BytesOf("cascade cache image: sections"), block_mac, table});
}

size_t NumSections(size_t cache_bytes) { return (cache_bytes + kImageSectionBytes - 1) / kImageSectionBytes; }

Digest DigestOfSection(std::span<const std::byte> cache, size_t section) {
  const size_t begin = section * kImageSectionBytes;
  const size_t size = std::min(kImageSectionBytes, cache.size() - begin);
  return Sha256Of({reinterpret_cast<const uint8_t*>(cache.data()) + begin, size});
}

std::vector<Digest> DigestsOfSections(std::span<const std::byte> cache, int threads) {
  CASCADE_CHECK(threads >= 1);
  std::vector<Digest> digests(NumSections(cache.size()));
  const auto sections = static_cast<int>(std::min<size_t>(digests.size(), static_cast<size_t>(threads)));
  kernels::ThreadPool pool(std::max(sections, 1));
  pool.ParallelFor(static_cast<int64_t>(digests.size()), [&](int64_t section, int) {
    digests[static_cast<size_t>(section)] = DigestOfSection(cache, static_cast<size_t>(section));
  });
  return digests;
}

bool AllZero(std::span<const uint8_t> bytes) {
  return std::ranges::all_of(bytes, [](uint8_t byte) { return byte == 0; });
}

absl::Status Damaged(const char* what) {
  return absl::DataLossError(absl::StrCat("the cache image is damaged: ", what));
}

absl::Status OfAnotherCache() {
  return absl::FailedPreconditionError("the cache image is of another cache geometry, type or device");
}

}  // namespace

size_t ImageHeaderBytes(size_t cache_bytes) {
  CASCADE_CHECK(cache_bytes <= kMaxCacheBytes);
  const size_t table = (NumSections(cache_bytes) + 1) * sizeof(Digest);  // and its MAC
  return kImageBlockBytes + (table + kImageBlockBytes - 1) / kImageBlockBytes * kImageBlockBytes;
}

size_t ImageBytes(size_t cache_bytes) { return ImageHeaderBytes(cache_bytes) + cache_bytes; }

std::vector<uint8_t> SealImage(const ImageHeader& header, std::span<const std::byte> cache, const Sealer& sealer,
                               int threads) {
  CASCADE_CHECK(header.cache_bytes == cache.size() && header.tokens_seen >= 0);
  BlockWire block = {.magic = kMagic,
                     .version = kVersion,
                     .zero = 0,
                     .model = header.model,
                     .geometry = header.geometry,
                     .session = header.session,
                     .tenant = header.tenant,
                     .generation = header.generation,
                     .tokens_seen = header.tokens_seen,
                     .digest = header.digest,
                     .cache_bytes = header.cache_bytes,
                     .mac = {}};
  block.mac = BlockMac(block, sealer);
  std::vector<uint8_t> out(ImageHeaderBytes(cache.size()));
  std::memcpy(out.data(), &block, sizeof block);

  uint8_t* end = out.data() + kImageBlockBytes;
  for (const Digest& digest : DigestsOfSections(cache, threads)) end = std::ranges::copy(digest, end).out;
  std::ranges::copy(TableMac(block.mac, {out.data() + kImageBlockBytes, end}, sealer), end);
  return out;
}

absl::StatusOr<ImageHeader> ReadImageHeader(std::span<const uint8_t> bytes, uint64_t file_bytes, const Sealer& sealer) {
  CASCADE_CHECK(file_bytes >= bytes.size());
  if (bytes.size() < kImageBlockBytes) return Damaged("it is shorter than its header");
  BlockWire block;
  std::memcpy(&block, bytes.data(), sizeof block);
  if (block.magic != kMagic) return Damaged("it does not begin as an image");
  if (block.version > kVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("the cache image has version ", block.version, ", this server reads ", kVersion));
  }
  if (block.version != kVersion) return Damaged("its header has version 0");
  if (!EqualInConstantTime(block.mac, BlockMac(block, sealer))) {
    return Damaged("the header's seal is not this server's");
  }
  if (!AllZero(bytes.subspan(sizeof block, kImageBlockBytes - sizeof block))) {
    return Damaged("the padding of its header is not zero");
  }
  if (block.zero != 0 || block.tokens_seen < 0 || block.cache_bytes > kMaxCacheBytes) {
    return Damaged("the header has a value that no server writes");
  }
  if (file_bytes != ImageBytes(block.cache_bytes)) return Damaged("it has not the size that its header says");
  return ImageHeader{.model = block.model,
                     .geometry = block.geometry,
                     .session = block.session,
                     .tenant = block.tenant,
                     .generation = block.generation,
                     .tokens_seen = block.tokens_seen,
                     .digest = block.digest,
                     .cache_bytes = block.cache_bytes};
}

absl::Status CheckImageFits(const ImageHeader& image, const Digest& model, const Digest& geometry) {
  if (image.model != model) return absl::FailedPreconditionError("the cache image is of another model or tokenizer");
  if (image.geometry != geometry) return OfAnotherCache();
  return absl::OkStatus();
}

absl::StatusOr<SealedImage> OpenImage(std::span<const uint8_t> bytes, uint64_t file_bytes, const Sealer& sealer) {
  const absl::StatusOr<ImageHeader> header = ReadImageHeader(bytes, file_bytes, sealer);
  if (!header.ok()) return header.status();
  if (bytes.size() != ImageHeaderBytes(header->cache_bytes)) return OfAnotherCache();

  const size_t num_sections = NumSections(header->cache_bytes);
  const std::span<const uint8_t> table = bytes.subspan(kImageBlockBytes, num_sections * sizeof(Digest));
  const std::span<const uint8_t> rest = bytes.subspan(kImageBlockBytes + table.size());
  const std::span<const uint8_t> mac = rest.first(sizeof(Digest));
  const std::span<const uint8_t> block_mac = bytes.subspan(offsetof(BlockWire, mac), sizeof(Digest));
  if (!EqualInConstantTime(mac, TableMac(block_mac, table, sealer))) {
    return Damaged("the seal of its sections is not this server's");
  }
  if (!AllZero(rest.subspan(mac.size()))) return Damaged("the padding of its sections is not zero");
  SealedImage image = {.header = *header, .sections = std::vector<Digest>(num_sections)};
  if (num_sections > 0) std::memcpy(image.sections.data(), table.data(), table.size());
  return image;
}

absl::Status CheckSections(const SealedImage& image, std::span<const std::byte> cache, int threads) {
  if (cache.size() != image.header.cache_bytes) return OfAnotherCache();
  if (DigestsOfSections(cache, threads) != image.sections) return Damaged("the cache's bytes are not what was sealed");
  return absl::OkStatus();
}

}  // namespace cascade
