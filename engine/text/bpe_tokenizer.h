#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/bpe_base.h"
#include "engine/text/pre_tokenizer.h"

namespace cascade {

// Byte-level byte-pair encoding, as GPT-2 has it: every text has ids, and (where the vocabulary has all bytes) the ids
// give back the text, in Unicode's form NFC where the vocabulary wants that.
class BpeTokenizer : public BpeBase {
 public:
  // See CreateTokenizer, which has checked the fields that all kinds of tokenizers have.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(const Vocabulary& vocabulary);

 private:
  BpeTokenizer(const std::array<int32_t, 256>& byte_ids, std::unique_ptr<PreTokenizer> pre_tokenizer, bool nfc)
      : pre_tokenizer_(std::move(pre_tokenizer)), merger_(byte_ids), nfc_(nfc) {}

  void IndexWholePieces(const Vocabulary& vocabulary);
  absl::StatusOr<std::string_view> Normalize(std::string_view text, bool space, std::string* storage) const override;
  absl::Status EncodePart(std::string_view text, bool space, BpeMerger::Workspace* workspace,
                          std::vector<int32_t>* ids) const override;

  std::unique_ptr<PreTokenizer> pre_tokenizer_;
  BpeMerger merger_;
  const bool nfc_;
  TokenIndex whole_pieces_;  // by bytes: tokens that a piece is at once, whatever the merges say; views of the bytes
};

}  // namespace cascade
