#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/text/special_tokens.h"
#include "engine/text/vocabulary.h"

namespace cascade {

// The ids that end a reply, in their order and each once: EOS, end of turn, the vocabulary's further ones, and control
// tokens by whose name published models end a turn or a text. A chat model's EOS is often one of these while it still
// sometimes writes another (SmolLM2: EOS is <|im_end|>, and <|endoftext|> ends a reply just as well).
std::vector<int32_t> FindEndIds(const Vocabulary& vocabulary, int32_t eos_id, const SpecialTokens& control);

// Which tokens are control tokens whatever their file says. Files call some of them text ("special": false for
// <|im_start|>, user-defined pieces), and what is text is found in the message of a client, who could so write a turn
// of another role, or an end, into it.
class ControlRule {
 public:
  explicit ControlRule(const Vocabulary& vocabulary);
  // `id` begins or ends a text or a turn; or `type` is kUserDefined, and `text` is one of the names that FindEndIds
  // knows or has the form of a marker: <|..|>, or the same with U+FF5C for the bars. Bytes and the unknown token stay
  // what they are.
  bool Applies(int32_t id, std::string_view text, TokenType type) const;

 private:
  std::vector<int32_t> ids_;  // in their order
};

// Puts right by the rule what `types` and `added` say.
void MarkControlTokens(Vocabulary* vocabulary);

}  // namespace cascade
