// What the files of a tokenizer have in common: added tokens, and values that may be null.
#pragma once

#include <string>
#include <string_view>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "engine/model/json_fields.h"
#include "engine/text/vocabulary.h"
#include "nlohmann/json.hpp"

namespace cascade {

// As JsonFields, but null is as good as no such key.
bool OptionalBool(JsonFields* fields, std::string_view key, bool fallback);
std::string OptionalString(JsonFields* fields, std::string_view key, std::string fallback);

// The id of a token by its text, added ones first; -1: none that the model has a row for.
int32_t FindTokenId(const Vocabulary& vocabulary, std::string_view text);

// tokenizer.json's list "added_tokens". INVALID_ARGUMENT names the entry; UNIMPLEMENTED: single_word.
absl::Status ReadAddedTokens(const nlohmann::json& root, const std::string& name, Vocabulary* vocabulary);
// tokenizer_config.json's map "added_tokens_decoder": the same by id, over what is there.
absl::Status ReadAddedTokensDecoder(const nlohmann::json& root, const std::string& name, Vocabulary* vocabulary);

// added_tokens.json, a map from texts to ids: those that have neither a text nor an id already. It does not say which
// are control tokens; `special` does, and the names that Llama's tokenizers always have.
absl::Status ReadAddedTokensMap(const nlohmann::json& root, const std::string& name,
                                const absl::flat_hash_set<std::string>& special, Vocabulary* vocabulary);

}  // namespace cascade
