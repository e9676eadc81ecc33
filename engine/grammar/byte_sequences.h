// Characters of JSON strings, written into an automaton as bytes.
#pragma once

#include <bitset>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "engine/grammar/automaton.h"
#include "engine/grammar/character_set.h"

namespace cascade::grammar {

// Text between the quotes of a JSON string in its one canonical form: UTF-8, escaped only where JSON demands it, the
// short escape where there is one.
std::string CanonicalText(std::string_view utf8);

// Writes paths from one state to another; ends that lead to the same target are shared. Used while one automaton is
// built.
class ByteSequences {
 public:
  explicit ByteSequences(AutomatonBuilder* builder) : builder_(*builder) {}

  void AddText(uint32_t from, std::string_view bytes, uint32_t target);
  // Any one character of the set, in canonical form. Surrogates are no characters and are left out.
  void AddCanonical(uint32_t from, const CharacterSet& set, uint32_t target);
  // Any one character in any form that JSON has; escapes of surrogates in pairs only.
  void AddCharacter(uint32_t from, uint32_t target);

 private:
  using Escaped = std::bitset<34>;  // the control characters, the quote, the backslash

  void Add(uint32_t from, std::span<const ByteRange> bytes, uint32_t target);
  void AddUtf8(uint32_t from, char32_t first, char32_t last, uint32_t target);
  uint32_t Tail(std::span<const ByteRange> bytes, uint32_t target);
  // Behind a backslash.
  uint32_t EscapeOf(const Escaped& characters, uint32_t target);

  AutomatonBuilder& builder_;
  absl::flat_hash_map<std::pair<uint32_t, std::string>, uint32_t> tails_;  // by target and bytes
  absl::flat_hash_map<std::pair<uint32_t, uint64_t>, uint32_t> escapes_;   // by target and characters
};

}  // namespace cascade::grammar
