#include "engine/grammar_cache.h"

#include <algorithm>
#include <utility>

#include "engine/grammar/grammar_token_mask.h"

namespace cascade {

std::shared_ptr<const TokenTrie> GrammarCache::Trie() {
  MutexLock lock(trie_mutex_);
  if (trie_ == nullptr) trie_ = std::make_shared<const TokenTrie>(tokenizer_);
  return trie_;
}

std::shared_ptr<const Grammar> GrammarCache::Find(const std::string& json_schema) {
  MutexLock lock(mutex_);
  const auto found =
      std::find_if(grammars_.begin(), grammars_.end(), [&](const Entry& entry) { return entry.schema == json_schema; });
  if (found == grammars_.end()) return nullptr;
  grammars_.splice(grammars_.begin(), grammars_, found);
  return found->grammar;
}

absl::StatusOr<std::unique_ptr<TokenMask>> GrammarCache::NewMask(const std::string& json_schema) {
  if (tokenizer_.end_ids().empty()) {
    return absl::FailedPreconditionError("response_format: the model has no token that ends a reply");
  }
  const std::shared_ptr<const TokenTrie> trie = Trie();
  std::shared_ptr<const Grammar> grammar = Find(json_schema);
  if (grammar == nullptr) {
    // Two who ask for the same at once may both compile it.
    absl::StatusOr<std::shared_ptr<const Grammar>> compiled = Grammar::Compile(json_schema);
    if (!compiled.ok()) return compiled.status();
    if (absl::Status status = (*compiled)->CheckVocabulary(*trie); !status.ok()) return status;
    grammar = *std::move(compiled);
    MutexLock lock(mutex_);
    grammars_.push_front({json_schema, grammar});
    if (grammars_.size() > kMaxGrammars) grammars_.pop_back();
  }
  return std::make_unique<GrammarTokenMask>(std::move(grammar), trie);
}

}  // namespace cascade
