#include "engine/text/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/text/utf8.h"

namespace cascade {
namespace {

// Unicode's White_Space, spelled out: PCRE2's \s also takes U+180E, which the tokenizers that made the models do not.
#define CASCADE_SPACE_BUT_LINES \
  "\\x{9}\\x{B}\\x{C}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"
#define CASCADE_SPACE "\\r\\n" CASCADE_SPACE_BUT_LINES
constexpr char kGpt2Pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d"
    "| ?\\p{L}+| ?\\p{N}+| ?[^" CASCADE_SPACE
    "\\p{L}\\p{N}]+"
    "|[" CASCADE_SPACE "]+(?![^" CASCADE_SPACE "])|[" CASCADE_SPACE "]+";
// Llama 3's pattern and Qwen 2's, which differ in how many digits make a piece. Published as
//   (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
// The repeats are possessive where that changes nothing, and \s*[\r\n]+ (white space up to the last line end of a run)
// is written as a repeat of "spaces, then line ends", which never goes back over a long run of spaces.
#define CASCADE_LLAMA3_PATTERN(digits)                             \
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)"                                   \
  "|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|" digits "| ?[^" CASCADE_SPACE \
  "\\p{L}\\p{N}]++[\\r\\n]*+"                                      \
  "|(?:[" CASCADE_SPACE_BUT_LINES                                  \
  "]*+[\\r\\n]++)++"                                               \
  "|[" CASCADE_SPACE "]+(?![^" CASCADE_SPACE "])|[" CASCADE_SPACE "]++"
constexpr char kLlama3Pattern[] = CASCADE_LLAMA3_PATTERN("\\p{N}{1,3}+");
constexpr char kQwen2Pattern[] = CASCADE_LLAMA3_PATTERN("\\p{N}");
#undef CASCADE_LLAMA3_PATTERN
#undef CASCADE_SPACE
#undef CASCADE_SPACE_BUT_LINES
constexpr char kNumberPattern[] = "\\p{N}";

struct Known {
  std::string_view name;
  const char* pattern;
  bool numbers_alone;
};
// The further names are those that GGUF files have for the same.
constexpr Known kKnown[] = {
    {"gpt2", kGpt2Pattern, false},     {"gpt-2", kGpt2Pattern, false},
    {"smollm", kGpt2Pattern, true},    {"llama-bpe", kLlama3Pattern, false},
    {"llama3", kLlama3Pattern, false}, {"llama-v3", kLlama3Pattern, false},
    {"qwen2", kQwen2Pattern, false},   {"deepseek-r1-qwen", kQwen2Pattern, false},
};

// A guard, not a budget: a piece needs a few steps for each of its lines (a repeat of single characters backtracks at
// most once here).
constexpr uint32_t kMatchLimit = 500'000'000;
constexpr uint32_t kHeapLimitKib = 64 * 1024;

struct CodeFree {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct ContextFree {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
struct DataFree {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
using MatchData = std::unique_ptr<pcre2_match_data, DataFree>;

std::string ErrorText(int code) {
  PCRE2_UCHAR text[160] = {};
  pcre2_get_error_message(code, text, sizeof(text));
  return reinterpret_cast<const char*>(text);
}

// One compiled pattern. Compiled code and match context are read-only in a match; the match data are the caller's.
class Pattern {
 public:
  static absl::StatusOr<Pattern> Compile(const char* text) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    Pattern pattern;
    pattern.code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text), PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                                      &error, &offset, nullptr));
    if (pattern.code_ == nullptr) return absl::InternalError(absl::StrCat("PCRE2: ", ErrorText(error)));
    // Without JIT (a hardened kernel, another architecture) the interpreter does the same more slowly.
    pcre2_jit_compile(pattern.code_.get(), PCRE2_JIT_COMPLETE);
    pattern.context_.reset(pcre2_match_context_create(nullptr));
    if (pattern.context_ == nullptr) return absl::ResourceExhaustedError("PCRE2: no memory");
    pcre2_set_match_limit(pattern.context_.get(), kMatchLimit);
    pcre2_set_heap_limit(pattern.context_.get(), kHeapLimitKib);
    return pattern;
  }

