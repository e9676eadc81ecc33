#include "engine/text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "engine/text/jinja/code_points.h"
#include "engine/text/jinja/number_syntax.h"

namespace cascade::jinja {
namespace {

constexpr size_t kNone = std::string_view::npos;

bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (position_ < source_.size() && status_.ok()) ReadRoot();
    Push(Token::Kind::kEnd, position_, position_);
    if (!status_.ok()) return status_;
    return std::move(tokens_);
  }

 private:
  bool At(size_t position, std::string_view text) const { return source_.substr(position, text.size()) == text; }

  size_t SkipSpace(size_t position) const {
    size_t end = source_.size();
    StripSpace(source_, true, false, &position, &end);
    return position;
  }

  // Tokens come in the source's order, so lines are counted on the way.
  Place PlaceOf(size_t position) {
    for (; counted_ < position; ++counted_) {
      if (source_[counted_] == '\n') {
        ++line_;
        line_begin_ = counted_ + 1;
      }
    }
    return {line_, static_cast<uint32_t>(position - line_begin_ + 1)};
  }

  void Push(Token::Kind kind, size_t begin, size_t end) {
    tokens_.push_back({kind, PlaceOf(begin), source_.substr(begin, end - begin)});
  }

  void Fail(size_t position, std::string_view message) {
    const std::string text = ToString(PlaceOf(position)) + ": " + std::string(message);
    if (status_.ok()) status_ = absl::InvalidArgumentError(text);
    position_ = source_.size();
  }

  // Moves behind a tag's end and remembers whether a line begins there.
  void MoveTo(size_t position) {
    position_ = position;
    at_line_start_ = position > 0 && source_[position - 1] == '\n';
  }

  // Template text in [position_, tag), less what the tag's sign and lstrip_blocks take.
  void PushData(size_t tag, char sign, bool is_variable) {
    size_t begin = position_, end = tag;
    if (sign == '-') {
      StripSpace(source_, false, true, &begin, &end);
    } else if (sign != '+' && !is_variable) {
      const std::string_view text = source_.substr(begin, end - begin);
      const size_t newline = text.rfind('\n');
      const size_t line = newline == kNone ? 0 : newline + 1;
      if (line > 0 || at_line_start_) {
        size_t rest_begin = begin + line, rest_end = end;
        StripSpace(source_, true, false, &rest_begin, &rest_end);
        if (rest_begin == rest_end) end = begin + line;
      }
    }
    if (begin < end) Push(Token::Kind::kData, begin, end);
  }

  // Where a tag that may end in `closing` at `position` ends, or npos; `closing` is "%}", "#}" or "}}".
  size_t TagEnd(size_t position, std::string_view closing) const {
    if (At(position, "-") && At(position + 1, closing)) return SkipSpace(position + 3);
    if (closing == "}}") return At(position, closing) ? position + 2 : kNone;
    if (At(position, "+") && At(position + 1, closing)) return position + 3;
    if (!At(position, closing)) return kNone;
    return At(position + 2, "\n") ? position + 3 : position + 2;
  }

  // Behind `{%- name`, or npos when the tag at `tag` is another.
  size_t BehindTagName(size_t tag, std::string_view name, char* sign) const {
    size_t position = tag + 2;
    *sign =
        position < source_.size() && (source_[position] == '-' || source_[position] == '+') ? source_[position] : '\0';
    position = SkipSpace(position + (*sign != '\0' ? 1 : 0));
    return At(position, name) ? SkipSpace(position + name.size()) : kNone;
  }

  void ReadRoot() {
    size_t tag = position_;
    const auto is_tag = [&](size_t i) { return At(i, "{%") || At(i, "{#") || At(i, "{{"); };
    while (tag < source_.size() && !is_tag(tag)) tag = std::min(source_.find('{', tag + 1), source_.size());
    if (tag == source_.size()) {
      Push(Token::Kind::kData, position_, tag);
      position_ = tag;
      return;
    }
    char sign = '\0';
    if (At(tag, "{%")) {
      const size_t end = BehindTagName(tag, "raw", &sign);
      if (end != kNone && (At(end, "%}") || At(end, "-%}"))) {
        PushData(tag, sign, false);
        MoveTo(At(end, "%}") ? end + 2 : SkipSpace(end + 3));
        return ReadRaw(tag);
      }
    }
    const char next = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    sign = next == '-' || next == '+' ? next : '\0';
    PushData(tag, sign, source_[tag + 1] == '{');
    const size_t inside = tag + (sign != '\0' ? 3 : 2);
    if (source_[tag + 1] == '#') return ReadComment(tag, inside);
    const bool is_block = source_[tag + 1] == '%';
    Push(is_block ? Token::Kind::kBlockBegin : Token::Kind::kVariableBegin, tag, inside);
    ReadTag(inside, is_block);
  }

  void ReadComment(size_t tag, size_t inside) {
    if (inside == source_.size()) return MoveTo(inside);  // jinja2 does not miss the end there
    for (size_t i = source_.find("#}", inside); i != kNone; i = source_.find("#}", i + 1)) {
      // The sign before the end is part of it, if it is not already that of the beginning.
      const bool has_sign = i > inside && (source_[i - 1] == '-' || source_[i - 1] == '+');
      return MoveTo(TagEnd(has_sign ? i - 1 : i, "#}"));
    }
    Fail(tag, "a comment has no end");
  }

