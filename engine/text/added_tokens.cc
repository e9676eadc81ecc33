#include "engine/text/added_tokens.h"

#include <algorithm>

#include "engine/text/utf8.h"

namespace cascade {
namespace {

size_t BeginOfSpaces(std::string_view text, size_t floor, size_t end) {
  while (end > floor) {
    size_t begin = end - 1;
    while (begin > floor && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
    size_t pos = begin;
    if (!IsWhiteSpace(NextCodePoint(text, &pos))) break;
    end = begin;
  }
  return end;
}

size_t EndOfSpaces(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    size_t pos = begin;
    if (!IsWhiteSpace(NextCodePoint(text, &pos))) break;
    begin = pos;
  }
  return begin;
}

}  // namespace

bool IsWhiteSpace(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0D);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

void AddedTokens::Add(std::string_view text, const AddedToken& token) {
  tokens_.Add(text, token.id);
  if (token.strip_left || token.strip_right) strip_[token.id] = {token.strip_left, token.strip_right};
}

absl::Status AddedTokens::Split(std::string_view text,
                                const std::function<absl::Status(std::string_view, size_t)>& part,
                                const std::function<void(int32_t)>& token) const {
  size_t plain = 0;         // begin of the text not handed out yet
  size_t spaces_begin = 0;  // a run of white space looked at before: tokens that are spaces themselves may lie in it,
  size_t spaces_end = 0;    // and each of them would run through it again
  for (size_t pos = 0; !tokens_.empty() && pos < text.size();) {
    const auto [id, length] = tokens_.Match(text, pos);
    if (id < 0) {
      ++pos;
      continue;
    }
    size_t begin = pos;
    size_t end = pos + length;
    // The search goes on behind the token itself: one that lies in the white space of another is found as well, as in
    // the `tokenizers` library.
    pos = end;
    if (const auto it = strip_.find(id); it != strip_.end()) {
      if (it->second.left && begin > plain) begin = BeginOfSpaces(text, plain, begin);
      if (it->second.right) {
        if (end < spaces_begin || end >= spaces_end) {
          spaces_begin = end;
          spaces_end = EndOfSpaces(text, end);
        }
        end = spaces_end;
      }
    }
    if (begin > plain) {
      if (absl::Status status = part(text.substr(plain, begin - plain), plain); !status.ok()) return status;
    }
    token(id);
    plain = end;
  }
  return plain < text.size() ? part(text.substr(plain), plain) : absl::OkStatus();
}

}  // namespace cascade
