#include "engine/text/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

namespace cascade {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Split(std::string_view name, std::string_view text) {
  std::vector<std::string> pieces;
  const auto pre_tokenizer = PreTokenizer::Create(name);
  EXPECT_TRUE(pre_tokenizer.ok()) << pre_tokenizer.status();
  const absl::Status status =
      (*pre_tokenizer)->Split(text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  EXPECT_TRUE(status.ok()) << status;
  return pieces;
}

TEST(PreTokenizer, Gpt2) {
  EXPECT_THAT(Split("gpt2", ""), ElementsAre());
  EXPECT_THAT(Split("gpt2", "Hello, world!  It's 2026"),
              ElementsAre("Hello", ",", " world", "!", " ", " It", "'s", " 2026"));
  EXPECT_THAT(Split("gpt-2", "a \n\n b"), ElementsAre("a", " \n\n", " b"));
  EXPECT_THAT(Split("gpt2", "end   "), ElementsAre("end", "   "));
  EXPECT_THAT(Split("gpt2", "They'LL've"), ElementsAre("They", "'", "LL", "'ve"));
}

TEST(PreTokenizer, SmollmCutsNumbersFirst) {
  EXPECT_THAT(Split("smollm", "in 2026 x½٣Ⅷ"), ElementsAre("in", " ", "2", "0", "2", "6", " x", "½", "٣", "Ⅷ"));
  // The spaces before a number end a part of the text: nothing to look ahead at.
  EXPECT_THAT(Split("smollm", "a   1"), ElementsAre("a", "   ", "1"));
  EXPECT_THAT(Split("smollm", "1"), ElementsAre("1"));
}

TEST(PreTokenizer, Llama3) {
  EXPECT_THAT(Split("llama-bpe", ""), ElementsAre());
  EXPECT_THAT(Split("llama-bpe", "I'LLx it'\u017Fx 12345"),
              ElementsAre("I", "'LL", "x", " it", "'\u017F", "x", " ", "123", "45"));
  EXPECT_THAT(Split("llama3", "  \n \r\n  x"), ElementsAre("  \n \r\n", " ", " x"));
  EXPECT_THAT(Split("llama-v3", "(a)...\n\n\tb\u2028\u2029 c"),
              ElementsAre("(a", ")...\n\n", "\tb", "\u2028\u2029", " c"));
  EXPECT_THAT(Split("llama-bpe", "a \u0085 b   "), ElementsAre("a", " \u0085", " b", "   "));
}

TEST(PreTokenizer, Qwen2) {
  EXPECT_THAT(Split("qwen2", "x 2026\u00BD y"), ElementsAre("x", " ", "2", "0", "2", "6", "\u00BD", " y"));
  EXPECT_THAT(Split("deepseek-r1-qwen", "a\n 1"), ElementsAre("a", "\n", " ", "1"));
}

TEST(PreTokenizer, SpaceIsUnicodeWhiteSpace) {
  EXPECT_THAT(Split("gpt2", "a\u00A0\u2003\u3000\u0085\u2028b"),
              ElementsAre("a", "\u00A0\u2003\u3000\u0085", "\u2028", "b"));
  // Not spaces: U+180E, U+200B, U+001C.
  EXPECT_THAT(Split("gpt2", "a\u180E\u200B\x1C b"), ElementsAre("a", "\u180E\u200B\x1C", " b"));
}

TEST(PreTokenizer, RefusesUnknownNames) {
  const absl::Status status = PreTokenizer::Create("bert").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("\"bert\""));
}

// Runs over which a careless pattern takes quadratic time, or overflows a stack. The match limit refuses the first, so
// that completion is the proof; the times are printed.
TEST(PreTokenizer, LongRuns) {
  const auto repeat = [](std::string_view part, size_t bytes) {
    std::string text;
    while (text.size() < bytes) text += part;
    return text;
  };
  for (const char* name : {"gpt2", "smollm", "llama-bpe", "qwen2"}) {
    const auto pre_tokenizer = PreTokenizer::Create(name);
    ASSERT_TRUE(pre_tokenizer.ok());
    for (const char* part : {" ", "a", "^", "\n", "😀", "1", "\u00A0", " \n", "a ", "  b", "'", "'s", "é", "\u0301",
                             " 1", " \n \n", "  \n\n", "\r\n "}) {
      for (const size_t megabytes : {1, 2}) {
        for (const char* end : {"", "x", "^"}) {
          const std::string text = repeat(part, megabytes << 20) + end;
          size_t bytes = 0;
          const auto start = std::chrono::steady_clock::now();
          const absl::Status status =
              (*pre_tokenizer)->Split(text, [&](std::string_view piece) { bytes += piece.size(); });
          const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
          ASSERT_TRUE(status.ok()) << status << " " << part;
          ASSERT_EQ(bytes, text.size());
          if (*end == '\0') std::printf("%s %zu MB of '%s': %.1f ms\n", name, megabytes, part, took.count());
        }
      }
    }
  }
}

}  // namespace
}  // namespace cascade
