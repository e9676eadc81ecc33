// The bytes of a cache image: what one session's slot held, so that the session can go on without reading its tokens
// again. Pure functions of byte spans; who writes and reads the files is elsewhere.
//
// A header, then the cache's bytes. The header's first kImageBlockBytes say whose image it is, sealed with a MAC; then
// come the SHA-256 digests of the cache's sections, sealed with another. Each part is padded with zeros to whole
// blocks. The size depends on the cache alone, whatever the session has seen. Numbers are little-endian, widths fixed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/seal.h"

namespace cascade {

inline constexpr size_t kImageBlockBytes = 4096;
inline constexpr size_t kImageSectionBytes = size_t{4} << 20;
// Hashing takes as long as writing: two threads halve it.
inline constexpr int kImageHashThreads = 2;
inline constexpr size_t kMaxCacheBytes = size_t{1} << 48;

struct ImageHeader {
  Digest model = {};                     // fingerprint of model and tokenizer
  Digest geometry = {};                  // of geometry, types, layout of the cache's bytes and back end
  std::array<uint8_t, 16> session = {};  // SessionKey
  Digest tenant = {};                    // zero: none
  uint64_t generation = 0;               // sequence of the journal's segment when it was made
  int64_t tokens_seen = 0;
  uint64_t digest = 0;  // ExtendTokenDigest of those tokens
  uint64_t cache_bytes = 0;

  bool operator==(const ImageHeader&) const = default;
};

// A header whose seals are this server's.
struct SealedImage {
  ImageHeader header;
  std::vector<Digest> sections;
};

// Of the header, and of all; cache_bytes at most kMaxCacheBytes.
size_t ImageHeaderBytes(size_t cache_bytes);
size_t ImageBytes(size_t cache_bytes);

// The header's bytes, ImageHeaderBytes of them; header.cache_bytes is cache.size(). Hashes with up to `threads`
// threads, the caller's included.
std::vector<uint8_t> SealImage(const ImageHeader& header, std::span<const std::byte> cache, const Sealer& sealer,
                               int threads = 1);

// `bytes`: the file's first kImageBlockBytes, or fewer if it is shorter; more are not looked at. `file_bytes`: how long
// it is. DATA_LOSS: damaged, cut, or sealed with another key; FAILED_PRECONDITION: of a newer version. A good header
// may be of any model, geometry and size of the cache: see CheckImageFits.
absl::StatusOr<ImageHeader> ReadImageHeader(std::span<const uint8_t> bytes, uint64_t file_bytes, const Sealer& sealer);

// FAILED_PRECONDITION says what differs.
absl::Status CheckImageFits(const ImageHeader& image, const Digest& model, const Digest& geometry);

// `bytes`: the file's first ImageHeaderBytes(the cache's size), or all if it is shorter. Errors are ReadImageHeader's;
// and FAILED_PRECONDITION when the image has another number of them, thus another geometry.
absl::StatusOr<SealedImage> OpenImage(std::span<const uint8_t> bytes, uint64_t file_bytes, const Sealer& sealer);

// Whether these are the bytes that were sealed (DATA_LOSS); FAILED_PRECONDITION when the image's cache has another
// size. Threads as in SealImage.
absl::Status CheckSections(const SealedImage& image, std::span<const std::byte> cache, int threads = 1);

}  // namespace cascade
