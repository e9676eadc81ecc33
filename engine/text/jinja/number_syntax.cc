#include "engine/text/jinja/number_syntax.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <string>

#include "engine/text/jinja/code_points.h"

namespace cascade::jinja {
namespace {

constexpr size_t kNone = std::string_view::npos;

int DigitOf(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'z') return c - 'a' + 10;
  if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
  return 99;
}

// Behind digits of `base` with single underscores between them, `position` when there are none.
size_t DigitsEnd(std::string_view text, size_t position, int base) {
  size_t end = position;
  while (end < text.size()) {
    const size_t digit = end > position && text[end] == '_' ? end + 1 : end;
    if (digit >= text.size() || DigitOf(text[digit]) >= base) break;
    end = digit + 1;
  }
  return end;
}

std::string_view WithoutSpace(std::string_view text) {
  size_t begin = 0, end = text.size();
  StripSpace(text, true, true, &begin, &end);
  return text.substr(begin, end - begin);
}

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// Behind the sign, which goes to `*negative`.
std::string_view TakeSign(std::string_view text, bool* negative) {
  *negative = !text.empty() && text[0] == '-';
  return !text.empty() && (text[0] == '-' || text[0] == '+') ? text.substr(1) : text;
}

}  // namespace

size_t FloatLiteralEnd(std::string_view source, size_t position) {
  size_t end = DigitsEnd(source, position, 10);
  if (end == position) return kNone;
  bool is_float = false;
  if (end < source.size() && source[end] == '.') {
    const size_t fraction = DigitsEnd(source, end + 1, 10);
    if (fraction > end + 1) {
      is_float = true;
      end = fraction;
    }
  }
  if (end < source.size() && Lower(source[end]) == 'e') {
    size_t digits = end + 1;
    if (digits < source.size() && (source[digits] == '+' || source[digits] == '-')) ++digits;
    const size_t exponent = DigitsEnd(source, digits, 10);
    if (exponent > digits) return exponent;
  }
  return is_float ? end : kNone;
}

size_t IntegerLiteralEnd(std::string_view source, size_t position) {
  if (source[position] != '0') return DigitsEnd(source, position, 10);
  const char letter = position + 1 < source.size() ? Lower(source[position + 1]) : '\0';
  const int base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
  if (base != 0) {
    const size_t digits = position + 2 < source.size() && source[position + 2] == '_' ? position + 3 : position + 2;
    const size_t end = DigitsEnd(source, digits, base);
    if (end > digits) return end;
  }
  return DigitsEnd(source, position, 1);  // zeros only, as Python
}

size_t ReadDigits(std::string_view text, int base, size_t least, size_t most, char32_t* value) {
  size_t count = 0;
  *value = 0;
  while (count < most && count < text.size() && DigitOf(text[count]) < base) {
    *value = *value * static_cast<char32_t>(base) + static_cast<char32_t>(DigitOf(text[count++]));
  }
  return count < least ? 0 : count;
}

NumberFault ParseInteger(std::string_view text, int base, int64_t* value) {
  bool negative = false;
  text = TakeSign(WithoutSpace(text), &negative);
  if (text.size() >= 2 && text[0] == '0') {
    const char letter = Lower(text[1]);
    const int prefixed = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    if (prefixed != 0 && (base == 0 || base == prefixed)) {
      base = prefixed;
      text.remove_prefix(text.size() > 2 && text[2] == '_' ? 3 : 2);
    }
  }
  const bool zeros_only = base == 0 && !text.empty() && text[0] == '0';
  if (base == 0) base = 10;
  if (text.empty() || DigitsEnd(text, 0, base) != text.size()) return NumberFault::kSyntax;
  int64_t number = 0;
  for (char c : text) {
    if (c == '_') continue;
    if (zeros_only && c != '0') return NumberFault::kSyntax;
    if (__builtin_mul_overflow(number, base, &number) || __builtin_sub_overflow(number, DigitOf(c), &number)) {
      return NumberFault::kTooLarge;
    }
  }
  // Counted downwards: the smallest has no opposite.
  if (!negative && number == std::numeric_limits<int64_t>::min()) return NumberFault::kTooLarge;
  *value = negative ? number : -number;
  return NumberFault::kNone;
}

std::optional<double> ParseFloat(std::string_view text) {
  bool negative = false;
  text = TakeSign(WithoutSpace(text), &negative);
  const double sign = negative ? -1 : 1;
  std::string word, digits;
  for (size_t i = 0; i < text.size(); ++i) {
    word += Lower(text[i]);
    const bool between = i > 0 && i + 1 < text.size() && DigitOf(text[i - 1]) < 10 && DigitOf(text[i + 1]) < 10;
    if (text[i] != '_' || !between) digits += text[i];
  }
  if (word == "inf" || word == "infinity") return sign * std::numeric_limits<double>::infinity();
  if (word == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (digits.empty() || (DigitOf(digits[0]) >= 10 && digits[0] != '.')) return std::nullopt;
  double number = 0;
  const char* end = digits.data() + digits.size();
  const auto result = std::from_chars(digits.data(), end, number);
  if (result.ptr != end) return std::nullopt;
  if (result.ec == std::errc::result_out_of_range) {
    // Too large or too small: the exponent's sign tells which.
    const size_t e = word.find('e');
    number = e != kNone && e + 1 < word.size() && word[e + 1] == '-' ? 0.0 : std::numeric_limits<double>::infinity();
  }
  return sign * number;
}

}  // namespace cascade::jinja
