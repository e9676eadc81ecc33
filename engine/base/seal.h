// SHA-256, and HMAC-SHA256 with the server's key: what tells the server's own files from damaged and from made-up ones.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>

struct evp_mac_ctx_st;
struct evp_md_ctx_st;

namespace cascade {

using Digest = std::array<uint8_t, 32>;
using SealKey = std::array<uint8_t, 32>;
using Tag = std::array<uint8_t, 16>;  // a MAC, cut

// The digest of bytes that come in parts. One thread at a time.
class Sha256 {
 public:
  Sha256();
  void Update(std::span<const uint8_t> bytes);
  // Once, and nothing after it.
  Digest Finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

Digest Sha256Of(std::span<const uint8_t> bytes);

// HMAC-SHA256 with one key. Any thread.
class Sealer {
 public:
  explicit Sealer(const SealKey& key);

  // Of the parts one after another: where one ends and the next begins is not part of it.
  Digest Mac(std::initializer_list<std::span<const uint8_t>> parts) const;
  // Its first bytes.
  Tag MacTag(std::initializer_list<std::span<const uint8_t>> parts) const;

 private:
  struct Free {
    void operator()(evp_mac_ctx_st* context) const;
  };
  std::unique_ptr<evp_mac_ctx_st, Free> keyed_;  // has read the key and nothing else; never changed, only copied
};

// In time that does not depend on where they differ. Of different sizes: false.
bool EqualInConstantTime(std::span<const uint8_t> a, std::span<const uint8_t> b);

}  // namespace cascade
