// The file tokenizer.json, as the `tokenizers` library writes it.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/vocabulary.h"
#include "nlohmann/json.hpp"

namespace cascade {

// Read as a stream: the vocabulary and the merges, nearly all of the file, go straight to where they are used (as JSON
// values they would take four times the memory, and most of a second for Llama 3's).
struct TokenizerJson {
  nlohmann::json rest;                                  // an object: everything but model.vocab and model.merges
  std::vector<std::pair<std::string, int32_t>> tokens;  // model.vocab, if that is an object
  std::vector<std::string> merges;                      // model.merges: "left right"
  bool has_merges = false;
};

// INVALID_ARGUMENT, beginning with `name`: not JSON, deeper than kMaxJsonDepth, a key twice in one object, a token
// without an id, a merge that is no pair.
absl::StatusOr<TokenizerJson> ParseTokenizerJson(std::string_view text, const std::string& name);

// Fills what tokenizer.json says: kind, pre_tokenizer, nfc, tokens, types, merges, added, space_prefix, ignore_merges,
// unknown_id, and bos_id with add_bos where its template begins with a token. `vocabulary->size` is set already.
// INVALID_ARGUMENT names the field; UNIMPLEMENTED the kind of model, normalizer, pre-tokenizer, post-processor or
// decoder that is not known.
absl::Status ReadTokenizerJson(TokenizerJson json, const std::string& name, Vocabulary* vocabulary);

}  // namespace cascade
