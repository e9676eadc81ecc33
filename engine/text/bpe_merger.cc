#include "engine/text/bpe_merger.h"

#include <algorithm>
#include <functional>

namespace cascade {
namespace {

uint64_t Pack(int32_t high, int32_t low) {
  return static_cast<uint64_t>(static_cast<uint32_t>(high)) << 32 | static_cast<uint32_t>(low);
}

}  // namespace

bool BpeMerger::AddMerge(int32_t left, int32_t right, int32_t merged) {
  return rules_.try_emplace(Pack(left, right), Rule{static_cast<int32_t>(rules_.size()), merged}).second;
}

bool BpeMerger::FindMerge(int32_t left, std::vector<Symbol>* symbols) const {
  Symbol& symbol = (*symbols)[left];
  symbol.rank = -1;
  if (symbol.id < 0 || symbol.next < 0 || (*symbols)[symbol.next].id < 0) return false;
  const auto it = rules_.find(Pack(symbol.id, (*symbols)[symbol.next].id));
  if (it == rules_.end()) return false;
  symbol.rank = it->second.rank;
  symbol.merged = it->second.merged;
  return true;
}

void BpeMerger::Merge(std::string_view piece, Workspace* workspace, std::vector<int32_t>* ids) const {
  workspace->symbols.clear();
  const int32_t size = static_cast<int32_t>(piece.size());
  for (int32_t i = 0; i < size; ++i) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(piece[i])];
    workspace->symbols.push_back({id, i - 1, i + 1 < size ? i + 1 : -1, -1, -1});
  }
  Run(workspace, ids);
}

void BpeMerger::MergeSymbols(std::span<const int32_t> start, Workspace* workspace, std::vector<int32_t>* ids) const {
  workspace->symbols.clear();
  const int32_t size = static_cast<int32_t>(start.size());
  for (int32_t i = 0; i < size; ++i) {
    workspace->symbols.push_back({start[i], i - 1, i + 1 < size ? i + 1 : -1, -1, -1});
  }
  Run(workspace, ids);
}

void BpeMerger::Run(Workspace* workspace, std::vector<int32_t>* ids) const {
  std::vector<Symbol>& symbols = workspace->symbols;
  std::vector<uint64_t>& heap = workspace->heap;
  const int32_t size = static_cast<int32_t>(symbols.size());
  heap.clear();
  for (int32_t i = 0; i < size; ++i) {
    if (FindMerge(i, &symbols)) heap.push_back(Pack(symbols[i].rank, i));
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  const auto refresh = [&](int32_t left) {
    if (left < 0 || !FindMerge(left, &symbols)) return;
    heap.push_back(Pack(symbols[left].rank, left));
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const uint64_t best = heap.back();
    heap.pop_back();
    ++workspace->steps;
    // Candidates stay in the heap when a neighbour changes; one that is no longer its symbol's merge is passed over.
    const int32_t index = static_cast<int32_t>(best & 0xFFFFFFFFu);
    Symbol& left = symbols[index];
    if (left.rank != static_cast<int32_t>(best >> 32)) continue;
    Symbol& right = symbols[left.next];
    left.id = left.merged;
    left.next = right.next;
    right.id = right.rank = -1;
    if (left.next >= 0) symbols[left.next].previous = index;
    refresh(left.previous);
    refresh(index);
  }
  for (int32_t i = size > 0 ? 0 : -1; i >= 0; i = symbols[i].next) {
    if (symbols[i].id >= 0) ids->push_back(symbols[i].id);
  }
}

}  // namespace cascade
