#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "engine/model/gguf.h"
#include "engine/text/vocabulary.h"

namespace cascade {

// The tokenizer's data (keys `tokenizer.ggml.*`): types, sizes and the range of special ids checked, the rest is
// CreateTokenizer's business. Where a file says nothing, what llama.cpp assumes holds. `rows` of the embedding table
// must equal the tokens. `name` begins every error. UNIMPLEMENTED: a kind of tokenizer other than "gpt2" and "llama".
absl::StatusOr<Vocabulary> ReadVocabulary(const GgufFile& file, int rows, const std::string& name);

}  // namespace cascade
