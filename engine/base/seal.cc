#include "engine/base/seal.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <algorithm>

#include "kernels/base/check.h"

// Every CHECK here is of a call that fails only without memory, or without OpenSSL's own algorithms.
namespace cascade {

void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }
void Sealer::Free::operator()(evp_mac_ctx_st* context) const { EVP_MAC_CTX_free(context); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  CASCADE_CHECK(context_ != nullptr);
  CASCADE_CHECK(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
}

void Sha256::Update(std::span<const uint8_t> bytes) {
  CASCADE_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

Digest Sha256::Finish() {
  Digest digest;
  unsigned size = 0;
  CASCADE_CHECK(EVP_DigestFinal_ex(context_.get(), digest.data(), &size) == 1 && size == digest.size());
  return digest;
}

Digest Sha256Of(std::span<const uint8_t> bytes) {
  Sha256 sha;
  sha.Update(bytes);
  return sha.Finish();
}

Sealer::Sealer(const SealKey& key) {
  EVP_MAC* const hmac = EVP_MAC_fetch(nullptr, OSSL_MAC_NAME_HMAC, nullptr);
  CASCADE_CHECK(hmac != nullptr);
  keyed_.reset(EVP_MAC_CTX_new(hmac));
  EVP_MAC_free(hmac);  // the context keeps it
  CASCADE_CHECK(keyed_ != nullptr);
  char sha256[] = "SHA256";  // OpenSSL wants it writable
  const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0),
                                   OSSL_PARAM_construct_end()};
  CASCADE_CHECK(EVP_MAC_init(keyed_.get(), key.data(), key.size(), parameters) == 1);
}

Digest Sealer::Mac(std::initializer_list<std::span<const uint8_t>> parts) const {
  const std::unique_ptr<evp_mac_ctx_st, Free> context(EVP_MAC_CTX_dup(keyed_.get()));
  CASCADE_CHECK(context != nullptr);
  for (const std::span<const uint8_t> part : parts) {
    CASCADE_CHECK(EVP_MAC_update(context.get(), part.data(), part.size()) == 1);
  }
  Digest mac;
  size_t size = 0;
  CASCADE_CHECK(EVP_MAC_final(context.get(), mac.data(), &size, mac.size()) == 1 && size == mac.size());
  return mac;
}

Tag Sealer::MacTag(std::initializer_list<std::span<const uint8_t>> parts) const {
  const Digest mac = Mac(parts);
  Tag tag;
  std::copy_n(mac.begin(), tag.size(), tag.begin());
  return tag;
}

bool EqualInConstantTime(std::span<const uint8_t> a, std::span<const uint8_t> b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace cascade
