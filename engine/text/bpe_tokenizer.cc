#include "engine/text/bpe_tokenizer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/text/byte_alphabet.h"
#include "engine/text/nfc.h"
#include "engine/text/utf8.h"

namespace cascade {
namespace {

// -1 for a byte that has no token. Published vocabularies lack some control characters and bytes of rare scripts; one
// without printable ASCII is not of this kind.
absl::StatusOr<std::array<int32_t, 256>> FindByteIds(const Vocabulary& vocabulary, const TokenIndex& index) {
  std::array<int32_t, 256> ids;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string character = ByteCharacter(static_cast<uint8_t>(byte));
    const int32_t id = FindToken(index, character);
    ids[byte] = id < vocabulary.size ? id : -1;
    if (ids[byte] < 0 && ((byte >= 0x20 && byte < 0x7F) || byte == '\n')) {
      return absl::InvalidArgumentError(absl::StrCat(FieldName(vocabulary, "tokens"), ": no token for byte ", byte,
                                                     " (", QuoteForError(character), ")"));
    }
  }
  return ids;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> BpeTokenizer::Create(const Vocabulary& vocabulary) {
  absl::StatusOr<std::unique_ptr<PreTokenizer>> pre_tokenizer = PreTokenizer::Create(vocabulary.pre_tokenizer);
  if (!pre_tokenizer.ok()) {
    const std::string field = FieldName(vocabulary, "pre");
    return absl::Status(pre_tokenizer.status().code(), absl::StrCat(field, ": ", pre_tokenizer.status().message()));
  }
  const absl::StatusOr<TokenIndex> index = IndexTokens(vocabulary);
  if (!index.ok()) return index.status();
  const absl::StatusOr<std::array<int32_t, 256>> byte_ids = FindByteIds(vocabulary, *index);
  if (!byte_ids.ok()) return byte_ids.status();
  std::unique_ptr<BpeTokenizer> tokenizer(new BpeTokenizer(*byte_ids, *std::move(pre_tokenizer), vocabulary.nfc));
  if (absl::Status status = AddMerges(vocabulary, *index, &tokenizer->merger_); !status.ok()) return status;
  const auto append_bytes = [](std::string_view text, TokenType type, std::string* bytes) {
    // Added tokens that no file marks as such may hold other characters: these stand for themselves.
    std::string decoded;
    const bool is_piece = type != TokenType::kUserDefined && DecodeBytePiece(text, &decoded);
    bytes->append(is_piece ? std::string_view(decoded) : text);
  };
  if (absl::Status status = tokenizer->AddTokens(vocabulary, append_bytes); !status.ok()) return status;
  if (vocabulary.ignore_merges) tokenizer->IndexWholePieces(vocabulary);
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

void BpeTokenizer::IndexWholePieces(const Vocabulary& vocabulary) {
  const int32_t count = static_cast<int32_t>(std::min<size_t>(vocabulary.tokens.size(), vocabulary_size()));
  whole_pieces_.reserve(static_cast<size_t>(count));
  for (int32_t id = 0; id < count; ++id) {
    const std::string_view bytes = TokenBytes(id);
    if (bytes.size() > 1) whole_pieces_.try_emplace(absl::string_view(bytes.data(), bytes.size()), id);
  }
}

absl::StatusOr<std::string_view> BpeTokenizer::Normalize(std::string_view text, bool, std::string* storage) const {
  if (!nfc_) return text;
  bool changed = false;
  absl::StatusOr<std::string> normal = ToNfc(text, &changed);
  if (!normal.ok()) return normal.status();
  if (!changed) return text;
  *storage = *std::move(normal);
  return std::string_view(*storage);
}

absl::Status BpeTokenizer::EncodePart(std::string_view text, bool, BpeMerger::Workspace* workspace,
                                      std::vector<int32_t>* ids) const {
  return pre_tokenizer_->Split(text, [&](std::string_view piece) {
    if (!whole_pieces_.empty()) {
      if (const int32_t id = FindToken(whole_pieces_, piece); id >= 0) {
        ids->push_back(id);
        return;
      }
    }
    merger_.Merge(piece, workspace, ids);
  });
}

}  // namespace cascade
