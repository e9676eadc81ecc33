#include "engine/grammar/pattern_parser.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/text/utf8.h"

namespace cascade::grammar {
namespace {

using Kind = PatternNode::Kind;

constexpr int kMaxGroups = 32;  // within each other

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  absl::StatusOr<PatternNode> Parse() {
    auto node = Choice(0);
    if (!node.ok()) return node;
    if (!AtEnd()) return Error("a ) without its (");
    return node;
  }

 private:
  static PatternNode Node(Kind kind) {
    PatternNode node;
    node.kind = kind;
    return node;
  }
  bool AtEnd() const { return at_ == text_.size(); }
  char Peek() const { return text_[at_]; }
  bool Take(std::string_view expected) {
    if (!text_.substr(at_).starts_with(expected)) return false;
    at_ += expected.size();
    return true;
  }
  absl::Status Error(const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat(what, " (at byte ", at_, " of the pattern)"));
  }

  // Recursion goes by groups, which are counted.
  absl::StatusOr<PatternNode> Choice(int groups) {
    PatternNode choice = Node(Kind::kChoice);
    do {
      PatternNode sequence;
      while (!AtEnd() && Peek() != '|' && Peek() != ')') {
        auto term = Term(groups);
        if (!term.ok()) return term;
        sequence.children.push_back(*std::move(term));
      }
      choice.children.push_back(std::move(sequence));
    } while (Take("|"));
    if (choice.children.size() == 1) return std::move(choice.children[0]);
    return choice;
  }

  absl::StatusOr<PatternNode> Term(int groups) {
    if (Take("^")) return Node(Kind::kBegin);
    if (Take("$")) return Node(Kind::kEnd);
    auto atom = Atom(groups);
    if (!atom.ok()) return atom;
    PatternNode repeat = Node(Kind::kRepeat);
    if (Take("*")) {
    } else if (Take("+")) {
      repeat.min = 1;
    } else if (Take("?")) {
      repeat.max = 1;
    } else if (!AtEnd() && Peek() == '{') {
      if (absl::Status status = Count(&repeat); !status.ok()) return status;
    } else {
      return atom;
    }
    Take("?");  // lazy: which text is found differs, whether there is one does not
    if (!AtEnd() && (Peek() == '*' || Peek() == '+' || Peek() == '?' || Peek() == '{')) {
      return Error("two quantifiers on one another are not supported");
    }
    repeat.children.push_back(*std::move(atom));
    return repeat;
  }

  absl::Status Count(PatternNode* repeat) {
    const absl::Status fault = Error(absl::StrCat("expected {n}, {n,} or {n,m} with n <= m <= ", kMaxRepeat,
                                                  "; a brace that is text is written \\{"));
    Take("{");
    const auto number = [&]() -> std::optional<int> {
      int value = 0;
      const size_t begin = at_;
      for (; !AtEnd() && absl::ascii_isdigit(static_cast<unsigned char>(Peek())); ++at_) {
        if (value <= kMaxRepeat) value = value * 10 + (Peek() - '0');
      }
      if (at_ == begin || value > kMaxRepeat) return std::nullopt;
      return value;
    };
    const std::optional<int> min = number();
    if (!min) return fault;
    repeat->min = repeat->max = *min;
    if (Take(",")) {
      repeat->max = -1;
      if (!AtEnd() && Peek() != '}') {
        const std::optional<int> max = number();
        if (!max || *max < *min) return fault;
        repeat->max = *max;
      }
    }
    return Take("}") ? absl::OkStatus() : fault;
  }

