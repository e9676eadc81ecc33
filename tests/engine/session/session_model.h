// A durable session as plain lists: what a journal is compared with.
#pragma once

#include <cstdint>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "engine/session/journal.h"

namespace cascade::test {

inline constexpr size_t kCacheBytes = 10'000;

// All fields, in words that differ when the states do.
std::string Describe(const JournalState& state);

// What a cache holds that has seen these tokens: other bytes for others.
std::vector<std::byte> CacheOf(std::span<const int32_t> ids);

RewindRecord RewindTo(const JournalPlace& place, int64_t ended_ms);

struct SessionModel {
  SessionKey key = {};
  std::string label;
  Durability durability = Durability::kJournal;
  int64_t created_ms = 0;
  int64_t last_used_ms = 0;
  JournalPlace begin;             // of its first own turn: a fork's is not 0
  std::vector<int32_t> ids;       // all tokens
  std::vector<TurnRecord> turns;  // its own that count
  size_t turn_starts = 0;         // how many of the newest can be taken back at constant cost
  bool ends_with_turn = false;    // not with a rewind
  bool forked = false;
  std::set<int64_t> images;  // by the tokens seen: those that must be there

  static SessionModel Random(std::mt19937_64& random);
  // What a new session, or one that begins here as another is, is made with.
  JournalState State(size_t keep_turn_starts) const;
  JournalPlace Place(size_t own_turns) const;  // after so many of them
  JournalPlace Place() const { return Place(turns.size()); }
  int64_t position() const { return static_cast<int64_t>(ids.size()); }
  std::span<const int32_t> Ids(int64_t from, int64_t to) const;
  uint64_t DigestOf(int64_t tokens) const;

  // A turn that could come next.
  TurnRecord RandomTurnRecord(std::mt19937_64& random, size_t max_ids = 50) const;
  void Add(const TurnRecord& turn, size_t keep_turn_starts);
  void TakeBack(size_t own_turns, int64_t ended_ms);  // so many are left
  SessionModel Fork(std::mt19937_64& random) const;
  // What making an image leaves of the others.
  void AddImage(int64_t tokens_seen, size_t keep_turn_starts);
  void RemoveImagesAfter(int64_t tokens_seen);
};

}  // namespace cascade::test
