#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace cascade {

// Merges the pairs of symbols of one piece: always the pair of the best rank, the leftmost first. Immutable after the
// last AddMerge; any thread may call Merge with a workspace of its own.
class BpeMerger {
 public:
  struct Symbol {
    int32_t id;  // -1: merged into its left neighbour, or a byte without a token
    int32_t previous;
    int32_t next;    // -1: none
    int32_t rank;    // of the merge with `next`; -1: none
    int32_t merged;  // what that merge gives
  };
  // Memory kept from piece to piece.
  struct Workspace {
    std::vector<Symbol> symbols;
    std::vector<uint64_t> heap;  // candidates: rank * 2^32 + index of the left symbol, the smallest on top
    std::vector<int32_t> start;  // for callers of MergeSymbols
    int64_t steps = 0;           // candidates looked at so far: at most three per symbol
  };

  // byte_ids[b]: the token of byte b, or -1.
  explicit BpeMerger(const std::array<int32_t, 256>& byte_ids) : byte_ids_(byte_ids) {}
  void Reserve(size_t merges) { rules_.reserve(merges); }
  // Best first. False if the pair has a merge already.
  bool AddMerge(int32_t left, int32_t right, int32_t merged);

  // Appends the ids of `piece` (fewer than 2^30 bytes) in n log n. A byte without a token takes part in no merge and
  // leaves nothing: vocabularies trained on clean text lack a few bytes, and the reference tokenizers do the same.
  void Merge(std::string_view piece, Workspace* workspace, std::vector<int32_t>* ids) const;
  // The same from symbols (fewer than 2^30) that are tokens already.
  void MergeSymbols(std::span<const int32_t> start, Workspace* workspace, std::vector<int32_t>* ids) const;

 private:
  struct Rule {
    int32_t rank;
    int32_t merged;
  };
  // Merges workspace->symbols.
  void Run(Workspace* workspace, std::vector<int32_t>* ids) const;
  // Looks up the merge of symbol `left` with its next; false if there is none.
  bool FindMerge(int32_t left, std::vector<Symbol>* symbols) const;

  std::array<int32_t, 256> byte_ids_;
  absl::flat_hash_map<uint64_t, Rule> rules_;
};

}  // namespace cascade
