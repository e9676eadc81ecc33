#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/vocabulary.h"

namespace cascade {

// A SentencePiece model made from a Vocabulary: the file's own (tokenizer.model), or one built from the pieces, scores
// and types of a GGUF "llama" vocabulary, which has no normalizer. Plain values.
//
// Nothing in the file is trusted, because the library believes what it reads: texts are UTF-8, unique and of bounded
// length, scores finite, one piece is the unknown one, byte fallback has all 256 bytes, the map of characters stays
// inside itself. Work and memory are linear in the vocabulary's size.
struct SentencePieceModel {
  struct Piece {
    std::string text;  // as the file spells it; "" for an id without a piece
    TokenType type = TokenType::kUnused;
  };

  // INVALID_ARGUMENT names the field; UNIMPLEMENTED names what no published Llama needs: other segmentations than
  // unigram and BPE, a denormalizer, spaces as suffixes, spaces that are not escaped.
  static absl::StatusOr<SentencePieceModel> Create(const Vocabulary& vocabulary);

  std::string serialized;     // a ModelProto of the library
  std::vector<Piece> pieces;  // [vocabulary.size]
  int32_t unknown_id = -1;
  int32_t bos_id = -1;  // the vocabulary's, or else the model's where they are control pieces
  int32_t eos_id = -1;
  std::string unknown_surface;    // what the library prints for an unknown piece
  bool adds_dummy_prefix = true;  // the model was trained with a space before every text
};

// The byte that a piece "<0x0A>" stands for, or -1.
int SentencePieceByte(std::string_view text);

}  // namespace cascade
