#pragma once

#include <cstddef>
#include <vector>

#include "engine/text/chat_template.h"
#include "engine/text/jinja/text.h"
#include "engine/text/special_tokens.h"
#include "engine/text/tokenizer.h"

namespace cascade {

// Cuts rendered text at a tokenizer's control tokens. Immutable; any thread may call.
class PieceCutter {
 public:
  // Keeps what it needs of `tokenizer`.
  explicit PieceCutter(const Tokenizer& tokenizer);

  // `text` from `begin` on. A control token is one that the template wrote, all of it: no byte of it is a client's.
  std::vector<TemplatePiece> Cut(const jinja::Text& text, size_t begin) const;

 private:
  SpecialTokens controls_;
};

}  // namespace cascade
