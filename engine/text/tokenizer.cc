#include "engine/text/tokenizer.h"

#include "engine/text/utf8.h"

namespace cascade {

std::string DecodeText(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  std::string bytes;
  for (const int32_t id : ids) bytes += tokenizer.TokenBytes(id);
  std::string text;
  AppendValidUtf8(bytes, &text);
  return text;
}

}  // namespace cascade