  absl::StatusOr<PatternNode> Atom(int groups) {
    if (Take("(")) {
      if (groups >= kMaxGroups) return Error(absl::StrCat("more than ", kMaxGroups, " groups within each other"));
      if (Take("?") && !Take(":")) return Error("look-around, named groups and flags are not supported");
      auto inside = Choice(groups + 1);
      if (!inside.ok()) return inside;
      if (!Take(")")) return Error("a ( without its )");
      return inside;
    }
    PatternNode node = Node(Kind::kSet);
    if (Take("[")) {
      auto set = Class();
      if (!set.ok()) return set.status();
      node.set = *std::move(set);
      return node;
    }
    if (Take(".")) {
      node.set = DotSet();
      return node;
    }
    if (Peek() == '*' || Peek() == '+' || Peek() == '?' || Peek() == '{') return Error("a quantifier of nothing");
    auto set = Character(/*in_class=*/false);
    if (!set.ok()) return set.status();
    node.set = *std::move(set);
    return node;
  }

  // Behind the [.
  absl::StatusOr<CharacterSet> Class() {
    const bool negated = Take("^");
    CharacterSet set;
    while (true) {
      if (AtEnd()) return Error("a [ without its ]");
      if (Take("]")) break;
      auto begin = Character(/*in_class=*/true);
      if (!begin.ok()) return begin;
      if (text_.size() - at_ < 2 || Peek() != '-' || text_[at_ + 1] == ']') {
        set.insert(set.end(), begin->begin(), begin->end());
        continue;
      }
      Take("-");
      auto end = Character(/*in_class=*/true);
      if (!end.ok()) return end;
      const bool single = begin->size() == 1 && begin->front().first == begin->front().last && end->size() == 1 &&
                          end->front().first == end->front().last;
      if (!single || end->front().first < begin->front().first) return Error("a range that is none");
      set.push_back({begin->front().first, end->front().first});
    }
    set = Normalized(std::move(set));
    return negated ? Complement(set) : set;
  }

  // One character or an escape.
  absl::StatusOr<CharacterSet> Character(bool in_class) {
    if (!Take("\\")) {
      const char32_t c = NextCodePoint(text_, &at_);
      return CharacterSet{{c, c}};
    }
    if (AtEnd()) return Error("a \\ at the end");
    const char escape = Peek();
    const auto one = [&](char32_t c) { return CharacterSet{{c, c}}; };
    switch (escape) {
      case 'd':
        return ++at_, DigitSet();
      case 'D':
        return ++at_, Complement(DigitSet());
      case 'w':
        return ++at_, WordSet();
      case 'W':
        return ++at_, Complement(WordSet());
      case 's':
        return ++at_, SpaceSet();
      case 'S':
        return ++at_, Complement(SpaceSet());
      case 't':
        return ++at_, one('\t');
      case 'n':
        return ++at_, one('\n');
      case 'v':
        return ++at_, one('\v');
      case 'f':
        return ++at_, one('\f');
      case 'r':
        return ++at_, one('\r');
      case 'x':
        return ++at_, Hex(2);
      case 'u':
        return ++at_, Hex(4);
      default:
        break;
    }
    if (absl::ascii_isalnum(static_cast<unsigned char>(escape))) {
      return Error(absl::StrCat("\\", std::string(1, escape), " is not supported"));
    }
    if (in_class || absl::ascii_ispunct(static_cast<unsigned char>(escape))) return one(NextCodePoint(text_, &at_));
    return Error("an escape that is none");
  }

  absl::StatusOr<CharacterSet> Hex(size_t digits) {
    const std::string_view text = text_.substr(at_, digits);
    char32_t value = 0;
    for (const char c : text) {
      const unsigned char digit = static_cast<unsigned char>(absl::ascii_tolower(static_cast<unsigned char>(c)));
      if (!absl::ascii_isxdigit(digit)) return Error("expected hexadecimal digits");
      value = value * 16 + static_cast<char32_t>(digit <= '9' ? digit - '0' : digit - 'a' + 10);
    }
    if (text.size() < digits) return Error("expected hexadecimal digits");
    if (value >= 0xD800 && value <= 0xDFFF) return Error("a surrogate is no character");
    at_ += digits;
    return CharacterSet{{value, value}};
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

absl::StatusOr<PatternNode> ParsePattern(std::string_view pattern) { return Parser(pattern).Parse(); }

}  // namespace cascade::grammar
