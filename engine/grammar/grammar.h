// Replies that are JSON documents which a schema accepts: which tokens may come next.
//
// A schema is compiled to an automaton over bytes with a stack (schema_compiler.h). The automaton is made deterministic
// while replies go through it (configurations.h), and what may come next is found by walking the tree of all tokens
// with it (mask_cache.h); both are remembered for all replies of the grammar. docs/clients.md says which schemas there
// are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/grammar/automaton.h"
#include "engine/grammar/configurations.h"
#include "engine/grammar/grammar_limits.h"
#include "engine/grammar/key_tracker.h"
#include "engine/grammar/mask_cache.h"
#include "engine/grammar/token_trie.h"
#include "kernels/base/mutex.h"

namespace cascade {

// A compiled schema, shared by all replies that ask for it. Any thread; what replies find out about it is behind a
// mutex that is held for one step of one reply.
class Grammar {
 public:
  // Bounded in time and memory by `limits`, whatever the text. INVALID_ARGUMENT begins with the request's field and the
  // JSON pointer of the place: not JSON, not supported, nothing satisfies it, too large.
  static absl::StatusOr<std::shared_ptr<const Grammar>> Compile(const std::string& json_schema,
                                                                const GrammarLimits& limits = {});

  // Whether every reply can be finished with these tokens. If not, the vocabulary lacks bytes as tokens of their own:
  // INVALID_ARGUMENT. With a grammar and tokens that fit, a GrammarState never comes to a point where it may neither go
  // on nor end.
  absl::Status CheckVocabulary(const TokenTrie& trie) const;

 private:
  friend class GrammarState;

  // What was found out, for one trie. States that were made before a new one move to it with their next step.
  struct Findings {
    Findings(const Grammar& grammar, grammar::Configurations::Depths usable, uint64_t trie_number);

    grammar::Configurations::Depths usable;
    grammar::Configurations configurations;
    grammar::MaskCache masks;
    uint64_t trie_number;  // 0: of none yet
  };

  Grammar(const GrammarLimits& limits, grammar::Automaton automaton, bool has_open_objects);

  // The findings to go on with; new ones where the trie is another, or the old ones became too large.
  std::shared_ptr<Findings> Current(const TokenTrie* trie) const CASCADE_REQUIRES(mutex_);

  GrammarLimits limits_;
  std::shared_ptr<const grammar::Automaton> automaton_;
  grammar::Configurations::Depths depth_to_end_;
  bool has_open_objects_;
  mutable Mutex mutex_;
  mutable std::shared_ptr<Findings> findings_ CASCADE_GUARDED_BY(mutex_);
};

// Where one reply is. A copy costs its open objects' keys and is a reply of its own. One thread at a time.
class GrammarState {
 public:
  explicit GrammarState(std::shared_ptr<const Grammar> grammar);

  // Sets the bits of the tokens that may come next (bit i of bits[i / 64]) and clears all others. `bits`: at least
  // trie.mask_words(). Control tokens, those that end a reply among them, are never set.
  void Allowed(const TokenTrie& trie, std::span<uint64_t> bits);

  // Goes on by bytes. False, and nothing is changed, where they do not fit.
  bool Accept(std::string_view bytes);
  bool Accept(std::span<const uint8_t> bytes) {
    return Accept(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  }

  // The document is whole; it may be able to go on still, as the number 1 is.
  bool MayEnd() const { return may_end_; }

 private:
  void MoveTo(std::shared_ptr<Grammar::Findings> findings);

  std::shared_ptr<const Grammar> grammar_;
  std::shared_ptr<Grammar::Findings> findings_;  // guarded by the grammar's mutex
  uint32_t configuration_ = 0;
  bool may_end_ = false;
  grammar::KeyTracker keys_;  // with open objects only
};

}  // namespace cascade
