#include "engine/text/bpe_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "engine/text/utf8.h"
#include "tests/engine/text/byte_vocabulary.h"

namespace cascade {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<int32_t> Encode(const Tokenizer& tokenizer, std::string_view text, bool parse_special = false) {
  const auto ids = tokenizer.Encode(text, parse_special);
  EXPECT_TRUE(ids.ok()) << ids.status();
  return ids.value_or(std::vector<int32_t>());
}

std::string RandomText(std::mt19937& random, int length) {
  const char32_t limits[] = {0x80, 0x80, 0x800, 0x10000, 0x110000};
  std::string text;
  for (int i = 0; i < length; ++i) {
    char32_t c = random() % limits[random() % 5];
    if (c >= 0xD800 && c < 0xE000) c = '\n';
    if (c < 0x80) {
      text.push_back(random() % 2 == 0 ? "a aab  \n\ners<|im_end|>7"[random() % 23] : static_cast<char>(c));
    } else if (c < 0x800) {
      text += {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
    } else if (c < 0x10000) {
      text += {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3F)),
               static_cast<char>(0x80 | (c & 0x3F))};
    } else {
      text += {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 0x3F)),
               static_cast<char>(0x80 | (c >> 6 & 0x3F)), static_cast<char>(0x80 | (c & 0x3F))};
    }
  }
  return text;
}

TEST(BpeMerger, BestRankThenLeftmost) {
  std::array<int32_t, 256> bytes;
  for (int i = 0; i < 256; ++i) bytes[i] = i;
  bytes['?'] = -1;
  BpeMerger merger(bytes);
  EXPECT_TRUE(merger.AddMerge('b', 'c', 300));
  EXPECT_TRUE(merger.AddMerge('a', 'b', 301));
  EXPECT_TRUE(merger.AddMerge('a', 'a', 302));
  EXPECT_TRUE(merger.AddMerge(301, 300, 303));
  EXPECT_FALSE(merger.AddMerge('a', 'b', 304));
  BpeMerger::Workspace workspace;
  const auto merge = [&](std::string_view piece) {
    std::vector<int32_t> ids;
    merger.Merge(piece, &workspace, &ids);
    return ids;
  };
  EXPECT_THAT(merge(""), ElementsAre());
  EXPECT_THAT(merge("x"), ElementsAre('x'));
  EXPECT_THAT(merge("abc"), ElementsAre('a', 300));
  EXPECT_THAT(merge("abbc"), ElementsAre(303));
  EXPECT_THAT(merge("aaa"), ElementsAre(302, 'a'));
  EXPECT_THAT(merge("aaaab"), ElementsAre(302, 'a', 301));
  EXPECT_THAT(merge("a?b?"), ElementsAre('a', 'b'));  // a byte without a token keeps its neighbours apart
  EXPECT_THAT(merge("?"), ElementsAre());
}

TEST(BpeMerger, EqualsTheQuadraticRule) {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    std::array<int32_t, 256> bytes;
    for (int i = 0; i < 256; ++i) bytes[i] = i;
    BpeMerger merger(bytes);
    std::vector<std::array<int32_t, 3>> rules;
    std::vector<int32_t> known = {'a', 'b', 'c'};
    for (int i = 0; i < 12; ++i) {
      const std::array<int32_t, 3> rule = {known[random() % known.size()], known[random() % known.size()], 300 + i};
      if (!merger.AddMerge(rule[0], rule[1], rule[2])) continue;
      rules.push_back(rule);
      known.push_back(rule[2]);
    }
    std::string text;
    for (int i = 0; i < 60; ++i) text.push_back("abc"[random() % 3]);
    std::vector<int32_t> expected(text.begin(), text.end());
    for (bool merged = true; merged;) {
      merged = false;
      for (const auto& [left, right, result] : rules) {
        for (size_t i = 0; i + 1 < expected.size() && !merged; ++i) {
          if (expected[i] != left || expected[i + 1] != right) continue;
          expected[i] = result;
          expected.erase(expected.begin() + static_cast<std::ptrdiff_t>(i) + 1);
          merged = true;
        }
        if (merged) break;
      }
    }
    std::vector<int32_t> ids;
    BpeMerger::Workspace workspace;
    merger.Merge(text, &workspace, &ids);
    ASSERT_EQ(ids, expected) << text;
  }
}

