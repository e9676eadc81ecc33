// Broken templates give an error or a text, in bounded time and memory.
#include <algorithm>
#include <cctype>
#include <random>
#include <string>

#include "engine/text/jinja/jinja_template.h"
#include "gtest/gtest.h"
#include "tests/engine/text/jinja/published_like_templates.h"

namespace cascade::jinja {
namespace {

Variables Conversation() {
  Variables variables;
  variables.messages = {{.role = "system", .content = "Be brief. "},
                        {.role = "user", .content = "Hi \xC3\xA9 {{ x }}\n"},
                        {.role = "assistant", .content = "<think>a</think>\nYes"},
                        {.role = "user", .content = "And?"}};
  variables.add_generation_prompt = true;
  variables.bos_token = "<s>";
  variables.eos_token = "</s>";
  variables.now = 1700000000;
  return variables;
}

class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  std::string Mutate(std::string text, std::string_view other) {
    const int times = 1 + static_cast<int>(Below(2));
    for (int i = 0; i < times && !text.empty(); ++i) Once(&text, other);
    return text;
  }

 private:
  size_t Below(size_t limit) { return limit == 0 ? 0 : random_() % limit; }

  // A stretch from one tag to a later one.
  std::pair<size_t, size_t> Tags(std::string_view text) {
    const size_t begin = std::min(text.find('{', Below(text.size())), text.size());
    size_t end = begin;
    for (size_t i = Below(3) + 1; i > 0 && end < text.size(); --i) end = std::min(text.find('}', end + 2), text.size());
    return {begin, std::min(text.size(), end + 1) - begin};
  }

  void Once(std::string* text, std::string_view other) {
    static constexpr std::string_view kWords[] = {"(",
                                                  ")",
                                                  "[",
                                                  "]",
                                                  "{{",
                                                  "}}",
                                                  "{%",
                                                  "%}",
                                                  "{#",
                                                  "-",
                                                  "+",
                                                  "**",
                                                  "//",
                                                  "|",
                                                  "loop",
                                                  "messages",
                                                  " not ",
                                                  " in ",
                                                  " is ",
                                                  "'",
                                                  "\"",
                                                  "\\",
                                                  ":",
                                                  ",",
                                                  "=",
                                                  "for x in messages",
                                                  "endfor",
                                                  "set ns.x = ns",
                                                  "1",
                                                  "9223372036854775807",
                                                  "range(99999)",
                                                  "~",
                                                  "[::-1]",
                                                  "|map('upper')",
                                                  "|tojson",
                                                  "caller()",
                                                  "none",
                                                  ".items()",
                                                  "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
                                                  " * 999999999",
                                                  "|join(messages)",
                                                  "\xFF",
                                                  "\xF0\x9F"};
    const size_t at = Below(text->size());
    const auto [begin, size] = Tags(*text);
    switch (Below(10)) {
      case 0:
        (*text)[at] = static_cast<char>(random_());
        break;
      case 1:
        text->erase(at, 1 + Below(8));
        break;
      case 2:
        text->insert(at, kWords[Below(std::size(kWords))]);
        break;
      case 3:
        text->erase(begin, size);
        break;
      case 4:
        text->insert(begin, text->substr(begin, size));
        break;
      case 5: {
        const auto [other_begin, other_size] = Tags(other);
        text->insert(at, other.substr(other_begin, other_size));
        break;
      }
      case 6:
        text->resize(begin);
        break;
      default:
        ReplaceWord(text, at);
        break;  // mostly still a template, and wrong only when it runs
    }
  }

  void ReplaceWord(std::string* text, size_t at) {
    static constexpr std::string_view kValues[] = {"messages",    "message",      "loop",
                                                   "ns",          "none",         "1",
                                                   "-1",          "'x'",          "[]",
                                                   "{}",          "range(99999)", "true",
                                                   "2.5",         "missing",      "(messages|length)",
                                                   "'ab' * 9999", "content",      "role",
                                                   "upper",       "items",        "list"};
    const auto is_word = [&](size_t i) {
      return std::isalnum(static_cast<unsigned char>((*text)[i])) || (*text)[i] == '_';
    };
    while (at < text->size() && !is_word(at)) ++at;
    size_t end = at;
    while (end < text->size() && is_word(end)) ++end;
    text->replace(at, end - at, kValues[Below(std::size(kValues))]);
  }

  std::mt19937 random_;
};

TEST(JinjaMutationTest, TwoThousandMutationsGiveATextOrAnError) {
  const Variables variables = Conversation();
  const Limits limits = {.steps = 20000, .output_bytes = 1 << 16, .memory_bytes = 1 << 20, .depth = 20};
  Mutator mutator(1);
  int parsed = 0, rendered = 0;
  for (int i = 0; i < 2000; ++i) {
    const std::string_view seed = kSeedTemplates[i % std::size(kSeedTemplates)];
    const std::string source = mutator.Mutate(std::string(seed), kSeedTemplates[(i / 4) % std::size(kSeedTemplates)]);
    const auto parsed_template = Template::Parse(source);
    if (!parsed_template.ok()) {
      EXPECT_NE(parsed_template.status().message().find("line "), absl::string_view::npos) << parsed_template.status();
      continue;
    }
    ++parsed;
    const auto text = (*parsed_template)->Render(variables, limits);
    if (text.ok()) {
      ++rendered;
      EXPECT_LE(text->size(), limits.output_bytes);
    } else {
      EXPECT_NE(text.status().message().find("chat template"), absl::string_view::npos) << text.status();
    }
  }
  // Neither all of one kind: the mutations reach the interpreter too.
  RecordProperty("parsed", parsed);
  RecordProperty("rendered", rendered);
  EXPECT_GT(parsed, 400);
  EXPECT_GT(rendered, 100);
  EXPECT_LT(rendered, 1900);
}

TEST(JinjaMutationTest, EverySeedRenders) {
  for (std::string_view seed : kSeedTemplates) {
    const auto parsed = Template::Parse(seed);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    const auto text = (*parsed)->Render(Conversation(), Limits());
    EXPECT_TRUE(text.ok()) << text.status();
  }
}

// Every prefix of a template ends somewhere in the grammar.
TEST(JinjaMutationTest, EveryPrefixIsParsedOrRefused) {
  for (std::string_view seed : kSeedTemplates) {
    for (size_t size = 0; size < seed.size(); ++size) {
      const auto parsed = Template::Parse(seed.substr(0, size));
      EXPECT_EQ(parsed.ok(), parsed.status().message().empty());
    }
  }
}

}  // namespace
}  // namespace cascade::jinja