  void ReadRaw(size_t opening) {
    if (position_ == source_.size()) return;  // as with a comment
    for (size_t tag = source_.find("{%", position_); tag != kNone; tag = source_.find("{%", tag + 1)) {
      char sign = '\0';
      const size_t name_end = BehindTagName(tag, "endraw", &sign);
      const size_t end = name_end == kNone ? kNone : TagEnd(name_end, "%}");
      if (end == kNone) continue;
      PushData(tag, sign, false);
      return MoveTo(end);
    }
    Fail(opening, "{% raw %} has no {% endraw %}");
  }

  // The tokens of a tag up to its end.
  void ReadTag(size_t position, bool is_block) {
    std::vector<char> open;
    while (position < source_.size() && status_.ok()) {
      const size_t end = open.empty() ? TagEnd(position, is_block ? "%}" : "}}") : kNone;
      if (end != kNone) {
        Push(is_block ? Token::Kind::kBlockEnd : Token::Kind::kVariableEnd, position, end);
        return MoveTo(end);
      }
      const size_t space = SkipSpace(position);
      position = space > position ? space : ReadToken(position, &open);
    }
    position_ = source_.size();
  }

  // Reads one token and gives its end.
  size_t ReadToken(size_t position, std::vector<char>* open) {
    const char c = source_[position];
    const auto push = [&](Token::Kind kind, size_t end) {
      Push(kind, position, end);
      return end;
    };
    const bool after_dot = position > 0 && source_[position - 1] == '.';
    if (const size_t end = after_dot ? kNone : FloatLiteralEnd(source_, position); end != kNone) {
      return push(Token::Kind::kFloat, end);
    }
    if (IsDigit(c)) return push(Token::Kind::kInteger, IntegerLiteralEnd(source_, position));
    if (IsNameStart(c)) {
      size_t end = position;
      while (end < source_.size() && (IsNameStart(source_[end]) || IsDigit(source_[end]))) ++end;
      return push(Token::Kind::kName, end);
    }
    if (c == '\'' || c == '"') {
      size_t end = position + 1;
      while (end < source_.size() && source_[end] != c) end += source_[end] == '\\' ? 2 : 1;
      if (end < source_.size()) return push(Token::Kind::kString, end + 1);
    }
    return ReadOperator(position, open);
  }

  size_t ReadOperator(size_t position, std::vector<char>* open) {
    static constexpr std::array<std::string_view, 6> kDouble = {"//", "**", "==", "!=", ">=", "<="};
    static constexpr std::string_view kSingle = "+-/*%~[](){}><=.:|,;";
    const char c = source_[position];
    const bool is_double = std::any_of(kDouble.begin(), kDouble.end(), [&](auto op) { return At(position, op); });
    if (!is_double && kSingle.find(c) == kNone) {
      const bool is_ascii = static_cast<unsigned char>(c) < 0x80;
      const bool is_shown = c > ' ' && c < 0x7F;
      if (c == '\'' || c == '"') {
        Fail(position, "a string has no end");
      } else if (!is_ascii) {
        Fail(position, "a character that is not ASCII, outside strings");
      } else {
        Fail(position, is_shown ? std::string("unexpected '") + c + "'" : "an unexpected control character");
      }
      return source_.size();
    }
    if (c == '(' || c == '[' || c == '{') open->push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    if (c == ')' || c == ']' || c == '}') {
      if (open->empty() || open->back() != c) {
        Fail(position, std::string("unexpected '") + c + "'");
        return source_.size();
      }
      open->pop_back();
    }
    Push(Token::Kind::kOperator, position, position + (is_double ? 2 : 1));
    return position + (is_double ? 2 : 1);
  }

  std::string_view source_;
  size_t position_ = 0;
  bool at_line_start_ = true;
  size_t counted_ = 0, line_begin_ = 0;
  uint32_t line_ = 1;
  absl::Status status_;
  std::vector<Token> tokens_;
};

}  // namespace

std::string NormalizeSource(std::string_view source) {
  std::string normal;
  normal.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      normal += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      normal += source[i];
    }
  }
  if (!normal.empty() && normal.back() == '\n') normal.pop_back();
  return normal;
}

absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source) { return Lexer(source).Run(); }

absl::StatusOr<std::string> UnescapeString(std::string_view quoted) {
  const std::string_view text = quoted.substr(1, quoted.size() - 2);
  static constexpr std::string_view kLetters = "\\'\"abfnrtv", kMeanings = "\\'\"\a\b\f\n\r\t\v";
  std::string value;
  for (size_t i = 0; i < text.size();) {
    if (text[i] != '\\') {
      value += text[i++];
      continue;
    }
    const char letter = text[i + 1];  // a string does not end in an odd backslash
    i += 2;
    if (letter == '\n') continue;
    if (const size_t known = kLetters.find(letter); known != kNone) {
      value += kMeanings[known];
      continue;
    }
    const size_t digits = letter == 'x' ? 2 : letter == 'u' ? 4 : letter == 'U' ? 8 : 0;
    char32_t code_point = 0;
    if (digits > 0) {
      if (!ReadDigits(text.substr(i), 16, digits, digits, &code_point)) {
        return absl::InvalidArgumentError("an escape of a string has too few digits");
      }
      i += digits;
    } else if (letter >= '0' && letter <= '7') {
      i += ReadDigits(text.substr(i - 1), 8, 1, 3, &code_point) - 1;
    } else if (letter == 'N' || static_cast<unsigned char>(letter) >= 0x80) {
      return absl::UnimplementedError("this escape of a string is not supported");
    } else {
      value += {'\\', letter};
      continue;
    }
    if (code_point > 0x10FFFF || (code_point >= 0xD800 && code_point < 0xE000)) {
      return absl::InvalidArgumentError("an escape of a string is no character");
    }
    AppendCodePoint(code_point, &value);
  }
  return value;
}

}  // namespace cascade::jinja
