#include "engine/grammar/grammar.h"

#include <utility>
#include <vector>

#include "engine/grammar/schema_compiler.h"

namespace cascade {

absl::StatusOr<std::shared_ptr<const Grammar>> Grammar::Compile(const std::string& json_schema,
                                                                const GrammarLimits& limits) {
  absl::StatusOr<grammar::CompiledSchema> compiled = grammar::SchemaCompiler(limits).Compile(json_schema);
  if (!compiled.ok()) return compiled.status();
  return std::shared_ptr<const Grammar>(
      new Grammar(limits, std::move(compiled->automaton), compiled->has_open_objects));
}

Grammar::Grammar(const GrammarLimits& limits, grammar::Automaton automaton, bool has_open_objects)
    : limits_(limits),
      automaton_(std::make_shared<const grammar::Automaton>(std::move(automaton))),
      depth_to_end_(std::make_shared<const std::vector<uint8_t>>(
          automaton_->DepthToEnd(~grammar::ByteSet(), limits.max_reply_depth - 1))),
      has_open_objects_(has_open_objects) {}

Grammar::Findings::Findings(const Grammar& grammar, grammar::Configurations::Depths usable_depths, uint64_t trie)
    : usable(std::move(usable_depths)),
      configurations(grammar.automaton_, grammar.limits_.max_reply_depth - 1, grammar.depth_to_end_, usable),
      masks(grammar.limits_.max_mask_bytes),
      trie_number(trie) {}

absl::Status Grammar::CheckVocabulary(const TokenTrie& trie) const {
  MutexLock lock(mutex_);
  const std::shared_ptr<Findings> findings = Current(&trie);
  if (findings->configurations.IsLive(findings->configurations.start())) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "response_format.json_schema: the model's vocabulary lacks tokens of single bytes that such a reply needs");
}

std::shared_ptr<Grammar::Findings> Grammar::Current(const TokenTrie* trie) const {
  if (findings_ == nullptr) findings_ = std::make_shared<Findings>(*this, depth_to_end_, 0);
  if (trie != nullptr && findings_->trie_number != trie->number()) {
    grammar::Configurations::Depths usable = std::make_shared<const std::vector<uint8_t>>(
        automaton_->DepthToEnd(trie->single_bytes(), limits_.max_reply_depth - 1));
    findings_ = std::make_shared<Findings>(*this, std::move(usable), trie->number());
  } else if (findings_->configurations.bytes() > limits_.max_cache_bytes) {
    findings_ = std::make_shared<Findings>(*this, findings_->usable, findings_->trie_number);
  }
  return findings_;
}

GrammarState::GrammarState(std::shared_ptr<const Grammar> grammar) : grammar_(std::move(grammar)) {
  MutexLock lock(grammar_->mutex_);
  findings_ = grammar_->Current(nullptr);
  configuration_ = findings_->configurations.start();
  may_end_ = findings_->configurations.MayEnd(configuration_);
}

void GrammarState::MoveTo(std::shared_ptr<Grammar::Findings> findings) {
  if (findings == findings_) return;
  configuration_ = findings->configurations.Import(findings_->configurations, configuration_);
  findings_ = std::move(findings);
}

void GrammarState::Allowed(const TokenTrie& trie, std::span<uint64_t> bits) {
  {
    MutexLock lock(grammar_->mutex_);
    MoveTo(grammar_->Current(&trie));
    findings_->masks.Read(trie, &findings_->configurations, configuration_, bits);
  }
  if (!grammar_->has_open_objects_) return;
  for (const int32_t id : trie.quoting()) {
    uint64_t& word = bits[static_cast<size_t>(id) / 64];
    const uint64_t bit = uint64_t{1} << (id % 64);
    if ((word & bit) != 0 && !keys_.Allows(trie.bytes(id))) word &= ~bit;
  }
}

bool GrammarState::Accept(std::string_view bytes) {
  if (grammar_->has_open_objects_ && !keys_.Allows(bytes)) return false;
  MutexLock lock(grammar_->mutex_);
  MoveTo(grammar_->Current(nullptr));
  grammar::Configurations& configurations = findings_->configurations;
  uint32_t next = configuration_;
  for (const char byte : bytes) {
    next = configurations.Step(next, static_cast<uint8_t>(byte));
    if (next == grammar::Configurations::kDead) return false;
  }
  configuration_ = next;
  may_end_ = configurations.MayEnd(next);
  if (grammar_->has_open_objects_) {
    for (const char byte : bytes) keys_.Add(static_cast<uint8_t>(byte));
  }
  return true;
}

}  // namespace cascade
