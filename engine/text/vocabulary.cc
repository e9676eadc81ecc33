#include "engine/text/vocabulary.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/text/bpe_character_tokenizer.h"
#include "engine/text/bpe_tokenizer.h"
#include "engine/text/end_tokens.h"
#include "engine/text/sentencepiece_tokenizer.h"

namespace cascade {
namespace {

absl::Status CheckId(const Vocabulary& vocabulary, const char* key, int32_t id) {
  if (id >= -1 && id < vocabulary.size) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(FieldName(vocabulary, key), ": ", id,
                                                 " is not the id of a token; expected 0 to ", vocabulary.size - 1));
}

// What every kind of tokenizer needs.
absl::Status Check(const Vocabulary& vocabulary) {
  constexpr size_t kMax = std::numeric_limits<int32_t>::max();
  const auto error = [&](const char* key, auto... what) {
    return absl::InvalidArgumentError(absl::StrCat(FieldName(vocabulary, key), ": ", what...));
  };
  const size_t tokens = vocabulary.tokens.size();
  if (vocabulary.size < 1) return error("size", vocabulary.size, " ids; a model has at least one");
  if (tokens == 0 && vocabulary.sentencepiece_model.empty()) return error("tokens", "missing or empty");
  if (tokens > kMax || vocabulary.merges.size() > kMax || vocabulary.added.size() > kMax) {
    return error("tokens", "more than 2^31 tokens or merges");
  }
  if (!vocabulary.types.empty() && vocabulary.types.size() != tokens) {
    return error("token_type", vocabulary.types.size(), " types for ", tokens, " tokens");
  }
  const std::pair<const char*, int32_t> ids[] = {{"bos_token_id", vocabulary.bos_id},
                                                 {"eos_token_id", vocabulary.eos_id},
                                                 {"eot_token_id", vocabulary.eot_id},
                                                 {"unknown_token_id", vocabulary.unknown_id}};
  for (const auto& [key, id] : ids) {
    if (absl::Status status = CheckId(vocabulary, key, id); !status.ok()) return status;
  }
  for (const int32_t id : vocabulary.end_ids) {
    if (id == -1) return error("eos_token_id", "-1 is not the id of a token");
    if (absl::Status status = CheckId(vocabulary, "eos_token_id", id); !status.ok()) return status;
  }
  const bool has_own_bos = !vocabulary.sentencepiece_model.empty();
  if (vocabulary.add_bos && vocabulary.bos_id < 0 && !has_own_bos) {
    return error("add_bos_token", "true, but ", FieldName(vocabulary, "bos_token_id"), " is missing");
  }
  return absl::OkStatus();
}

}  // namespace

std::string FieldName(const Vocabulary& vocabulary, std::string_view field) {
  const bool is_prefix = vocabulary.origin == "tokenizer.ggml";
  return absl::StrCat(vocabulary.origin, is_prefix ? "." : ": ", absl::string_view(field.data(), field.size()));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> CreateTokenizer(Vocabulary vocabulary) {
  if (absl::Status status = Check(vocabulary); !status.ok()) return status;
  MarkControlTokens(&vocabulary);
  switch (vocabulary.kind) {
    case TokenizerKind::kByteBpe:
      return BpeTokenizer::Create(vocabulary);
    case TokenizerKind::kSentencePiece:
      return SentencePieceTokenizer::Create(std::move(vocabulary));
    case TokenizerKind::kCharacterBpe:
      return BpeCharacterTokenizer::Create(vocabulary);
  }
  return absl::UnimplementedError(absl::StrCat(vocabulary.origin, ": an unknown kind of tokenizer"));
}

}  // namespace cascade
