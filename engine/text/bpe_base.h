#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/text/added_tokens.h"
#include "engine/text/bpe_merger.h"
#include "engine/text/special_tokens.h"
#include "engine/text/tokenizer.h"
#include "engine/text/vocabulary.h"

namespace cascade {

// A vocabulary's tokens by their texts; views into it.
using TokenIndex = absl::flat_hash_map<absl::string_view, int32_t>;

// Tokens without a text and unused ones are left out. INVALID_ARGUMENT: a text that is not UTF-8 or there twice.
absl::StatusOr<TokenIndex> IndexTokens(const Vocabulary& vocabulary);
// -1: none.
int32_t FindToken(const TokenIndex& index, std::string_view text);
// The vocabulary's merges. Those that need a token which the model has no row for are left out.
absl::Status AddMerges(const Vocabulary& vocabulary, const TokenIndex& index, BpeMerger* merger);

// What byte-level and character BPE have in common: the table of tokens, and added tokens found in the text. Those that
// are found in the text as it is come first, control tokens among them only if asked for; what is between them is
// normalized, then cut at the added tokens that are looked for in normalized text; the rest is the derived class's.
class BpeBase : public Tokenizer {
 public:
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool parse_special) const override {
    return EncodeAt(TextStart::kText, text, parse_special);
  }
  absl::StatusOr<std::vector<int32_t>> EncodeAt(TextStart start, std::string_view text,
                                                bool parse_special) const override;
  std::string_view TokenBytes(int32_t id) const override;
  std::string_view TokenText(int32_t id) const override;
  int32_t vocabulary_size() const override { return static_cast<int32_t>(is_control_.size()); }
  bool IsControl(int32_t id) const override;
  int32_t bos_id() const override { return bos_id_; }
  int32_t eos_id() const override { return eos_id_; }
  int32_t unknown_id() const override { return unknown_id_; }
  const std::vector<int32_t>& end_ids() const override { return end_ids_; }
  const std::vector<int32_t>& start_ids() const override { return start_ids_; }
  bool adds_space() const override { return space_prefix_ != SpacePrefix::kNever; }
  int32_t FindControl(std::string_view text) const override { return control_.Find(text); }

 protected:
  // Appends the bytes that a token stands for; of an added token (kUserDefined), the text that it is found by.
  using AppendBytes = std::function<void(std::string_view text, TokenType type, std::string* bytes)>;
  absl::Status AddTokens(const Vocabulary& vocabulary, const AppendBytes& append_bytes);

  // What the tokenizer sees of `text` (not empty): `text` itself, or something put into `*storage`. `space`: this is a
  // place for the space that Vocabulary::space_prefix asks for.
  virtual absl::StatusOr<std::string_view> Normalize(std::string_view text, bool space, std::string* storage) const = 0;
  // Appends the ids of normalized text without added tokens (not empty).
  virtual absl::Status EncodePart(std::string_view text, bool space, BpeMerger::Workspace* workspace,
                                  std::vector<int32_t>* ids) const = 0;

 private:
  struct Entry {
    std::string_view text;
    TokenType type = TokenType::kUnused;
    const AddedToken* added = nullptr;
  };
  absl::Status AddEntry(const Vocabulary& vocabulary, int32_t id, const Entry& entry, const AppendBytes& append_bytes);
  // `text`: what is looked for.
  absl::Status AddAdded(const Vocabulary& vocabulary, std::string_view text, const AddedToken& token, bool is_control);

  SpacePrefix space_prefix_ = SpacePrefix::kNever;
  SpecialTokens control_;            // control tokens
  AddedTokens plain_;                // found in any text as it is
  AddedTokens all_special_;          // these and control tokens: the longest wins across them
  AddedTokens normalized_;           // found in normalized text
  std::string bytes_;                // of all tokens, one after another
  std::string texts_;                // the same
  std::vector<uint32_t> byte_ends_;  // [vocabulary_size() + 1]
  std::vector<uint32_t> text_ends_;  // [vocabulary_size() + 1]
  std::vector<bool> is_control_;
  int32_t bos_id_ = -1;
  int32_t eos_id_ = -1;
  int32_t unknown_id_ = -1;
  std::vector<int32_t> end_ids_;
  std::vector<int32_t> start_ids_;
};

}  // namespace cascade
