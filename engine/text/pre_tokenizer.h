// Cuts text into the pieces within which byte pairs are merged.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cascade {

// Immutable; any thread may call. Time is linear in the text: no pattern looks back, and a look ahead sees one
// character.
class PreTokenizer {
 public:
  // "gpt2" (or "gpt-2"): GPT-2's pattern. "smollm": every number character (\p{N}) alone, then GPT-2's pattern between
  // them. "llama-bpe" ("llama3", "llama-v3"): Llama 3's. "qwen2" ("deepseek-r1-qwen"): the same with every number
  // character alone. INVALID_ARGUMENT for no name; UNIMPLEMENTED names any other.
  static absl::StatusOr<std::unique_ptr<PreTokenizer>> Create(std::string_view name);

  virtual ~PreTokenizer() = default;
  // Calls `piece` with the pieces of `text` (valid UTF-8) in order; together they are `text`.
  virtual absl::Status Split(std::string_view text, const std::function<void(std::string_view)>& piece) const = 0;
};

}  // namespace cascade
