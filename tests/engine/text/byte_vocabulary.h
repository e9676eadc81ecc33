// A small vocabulary for tests: all bytes, a few merges, ChatML's control tokens.
#pragma once

#include <string>
#include <vector>

#include "engine/text/byte_alphabet.h"
#include "engine/text/vocabulary.h"

namespace cascade {

// Ids: 0 <|endoftext|>, 1 <|im_start|>, 2 <|im_end|>, 3 + b for byte b, 259.. the merged pieces in order.
inline Vocabulary ByteVocabulary(const std::vector<std::string>& merges = {}) {
  Vocabulary vocabulary;
  vocabulary.pre_tokenizer = "smollm";
  vocabulary.tokens = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  vocabulary.types.assign(3, TokenType::kControl);
  for (int byte = 0; byte < 256; ++byte) vocabulary.tokens.push_back(ByteCharacter(static_cast<uint8_t>(byte)));
  for (const std::string& merge : merges) {
    vocabulary.merges.push_back(merge);
    const size_t space = merge.find(' ');
    vocabulary.tokens.push_back(merge.substr(0, space) + merge.substr(space + 1));
  }
  vocabulary.types.resize(vocabulary.tokens.size(), TokenType::kNormal);
  vocabulary.size = static_cast<int32_t>(vocabulary.tokens.size());
  vocabulary.bos_id = 1;
  vocabulary.eos_id = 2;
  return vocabulary;
}

// Merges that make newlines, spaces, letters and marks of ChatML meet each other.
inline std::vector<std::string> LivelyMerges() {
  const std::string space = ByteCharacter(' ');
  const std::string line = ByteCharacter('\n');
  return {"a a",
          line + " " + line,
          space + " " + space,
          space + " a",
          "e r",
          "aa aa",
          "u s",
          "us er",
          "< |",
          "| >",
          "i m",
          "<| im",
          "s t",
          line + line + " " + line,
          space + "a b",
          "a s",
          "as s",
          ". " + line,
          "aaaa a",
          "b b",
          "bb b"};
}

}  // namespace cascade
