#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/bpe_merger.h"
#include "engine/text/pre_tokenizer.h"
#include "engine/text/special_tokens.h"
#include "engine/text/tokenizer.h"
#include "engine/text/vocabulary.h"

namespace cascade {

// Byte-level byte-pair encoding, as GPT-2 has it: every text has ids, and (where the vocabulary has all bytes) the ids
// give back the text. Tokens that are user-defined are found in any text as they are, control tokens only if asked for;
// at one place the longest wins.
class BpeTokenizer : public Tokenizer {
 public:
  // See CreateTokenizer, which has checked the fields that all kinds of tokenizers have.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(const Vocabulary& vocabulary);

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool parse_special) const override;
  std::string_view TokenBytes(int32_t id) const override;
  int32_t vocabulary_size() const override { return static_cast<int32_t>(is_control_.size()); }
  bool IsControl(int32_t id) const override;
  const std::vector<int32_t>& end_ids() const override { return end_ids_; }
  const std::vector<int32_t>& start_ids() const override { return start_ids_; }
  int32_t FindControl(std::string_view text) const override { return control_.Find(text); }

 private:
  BpeTokenizer(const std::array<int32_t, 256>& byte_ids, std::unique_ptr<PreTokenizer> pre_tokenizer)
      : pre_tokenizer_(std::move(pre_tokenizer)), merger_(byte_ids) {}

  absl::Status AddTokens(const Vocabulary& vocabulary);

  std::unique_ptr<PreTokenizer> pre_tokenizer_;
  BpeMerger merger_;
  SpecialTokens control_;               // control tokens
  SpecialTokens user_defined_;          // found in any text
  SpecialTokens all_special_;           // both: the longest wins across them
  std::string bytes_;                   // of all tokens, one after another
  std::vector<uint32_t> byte_offsets_;  // [vocabulary_size() + 1]
  std::vector<bool> is_control_;
  std::vector<int32_t> end_ids_;
  std::vector<int32_t> start_ids_;
};

}  // namespace cascade
