#include "engine/text/vocabulary.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/text/bpe_tokenizer.h"
#include "engine/text/utf8.h"

namespace cascade {
namespace {

absl::Status CheckId(const char* key, int32_t id, size_t size) {
  if (id >= -1 && id < static_cast<int64_t>(size)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(key, ": ", id, " is not the id of a token; expected 0 to ", static_cast<int64_t>(size) - 1));
}

// What every kind of tokenizer needs.
absl::Status Check(const Vocabulary& vocabulary) {
  const size_t size = vocabulary.tokens.size();
  if (size == 0) return absl::InvalidArgumentError("tokenizer.ggml.tokens: missing or empty");
  if (size > std::numeric_limits<int32_t>::max() || vocabulary.merges.size() > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError("tokenizer.ggml.tokens: more than 2^31 tokens or merges");
  }
  if (!vocabulary.types.empty() && vocabulary.types.size() != size) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer.ggml.token_type: ", vocabulary.types.size(), " types for ", size, " tokens"));
  }
  const std::pair<const char*, int32_t> ids[] = {{"tokenizer.ggml.bos_token_id", vocabulary.bos_id},
                                                 {"tokenizer.ggml.eos_token_id", vocabulary.eos_id},
                                                 {"tokenizer.ggml.eot_token_id", vocabulary.eot_id}};
  for (const auto& [key, id] : ids) {
    if (absl::Status status = CheckId(key, id, size); !status.ok()) return status;
  }
  if (vocabulary.add_bos && vocabulary.bos_id < 0) {
    return absl::InvalidArgumentError("tokenizer.ggml.add_bos_token: true, but tokenizer.ggml.bos_token_id is missing");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> CreateTokenizer(Vocabulary vocabulary) {
  // First the kind: the tokens of an unknown one may well look wrong.
  if (vocabulary.model.empty()) return absl::InvalidArgumentError("tokenizer.ggml.model: missing");
  if (vocabulary.model != "gpt2") {
    return absl::UnimplementedError(
        absl::StrCat("tokenizer.ggml.model: ", QuoteForError(vocabulary.model), " is not supported; supported: gpt2"));
  }
  if (vocabulary.pre_tokenizer.empty()) return absl::InvalidArgumentError("tokenizer.ggml.pre: missing");
  if (absl::Status status = Check(vocabulary); !status.ok()) return status;
  return BpeTokenizer::Create(vocabulary);
}

}  // namespace cascade