  MatchData NewMatchData() const { return MatchData(pcre2_match_data_create_from_pattern(code_.get(), nullptr)); }

  // The first match at or after `start`, as [begin, end); begin == npos: none. The text is known to be UTF-8: checking
  // it again at every match would cost time quadratic in the text.
  absl::Status Find(std::string_view text, size_t start, pcre2_match_data* data, size_t* begin, size_t* end) const {
    const auto match = [&](uint32_t options) {
      return pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), start,
                         PCRE2_NO_UTF_CHECK | options, data, context_.get());
    };
    int result = match(0);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = match(PCRE2_NO_JIT);
    if (result == PCRE2_ERROR_NOMATCH) {
      *begin = *end = std::string_view::npos;
      return absl::OkStatus();
    }
    if (result < 0) return absl::ResourceExhaustedError(absl::StrCat("text cannot be split: ", ErrorText(result)));
    const PCRE2_SIZE* span = pcre2_get_ovector_pointer(data);
    *begin = span[0];
    *end = span[1];
    return absl::OkStatus();
  }

 private:
  std::unique_ptr<pcre2_code, CodeFree> code_;
  std::unique_ptr<pcre2_match_context, ContextFree> context_;
};

class RegexPreTokenizer : public PreTokenizer {
 public:
  RegexPreTokenizer(Pattern words, Pattern numbers, bool numbers_alone)
      : words_(std::move(words)), numbers_(std::move(numbers)), numbers_alone_(numbers_alone) {}

  absl::Status Split(std::string_view text, const std::function<void(std::string_view)>& piece) const override {
    if (text.empty()) return absl::OkStatus();
    const MatchData data = words_.NewMatchData();
    if (data == nullptr) return absl::ResourceExhaustedError("PCRE2: no memory");
    if (!numbers_alone_) return SplitWords(text, data.get(), piece);
    for (size_t pos = 0; pos < text.size();) {
      size_t begin = 0;
      size_t end = 0;
      absl::Status status = numbers_.Find(text, pos, data.get(), &begin, &end);
      if (!status.ok()) return status;
      // The part before the number is a text of its own: what looks ahead sees its end.
      status = SplitWords(text.substr(pos, begin == std::string_view::npos ? begin : begin - pos), data.get(), piece);
      if (!status.ok()) return status;
      if (begin == std::string_view::npos) break;
      piece(text.substr(begin, end - begin));
      pos = end;
    }
    return absl::OkStatus();
  }

 private:
  absl::Status SplitWords(std::string_view text, pcre2_match_data* data,
                          const std::function<void(std::string_view)>& piece) const {
    for (size_t pos = 0; pos < text.size();) {
      size_t begin = 0;
      size_t end = 0;
      if (const absl::Status status = words_.Find(text, pos, data, &begin, &end); !status.ok()) return status;
      // The pattern takes every character; were one left over, it would be a piece of its own.
      if (begin != pos) piece(text.substr(pos, begin == std::string_view::npos ? begin : begin - pos));
      if (begin == std::string_view::npos) break;
      piece(text.substr(begin, end - begin));
      pos = end;
    }
    return absl::OkStatus();
  }

  const Pattern words_;
  const Pattern numbers_;
  const bool numbers_alone_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PreTokenizer>> PreTokenizer::Create(std::string_view name) {
  const Known* known =
      std::find_if(std::begin(kKnown), std::end(kKnown), [&](const Known& k) { return k.name == name; });
  if (known == std::end(kKnown)) {
    if (name.empty()) return absl::InvalidArgumentError("missing");
    return absl::UnimplementedError(
        absl::StrCat(QuoteForError(name), " is not supported; supported: gpt2, smollm, llama-bpe, qwen2"));
  }
  absl::StatusOr<Pattern> words = Pattern::Compile(known->pattern);
  if (!words.ok()) return words.status();
  absl::StatusOr<Pattern> numbers = Pattern::Compile(kNumberPattern);
  if (!numbers.ok()) return numbers.status();
  return std::unique_ptr<PreTokenizer>(
      new RegexPreTokenizer(*std::move(words), *std::move(numbers), known->numbers_alone));
}

}  // namespace cascade
