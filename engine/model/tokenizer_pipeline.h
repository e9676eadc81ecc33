// tokenizer.json's normalizer, pre_tokenizer, post_processor and decoder.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "engine/text/vocabulary.h"
#include "nlohmann/json.hpp"

namespace cascade {

// Sets kind, nfc, pre_tokenizer and space_prefix, and add_bos with bos_id where the template of a single text begins
// with a special token. Only what byte-level BPE and the Llama 2 family's character BPE are made of is known; a decoder
// must be of a kind that undoes them. INVALID_ARGUMENT or UNIMPLEMENTED, beginning with `name` and the field.
absl::Status ReadPipeline(const nlohmann::json& root, const std::string& name, Vocabulary* vocabulary);

}  // namespace cascade
