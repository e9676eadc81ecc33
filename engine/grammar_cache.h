#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/grammar/grammar.h"
#include "engine/grammar/token_trie.h"
#include "engine/sampling/token_mask.h"
#include "engine/text/tokenizer.h"
#include "kernels/base/mutex.h"

namespace cascade {

// The schemas that were asked for last, compiled, with what replies have found out about them; and the tree of all
// tokens, made when the first one is asked for. Any thread; whoever asks does the work.
class GrammarCache {
 public:
  // `tokenizer` outlives it.
  explicit GrammarCache(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  // The state of a new reply. INVALID_ARGUMENT names the field and the place in the schema, or the model's tokens
  // cannot spell such a document; FAILED_PRECONDITION: none of them ends a reply.
  absl::StatusOr<std::unique_ptr<TokenMask>> NewMask(const std::string& json_schema);

 private:
  static constexpr size_t kMaxGrammars = 8;
  struct Entry {
    std::string schema;
    std::shared_ptr<const Grammar> grammar;
  };

  std::shared_ptr<const TokenTrie> Trie();
  std::shared_ptr<const Grammar> Find(const std::string& json_schema);

  const Tokenizer& tokenizer_;
  Mutex mutex_;
  std::list<Entry> grammars_ CASCADE_GUARDED_BY(mutex_);  // used last first
  Mutex trie_mutex_;                                      // while it is made
  std::shared_ptr<const TokenTrie> trie_ CASCADE_GUARDED_BY(trie_mutex_);
};

}  // namespace cascade
