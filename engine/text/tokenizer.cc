#include "engine/text/tokenizer.h"

#include "engine/text/utf8.h"

namespace cascade {

std::string DecodeText(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  std::string bytes;
  for (const int32_t id : ids) bytes += tokenizer.TokenBytes(id);
  std::string_view rest = bytes;
  if (tokenizer.adds_space() && rest.starts_with(' ')) rest.remove_prefix(1);
  std::string text;
  AppendValidUtf8(rest, &text);
  return text;
}

}  // namespace cascade
