#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/tokenizer.h"

namespace cascade {

enum class TokenType : uint8_t { kNormal, kUnknown, kControl, kUserDefined, kUnused, kByte };

enum class TokenizerKind : uint8_t {
  kByteBpe,        // byte-level BPE: GGUF "gpt2", tokenizer.json with ByteLevel
  kCharacterBpe,   // BPE over characters with byte fallback: tokenizer.json of the Llama 2 family
  kSentencePiece,  // tokenizer.model, or the pieces and scores of a GGUF "llama" vocabulary
};

// Where a SentencePiece-like tokenizer puts the space that it adds before text.
enum class SpacePrefix : uint8_t {
  kNever,
  kFirst,   // before the text only
  kAlways,  // also after each special token: every part between two of them is a text of its own
};

// A token that is found in text as it is, before anything else looks at the text.
struct AddedToken {
  int32_t id = -1;
  std::string text;
  bool special = false;     // a control token: found only where the caller asks for it, never printed (ControlRule)
  bool strip_left = false;  // takes the white space before it
  bool strip_right = false;
  bool normalized = false;  // looked for after the text is normalized, in the form that its own text then has
};

// A tokenizer's data as model files carry it; not checked yet.
struct Vocabulary {
  TokenizerKind kind = TokenizerKind::kByteBpe;
  // Begins the names of fields in errors ("tokenizer.ggml.tokens"); else the file.
  std::string origin = "tokenizer.ggml";
  // Byte-level BPE: "gpt2", "smollm", "llama-bpe", "qwen2". Character BPE: "", "metaspace" or "metaspace-split"
  // (BpeCharacterTokenizer).
  std::string pre_tokenizer;
  bool nfc = false;  // byte-level BPE: texts are put into Unicode's form NFC first
  // Ids that the model has (rows of its embedding), at least 1. Those without a token are unused, tokens beyond them
  // are left out.
  int32_t size = 0;
  // Id to text as the file spells it, "" for unused ones; empty with sentencepiece_model.
  std::vector<std::string> tokens;
  std::vector<TokenType> types;     // as many as tokens, or none (all normal); ControlRule comes before them
  std::vector<std::string> merges;  // "left right", best first
  std::vector<float> scores;        // SentencePiece: as many as tokens
  std::string sentencepiece_model;  // bytes of tokenizer.model, or empty
  std::vector<AddedToken> added;    // over what tokens and types say of the same id
  SpacePrefix space_prefix = SpacePrefix::kNever;
  bool ignore_merges = false;  // a piece that is a token is that token, whatever the merges say
  int32_t bos_id = -1;         // -1: none
  int32_t eos_id = -1;
  int32_t eot_id = -1;  // end of turn, where it is not EOS
  int32_t unknown_id = -1;
  std::vector<int32_t> end_ids;  // further ids that end a reply (generation_config.json)
  bool add_bos = false;
};

// A field's name in errors: "tokenizer.ggml.tokens", or "tokenizer.json: tokens".
std::string FieldName(const Vocabulary& vocabulary, std::string_view field);

// INVALID_ARGUMENT names what is missing or wrong (`tokenizer.ggml.merges[17]: ..`); UNIMPLEMENTED names a tokenizer or
// pre-tokenizer that is not known.
absl::StatusOr<std::unique_ptr<Tokenizer>> CreateTokenizer(Vocabulary vocabulary);

}  // namespace cascade
