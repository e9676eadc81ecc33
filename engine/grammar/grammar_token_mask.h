// A grammar's state as the sampler sees it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "engine/grammar/grammar.h"
#include "engine/grammar/token_trie.h"
#include "engine/sampling/token_mask.h"

namespace cascade {

class GrammarTokenMask final : public TokenMask {
 public:
  // Grammar::CheckVocabulary said yes to the two.
  GrammarTokenMask(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie)
      : state_(std::move(grammar)), trie_(std::move(trie)) {}

  void Allowed(std::span<uint64_t> bits) override { state_.Allowed(*trie_, bits); }
  bool Accept(int32_t id) override {
    const std::string_view bytes = trie_->bytes(id);
    return !bytes.empty() && state_.Accept(bytes);
  }
  bool MayEnd() override { return state_.MayEnd(); }

 private:
  GrammarState state_;
  std::shared_ptr<const TokenTrie> trie_;
};

}  // namespace cascade