TEST(BpeMerger, WorkIsLinearInThePiece) {
  std::array<int32_t, 256> bytes;
  for (int i = 0; i < 256; ++i) bytes[i] = i;
  BpeMerger merger(bytes);
  int32_t last = 'a';
  for (int i = 0; i < 12; ++i) {
    ASSERT_TRUE(merger.AddMerge(last, last, 300 + i));
    last = 300 + i;
  }
  for (const size_t size : {1 << 20, 2 << 20}) {
    BpeMerger::Workspace workspace;
    std::vector<int32_t> ids;
    merger.Merge(std::string(size, 'a'), &workspace, &ids);
    EXPECT_EQ(ids.size(), size >> 12);
    EXPECT_LE(workspace.steps, static_cast<int64_t>(3 * size));
  }
}

TEST(BpeTokenizer, ControlTokensOnlyWhenAsked) {
  Vocabulary vocabulary = ByteVocabulary();
  vocabulary.tokens.push_back("<|im_end|>x");
  vocabulary.types.push_back(TokenType::kControl);
  vocabulary.tokens.push_back("<user>");
  vocabulary.types.push_back(TokenType::kUserDefined);
  vocabulary.size = 261;
  const auto tokenizer = *CreateTokenizer(vocabulary);
  EXPECT_EQ(tokenizer->vocabulary_size(), 261);
  EXPECT_THAT(Encode(*tokenizer, "<|im_end|>").size(), 10u);
  EXPECT_THAT(Encode(*tokenizer, "<|im_end|>y", true), ElementsAre(2, 3 + 'y'));
  EXPECT_THAT(Encode(*tokenizer, "<|im_end|>x", true), ElementsAre(259));  // the longest
  EXPECT_THAT(Encode(*tokenizer, "<|im_end|<|im_end|><user>", true).size(), 9u + 2u);
  EXPECT_THAT(Encode(*tokenizer, "a<user>"), ElementsAre(3 + 'a', 260));
  EXPECT_TRUE(tokenizer->IsControl(2));
  EXPECT_FALSE(tokenizer->IsControl(260));
  EXPECT_EQ(tokenizer->TokenBytes(2), "");
  EXPECT_EQ(tokenizer->TokenBytes(260), "<user>");
  EXPECT_EQ(tokenizer->FindControl("<|im_start|>"), 1);
  EXPECT_EQ(tokenizer->FindControl("<|im_start|> "), -1);
  EXPECT_EQ(tokenizer->FindControl("<|im_"), -1);
  EXPECT_EQ(tokenizer->FindControl("<user>"), -1);
  EXPECT_EQ(tokenizer->FindControl(""), -1);
  EXPECT_THAT(tokenizer->end_ids(), ElementsAre(0, 2));
  EXPECT_THAT(tokenizer->start_ids(), ElementsAre());
}

TEST(BpeTokenizer, NamesTheInvalidByte) {
  const auto tokenizer = *CreateTokenizer(ByteVocabulary());
  const absl::Status status = tokenizer->Encode("caf\xC3\xA9 \xED\xA0\x80", false).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("byte 6"));
}

TEST(BpeTokenizer, RoundTripsRandomUnicode) {
  const auto tokenizer = *CreateTokenizer(ByteVocabulary(LivelyMerges()));
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) {
    const std::string text = RandomText(random, static_cast<int>(random() % 60));
    const std::vector<int32_t> ids = Encode(*tokenizer, text);
    ASSERT_EQ(DecodeText(*tokenizer, ids), text);
    for (const int32_t id : ids) ASSERT_FALSE(tokenizer->IsControl(id));
  }
}

TEST(BpeTokenizer, DecodeReplacesBrokenCharacters) {
  const auto tokenizer = *CreateTokenizer(ByteVocabulary());
  EXPECT_EQ(DecodeText(*tokenizer, {3 + 'a', 3 + 0xE2, 2, 3 + 0x82, 3 + 0xAC, 3 + 0xFF, 3 + 0xC3}),
            "a\u20AC\uFFFD\uFFFD");
}

}  // namespace
}  // namespace cascade
