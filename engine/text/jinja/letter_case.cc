#include "engine/text/jinja/letter_case.h"

#include <algorithm>
#include <string>

#include "engine/text/jinja/code_points.h"
#include "engine/text/jinja/letter_tables.h"
#include "engine/text/jinja/runtime.h"

namespace cascade::jinja {
namespace {

constexpr char32_t kCapitalSigma = 0x3A3, kFinalSigma = 0x3C2, kCapitalDottedI = 0x130;

char32_t Map(std::span<const LetterRange> ranges, char32_t c) {
  for (auto range = std::upper_bound(ranges.begin(), ranges.end(), c,
                                     [](char32_t value, const LetterRange&other) { return value < other.first; });
       range != ranges.begin();) {
    --range;
    if (c <= range->last) {
      // Ranges of every second letter lie in each other by pairs.
      if ((c - range->first) % range->stride == 0) return static_cast<char32_t>(static_cast<int64_t>(c) + range->delta);
    } else if (c > range->last + 0x100) {
      break;
    }
  }
  return c;
}

const char* Expansion(char32_t c) {
  const auto table = UpperExpansions();
  const auto found = std::lower_bound(
      table.begin(), table.end(), c, [](const LetterExpansion& entry, char32_t value) { return entry.letter < value; });
  return found != table.end() && found->letter == c ? found->text : nullptr;
}

char32_t Lower(char32_t c) { return c < 0x80 ? (c >= 'A' && c <= 'Z' ? c + 32 : c) : Map(LowerRanges(), c); }
char32_t Upper(char32_t c) { return c < 0x80 ? (c >= 'a' && c <= 'z' ? c - 32 : c) : Map(UpperRanges(), c); }

void AppendUpper(char32_t c, std::string* out) {
  if (const char* expansion = c < 0x80 ? nullptr : Expansion(c)) {
    *out += expansion;
  } else {
    AppendCodePoint(Upper(c), out);
  }
}

void AppendLower(char32_t c, bool ends_word, std::string* out) {
  if (c == kCapitalDottedI) {
    *out += "i\u0307";
  } else {
    AppendCodePoint(c == kCapitalSigma && ends_word ? kFinalSigma : Lower(c), out);
  }
}

// A capital that begins a word: of a pair of letters only the first is one.
void AppendTitle(char32_t c, std::string* out) {
  if ((c >= 0x1C4 && c <= 0x1CC) || (c >= 0x1F1 && c <= 0x1F3)) {
    const char32_t base = c >= 0x1F1 ? 0x1F1 : 0x1C4 + (c - 0x1C4) / 3 * 3;
    AppendCodePoint(base + 1, out);
  } else if (c >= 0x10D0 && c <= 0x10FF) {
    AppendCodePoint(c, out);  // Georgian has no titles
  } else if ((c >= 0x1F80 && c <= 0x1FAF) || c == 0x1FB3 || c == 0x1FC3 || c == 0x1FF3) {
    AppendCodePoint(c >= 0x1FB0 ? c + 9 : (c | 8), out);
  } else if (const char* expansion = c < 0x80 ? nullptr : Expansion(c)) {
    const std::string_view text = expansion;
    size_t position = 0;
    AppendCodePoint(NextCodePoint(text, &position), out);
    while (position < text.size()) AppendLower(NextCodePoint(text, &position), false, out);
  } else {
    AppendCodePoint(Upper(c), out);
  }
}

bool IsLetter(char32_t c) { return IsUpperLetter(c) || IsLowerLetter(c); }

bool BeginsWordBehind(char32_t c) { return IsSpace(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<'; }

// One run of bytes of one kind.
class CaseChanger {
 public:
  CaseChanger(LetterCase wanted, std::string_view bytes) : wanted_(wanted), bytes_(bytes) {}

  std::string Run(size_t begin, size_t end) {
    std::string out;
    out.reserve(end - begin);
    for (size_t i = begin; i < end;) {
      const char32_t c = NextCodePoint(bytes_, &i);
      const bool begins = wanted_ == LetterCase::kTitle         ? !IsLetter(before_)
                          : wanted_ == LetterCase::kTitleFilter ? is_first_ || BeginsWordBehind(before_)
                                                                : is_first_;
      const bool ends_word = c == kCapitalSigma && IsLetter(before_) && !LetterAt(i);
      if (wanted_ == LetterCase::kUpper || (wanted_ == LetterCase::kTitleFilter && begins)) {
        AppendUpper(c, &out);
      } else if (wanted_ == LetterCase::kLower || !begins) {
        AppendLower(c, ends_word, &out);
      } else {
        AppendTitle(c, &out);
      }
      before_ = c;
      is_first_ = false;
    }
    return out;
  }

 private:
  bool LetterAt(size_t position) const {
    return position < bytes_.size() && IsLetter(NextCodePoint(bytes_, &position));
  }

  LetterCase wanted_;
  std::string_view bytes_;
  char32_t before_ = 0;
  bool is_first_ = true;
};

}  // namespace

bool IsUpperLetter(char32_t c) { return Lower(c) != c || c == kCapitalDottedI; }

bool IsLowerLetter(char32_t c) { return Upper(c) != c || (c >= 0x80 && Expansion(c) != nullptr && Lower(c) == c); }

bool WorkOnLetters(Runtime& runtime, std::string_view text) {
  if (!runtime.Work(text.size())) return false;
  const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
  const auto ascii = static_cast<size_t>(std::count_if(text.begin(), text.end(), is_ascii));
  return runtime.Work(ascii * 8 + (text.size() - ascii) * 48);
}

Value ChangeCase(Runtime& runtime, const Text& text, LetterCase wanted) {
  if (!WorkOnLetters(runtime, text.bytes())) return {};
  TextMaker maker(&runtime);
  CaseChanger changer(wanted, text.bytes());
  for (size_t begin = 0; begin < text.size() && runtime.ok();) {
    // In pieces, so that a text grows no more than it may before that is seen.
    size_t end = std::min(text.RunEnd(begin), begin + (size_t{1} << 20));
    while (end > begin && end < text.size() && (static_cast<unsigned char>(text.bytes()[end]) & 0xC0) == 0x80) --end;
    if (end <= begin) end = text.RunEnd(begin);
    if (!runtime.Work(64)) break;
    maker.Append(changer.Run(begin, end), text.IsContent(begin));
    begin = end;
  }
  return maker.Finish();
}

}  // namespace cascade::jinja
