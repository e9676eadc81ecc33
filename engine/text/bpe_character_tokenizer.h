#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/text/bpe_base.h"

namespace cascade {

// Byte-pair encoding of characters, as the tokenizer.json of the Llama 2 family has it: spaces become U+2581 and pairs
// merge across them; a character without a token becomes the tokens of its bytes ("<0xE2>"), where the vocabulary has
// none the unknown token, one for a run of such characters. Vocabulary::pre_tokenizer says how the added space is put:
//   ""                 always, also before text that begins with a space (normalizer Prepend)
//   "metaspace"        not before text that begins with a space (pre-tokenizer Metaspace)
//   "metaspace-split"  the same, and no pair merges across the beginning of a word
class BpeCharacterTokenizer : public BpeBase {
 public:
  // See CreateTokenizer, which has checked the fields that all kinds of tokenizers have.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(const Vocabulary& vocabulary);

 private:
  struct Options {
    bool metaspace;
    bool split;  // every U+2581 begins a piece
    bool ignore_merges;
  };
  explicit BpeCharacterTokenizer(const Options& options);

  absl::Status IndexCharacters(const Vocabulary& vocabulary, const TokenIndex& index);
  absl::StatusOr<std::string_view> Normalize(std::string_view text, bool space, std::string* storage) const override;
  absl::Status EncodePart(std::string_view text, bool space, BpeMerger::Workspace* workspace,
                          std::vector<int32_t>* ids) const override;
  // Appends the ids of text within which pairs merge freely.
  void EncodePiece(std::string_view piece, BpeMerger::Workspace* workspace, std::vector<int32_t>* ids) const;

  const bool metaspace_;
  const bool split_;
  const bool ignore_merges_;
  // No merge joins something with a U+2581 after it, except two of them: pieces may then be cut before each run of
  // them, which changes nothing and keeps them small.
  bool words_apart_ = true;
  BpeMerger merger_;
  absl::flat_hash_map<uint32_t, int32_t> characters_;  // code point to token
  std::array<int32_t, 256> byte_ids_;                  // "<0x41>"; -1: none
  TokenIndex whole_pieces_;                            // with ignore_merges: by text; views of the tokens' texts
};

}  // namespace cascade
