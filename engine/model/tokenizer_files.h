// The tokenizer of a Hugging Face folder: tokenizer.json or tokenizer.model, tokenizer_config.json,
// special_tokens_map.json, added_tokens.json, generation_config.json, chat_template.jinja.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/text/vocabulary.h"

namespace cascade {

// The contents of the files, "" where the folder does not have one.
struct TokenizerFiles {
  std::string_view tokenizer_json;
  std::string_view tokenizer_model;
  std::string_view tokenizer_config;
  std::string_view special_tokens_map;  // where tokenizer_config.json does not name a token
  std::string_view added_tokens;        // added_tokens.json
  std::string_view generation_config;
  std::string_view model_config;   // config.json; only eos_token_id, where generation_config.json has none
  std::string_view chat_template;  // chat_template.jinja
};

struct FolderTokenizer {
  Vocabulary vocabulary;
  std::string chat_template;  // Jinja text; "" if there is none
};

// `size`: rows of the embedding. Prefers tokenizer.model over tokenizer.json, as the exact form of the same tokenizer.
// `name` (the folder) begins every error, then the file and the field. Work and memory are bounded by the files' sizes.
// INVALID_ARGUMENT: no tokenizer, or a field that does not fit; UNIMPLEMENTED: a kind of tokenizer, normalizer or
// pre-tokenizer that is not known, by name.
absl::StatusOr<FolderTokenizer> ReadTokenizerFiles(const TokenizerFiles& files, int32_t size, const std::string& name);

}  // namespace cascade
