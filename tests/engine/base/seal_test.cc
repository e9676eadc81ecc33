#include "engine/base/seal.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/token_digest.h"
#include "gtest/gtest.h"

namespace cascade {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes BytesOf(const std::string& text) { return Bytes(text.begin(), text.end()); }

std::string Hex(std::span<const uint8_t> bytes) {
  std::string hex;
  for (const uint8_t byte : bytes) hex.append({"0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]});
  return hex;
}

// FIPS 180-2, appendix B, and the empty message.
TEST(Sha256Test, KnownAnswers) {
  EXPECT_EQ(Hex(Sha256Of({})), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Hex(Sha256Of(BytesOf("abc"))), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Hex(Sha256Of(BytesOf("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"))),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Hex(Sha256Of(Bytes(1'000'000, 'a'))), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256Test, PartsAreAsTheWhole) {
  Bytes message(1000);
  std::iota(message.begin(), message.end(), uint8_t{0});
  const std::span<const uint8_t> all(message);
  for (size_t cut = 0; cut <= message.size(); ++cut) {
    Sha256 sha;
    sha.Update(all.first(cut));
    sha.Update({});
    sha.Update(all.subspan(cut));
    ASSERT_EQ(sha.Finish(), Sha256Of(message)) << cut;
  }
}

// RFC 4231. HMAC fills a short key with zeros, and hashes one that is longer than a block: so ours, of 32 bytes, can
// stand for all of them.
TEST(SealerTest, KnownAnswers) {
  Bytes counting(25);
  std::iota(counting.begin(), counting.end(), uint8_t{1});
  const struct {
    Bytes key;
    Bytes data;
    std::string mac;
  } cases[] = {
      {Bytes(20, 0x0b), BytesOf("Hi There"), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
      {BytesOf("Jefe"), BytesOf("what do ya want for nothing?"),
       "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
      {Bytes(20, 0xaa), Bytes(50, 0xdd), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
      {counting, Bytes(50, 0xcd), "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
      {Bytes(20, 0x0c), BytesOf("Test With Truncation"), "a3b6167473100ee06e0c796c2955552b"},
      {Bytes(131, 0xaa), BytesOf("Test Using Larger Than Block-Size Key - Hash Key First"),
       "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
      {Bytes(131, 0xaa),
       BytesOf("This is a test using a larger than block-size key and a larger than block-size data. The key needs to "
               "be hashed before being used by the HMAC algorithm."),
       "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
  };
  for (const auto& one : cases) {
    SealKey key = {};
    if (one.key.size() > 64) {
      key = Sha256Of(one.key);
    } else {
      std::ranges::copy(one.key, key.begin());
    }
    const Sealer sealer(key);
    EXPECT_EQ(Hex(sealer.Mac({one.data})).substr(0, one.mac.size()), one.mac);
    EXPECT_EQ(Hex(sealer.MacTag({one.data})), one.mac.substr(0, 32));
    const std::span<const uint8_t> data(one.data);
    EXPECT_EQ(sealer.Mac({data.first(3), {}, data.subspan(3)}), sealer.Mac({data}));
  }
}

TEST(SealerTest, DependsOnEveryBitOfTheKey) {
  SealKey key = {};
  std::set<Digest> macs = {Sealer(key).Mac({})};
  for (size_t bit = 0; bit < 8 * key.size(); ++bit) {
    SealKey other = key;
    other[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    macs.insert(Sealer(other).Mac({}));
  }
  EXPECT_EQ(macs.size(), 8 * key.size() + 1);
}

TEST(SealerTest, ManyThreadsShareOne) {
  const Sealer sealer(SealKey{1, 2, 3});
  std::vector<Digest> alone;
  for (uint8_t i = 0; i < 200; ++i) alone.push_back(sealer.Mac({Bytes(i, i)}));
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&sealer, &alone, &count] {
      for (int round = 0; round < 10; ++round) {
        for (uint8_t i = 0; i < 200; ++i) count += sealer.Mac({Bytes(i, i)}) != alone[i];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(EqualInConstantTimeTest, IsEquality) {
  const Bytes bytes = {1, 2, 3};
  EXPECT_TRUE(EqualInConstantTime(bytes, Bytes{1, 2, 3}));
  EXPECT_TRUE(EqualInConstantTime({}, {}));
  EXPECT_FALSE(EqualInConstantTime(bytes, Bytes{1, 2}));
  EXPECT_FALSE(EqualInConstantTime(bytes, Bytes{1, 2, 3, 0}));
  for (size_t i = 0; i < bytes.size(); ++i) {
    Bytes other = bytes;
    other[i] ^= 0x80;
    EXPECT_FALSE(EqualInConstantTime(bytes, other));
  }
}

// Written down from another implementation: journals hold it, and clients compute it.
TEST(TokenDigestTest, KnownAnswers) {
  EXPECT_EQ(ExtendTokenDigest(0, {}), 0u);
  EXPECT_EQ(ExtendTokenDigest(0, std::vector<int32_t>{0}), 0xe220a8397b1dcdafu);
  EXPECT_EQ(ExtendTokenDigest(0, std::vector<int32_t>{1, 2, 3}), 0x8db38cc6b7a8058bu);
  EXPECT_EQ(ExtendTokenDigest(0, std::vector<int32_t>{2147483647, 0, 151935}), 0x0b7b5f4b5ade956au);
}

TEST(TokenDigestTest, DoesNotDependOnCuts) {
  std::mt19937 random(1);
  for (int round = 0; round < 1000; ++round) {
    std::vector<int32_t> ids(random() % 100);
    for (int32_t& id : ids) id = static_cast<int32_t>(random() % 1000);
    const std::span<const int32_t> all(ids);
    uint64_t digest = 0;
    for (size_t begin = 0; begin < ids.size();) {
      const size_t count = std::min<size_t>(random() % 10, ids.size() - begin);
      digest = ExtendTokenDigest(digest, all.subspan(begin, count));
      begin += count;
    }
    ASSERT_EQ(digest, ExtendTokenDigest(0, ids));
  }
}

TEST(TokenDigestTest, TellsListsApart) {
  std::set<uint64_t> digests;
  const std::vector<int32_t> ids = {5, 5, 7, 0, 0, 1};
  digests.insert(ExtendTokenDigest(0, ids));
  for (size_t place = 0; place < ids.size(); ++place) {
    std::vector<int32_t> other = ids;
    for (int32_t id = 8; id < 10'008; ++id) {
      other[place] = id;
      digests.insert(ExtendTokenDigest(0, other));
    }
  }
  EXPECT_EQ(digests.size(), 60'001u);
  std::set<uint64_t> zeros;  // the length counts, also of the smallest id
  for (size_t count = 0; count < 1000; ++count) zeros.insert(ExtendTokenDigest(0, std::vector<int32_t>(count, 0)));
  EXPECT_EQ(zeros.size(), 1000u);
  EXPECT_NE(ExtendTokenDigest(0, std::vector<int32_t>{1, 2}), ExtendTokenDigest(0, std::vector<int32_t>{2, 1}));
}

TEST(TokenDigestTest, OneBitOfAnIdChangesHalfOfTheDigest) {
  int changed = 0;
  int pairs = 0;
  for (int32_t id = 0; id < 1000; ++id) {
    for (int bit = 0; bit < 20; ++bit, ++pairs) {
      const uint64_t a = ExtendTokenDigest(0, std::vector<int32_t>{id, 3});
      const uint64_t b = ExtendTokenDigest(0, std::vector<int32_t>{id ^ (1 << bit), 3});
      changed += std::popcount(a ^ b);
    }
  }
  EXPECT_NEAR(static_cast<double>(changed) / pairs, 32, 0.5);
}

}  // namespace
}  // namespace cascade
