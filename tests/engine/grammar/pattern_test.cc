#include "engine/grammar/pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <regex>

#include "engine/text/utf8.h"

namespace cascade::grammar {
namespace {

absl::StatusOr<Pattern> Compile(std::string_view pattern) {
  int64_t steps = 20'000'000;
  return CompilePattern(pattern, &steps);
}

bool Found(const Pattern& pattern, std::string_view text) {
  uint32_t state = 0;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = NextCodePoint(text, &at);
    uint32_t next = UINT32_MAX;
    for (const auto& [range, target] : pattern.states[state].next) {
      if (range.first <= c && c <= range.last) next = target;
    }
    if (next == UINT32_MAX) return false;
    state = next;
  }
  return pattern.states[state].accepts;
}

// Random expressions against the standard library's.
TEST(Pattern, EqualsTheStandardLibrary) {
  std::mt19937 random(5);
  const std::vector<std::string> pieces = {"a",   "b",    "c",     "ab",  ".", "[ab]", "[^a]",  "\\d",
                                           "\\w", "(",    ")",     "(?:", "|", "*",    "+",     "?",
                                           "{2}", "{1,}", "{0,2}", "^",   "$", "\\.",  "[a-c]", "\\s"};
  int compiled = 0, found = 0;
  for (int round = 0; round < 40000; ++round) {
    std::string text;
    for (size_t i = random() % 7; i > 0; --i) text += pieces[random() % pieces.size()];
    const auto pattern = Compile(text);
    if (!pattern.ok()) continue;
    std::regex standard;
    try {
      standard = std::regex(text, std::regex::ECMAScript);
    } catch (const std::regex_error&) {
      continue;  // it refuses more
    }
    ++compiled;
    for (int i = 0; i < 20; ++i) {
      std::string subject;
      for (size_t j = random() % 6; j > 0; --j) subject += "aabbcd1. _"[random() % 10];
      const bool expected = std::regex_search(subject, standard);
      found += expected;
      ASSERT_EQ(Found(*pattern, subject), expected) << text << " in " << subject;
    }
  }
  EXPECT_GT(compiled, 5000);
  EXPECT_GT(found, 5000);
}

TEST(Pattern, Characters) {
  const auto found = [](std::string_view pattern, std::string_view text) {
    const auto compiled = Compile(pattern);
    EXPECT_TRUE(compiled.ok()) << pattern << compiled.status();
    return Found(*compiled, text);
  };
  EXPECT_TRUE(found("^.$", "\xF0\x9F\x98\x80"));
  EXPECT_FALSE(found("^.$", "\n"));
  EXPECT_FALSE(found("^.$", "\xE2\x80\xA8"));
  EXPECT_TRUE(found("^[\xC3\xA0-\xC3\xBF]$", "\xC3\xA9"));
  EXPECT_FALSE(found("^[\xC3\xA0-\xC3\xBF]$", "e"));
  EXPECT_TRUE(found("^\\u00e9\\x41$",
                    "\xC3\xA9"
                    "A"));
  EXPECT_TRUE(found("^[\\]\\-^]+$", "]-^"));
  EXPECT_TRUE(found("^[a-]+$", "a-"));
  EXPECT_TRUE(found("^[^]$", "x"));
  EXPECT_FALSE(found("[]", "x"));
  EXPECT_TRUE(found("^\\s$", "\xEF\xBB\xBF"));
  EXPECT_TRUE(found("^a{2,3}?$", "aa"));
  EXPECT_TRUE(found("", "anything"));
}

TEST(Pattern, Refuses) {
  const std::pair<std::string, std::string> cases[] = {
      {"(?=a)", "look-around"},
      {"(?<n>a)", "named groups"},
      {"(?!a)", "look-around"},
      {"\\1", "\\1 is not supported"},
      {"\\b", "\\b is not supported"},
      {"\\p{L}", "\\p is not supported"},
      {"(a", "a ( without"},
      {"a)", "a ) without"},
      {"[a", "a [ without"},
      {"[b-a]", "a range"},
      {"[\\d-z]", "a range"},
      {"*", "a quantifier of nothing"},
      {"a**", "two quantifiers"},
      {"a{2", "expected {n}"},
      {"a{3,2}", "expected {n}"},
      {"a{1001}", "expected {n}"},
      {"a{x}", "expected {n}"},
      {"\\", "at the end"},
      {"\\x4", "hexadecimal"},
      {"\\ud800", "surrogate"},
      {std::string(40, '(') + std::string(40, ')'), "groups within each other"},
      {"(((a{100}){100}){100}){100}", "longer than"},
      {"(a|b)*a(a|b){40}", "too many states"},
  };
  for (const auto& [pattern, what] : cases) {
    const auto compiled = Compile(pattern);
    ASSERT_FALSE(compiled.ok()) << pattern;
    EXPECT_EQ(compiled.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(compiled.status().message()), testing::HasSubstr(what)) << pattern;
  }
}

TEST(Pattern, AllFormatsCompile) {
  const std::pair<const char*, const char*> examples[] = {{"date", "2024-11-30"},
                                                          {"date-time", "2024-11-30T12:00:00Z"},
                                                          {"time", "23:59:59.5-08:00"},
                                                          {"duration", "P3DT4H"},
                                                          {"email", "a.b@example.com"},
                                                          {"hostname", "www.example.com"},
                                                          {"ipv4", "127.0.0.1"},
                                                          {"ipv6", "2001:db8:0:0:0:0:0:1"},
                                                          {"uri", "https://example.com/a/b?c=d#e"},
                                                          {"uuid", "123e4567-e89b-12d3-a456-426614174000"}};
  for (const auto& [format, example] : examples) {
    const auto pattern = Compile(FormatPattern(format));
    ASSERT_TRUE(pattern.ok()) << format << pattern.status();
    EXPECT_TRUE(Found(*pattern, example)) << format;
    EXPECT_FALSE(Found(*pattern, "")) << format;
    EXPECT_THAT(std::string(KnownFormats()), testing::HasSubstr(format));
  }
  EXPECT_EQ(FormatPattern("int32"), "");
}

}  // namespace
}  // namespace cascade::grammar
