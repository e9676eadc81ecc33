#pragma once

#include <cstdint>
#include <span>

namespace cascade {

// 64 bits that stand for a session's tokens: what a client and the server compare to see that they mean the same ones.
// Begins at 0. A function of the ids and of their order alone, however they were cut into turns. Not cryptographic: one
// who wants to can make two lists with one digest.
//
// For every id: digest = Mix(digest ^ (id + 1) * 0x9E3779B97F4A7C15), where Mix is the finaliser of splitmix64, so that
// each id changes about half of the bits. Journals and clients keep it: it must not change.
inline uint64_t ExtendTokenDigest(uint64_t digest, std::span<const int32_t> ids) {
  for (const int32_t id : ids) {
    uint64_t mixed = digest ^ ((static_cast<uint64_t>(static_cast<uint32_t>(id)) + 1) * 0x9E3779B97F4A7C15u);
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
    digest = mixed ^ (mixed >> 31);
  }
  return digest;
}

}  // namespace cascade
