#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/added_tokens.h"
#include "engine/text/sentencepiece_library.h"
#include "engine/text/sentencepiece_model.h"
#include "engine/text/special_tokens.h"
#include "engine/text/tokenizer.h"
#include "engine/text/vocabulary.h"

namespace cascade {

// SentencePiece through its library: unigram and BPE models, from a tokenizer.model or from a GGUF vocabulary.
//
// Control tokens (and the unknown one) are found only where the caller asks for it, by their text as it is; what is
// between them, the library encodes. A control token's text in other text is text. User-defined pieces are the
// library's business, so that they are found always, but for those that ControlRule makes control tokens; added tokens
// that no piece stands for are found here, before anything else.
class SentencePieceTokenizer : public Tokenizer {
 public:
  // See CreateTokenizer, which has checked the fields that all kinds of tokenizers have, and SentencePieceModel.
  // A model file that was trained without a space before text gets none, whatever space_prefix says.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(Vocabulary vocabulary);

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool parse_special) const override {
    return EncodeAt(TextStart::kText, text, parse_special);
  }
  absl::StatusOr<std::vector<int32_t>> EncodeAt(TextStart start, std::string_view text,
                                                bool parse_special) const override;
  // Spaces for U+2581, a byte piece's byte. The unknown piece: " \u2047 " (or what the model names), which is what the
  // library decodes it to; it stands for text, so that a reply does not lose it silently.
  std::string_view TokenBytes(int32_t id) const override;
  int32_t vocabulary_size() const override { return static_cast<int32_t>(tokens_.size()); }
  bool IsControl(int32_t id) const override;
  std::string_view TokenText(int32_t id) const override;
  int32_t bos_id() const override { return bos_id_; }
  int32_t eos_id() const override { return eos_id_; }
  int32_t unknown_id() const override { return unknown_id_; }
  bool adds_space() const override { return space_prefix_ != SpacePrefix::kNever; }
  const std::vector<int32_t>& end_ids() const override { return end_ids_; }
  const std::vector<int32_t>& start_ids() const override { return start_ids_; }
  int32_t FindControl(std::string_view text) const override { return control_.Find(text); }

 private:
  struct Token {
    std::string text;
    std::string bytes;
    bool is_control = false;
  };

  SentencePieceTokenizer() = default;

  absl::Status AddTokens(const Vocabulary& vocabulary, const SentencePieceModel& model);
  // Appends the ids of a part between two special tokens. `space`: puts one before it.
  absl::Status EncodePart(std::string_view text, bool space, std::vector<int32_t>* ids) const;

  std::unique_ptr<SentencePieceLibrary> library_;
  std::vector<Token> tokens_;  // [vocabulary.size]
  SpecialTokens control_;      // by name
  AddedTokens special_;        // all that is found with parse_special
  AddedTokens always_;         // added tokens that are text
  SpacePrefix space_prefix_ = SpacePrefix::kNever;
  int32_t bos_id_ = -1;
  int32_t eos_id_ = -1;
  int32_t unknown_id_ = -1;
  std::vector<int32_t> end_ids_;
  std::vector<int32_t> start_ids_;
};

}  // namespace cascade
