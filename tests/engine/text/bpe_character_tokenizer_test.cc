#include "engine/text/bpe_character_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "engine/text/nfc.h"

namespace cascade {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Ids: 0 <unk>, 1 <s>, 2 </s>, 3 + b for byte b, then the characters and merges below.
Vocabulary SmallVocabulary() {
  Vocabulary vocabulary;
  vocabulary.kind = TokenizerKind::kCharacterBpe;
  vocabulary.origin = "folder/tokenizer.json";
  vocabulary.tokens = {"<unk>", "<s>", "</s>"};
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", static_cast<unsigned>(byte));
    vocabulary.tokens.push_back(name);
  }
  vocabulary.types.assign(3, TokenType::kNormal);
  vocabulary.types.resize(259, TokenType::kByte);
  vocabulary.tokens.insert(vocabulary.tokens.end(), {"\u2581", "a", "b", "aa", "\u2581a"});  // 259 ..
  vocabulary.types.resize(vocabulary.tokens.size(), TokenType::kNormal);
  vocabulary.merges = {"a a", "\u2581 a"};
  vocabulary.added = {{0, "<unk>", true}, {1, "<s>", true}, {2, "</s>", true}};
  vocabulary.size = static_cast<int32_t>(vocabulary.tokens.size());
  vocabulary.unknown_id = 0;
  vocabulary.space_prefix = SpacePrefix::kAlways;
  return vocabulary;
}

std::unique_ptr<Tokenizer> Make(const Vocabulary& vocabulary) {
  auto tokenizer = CreateTokenizer(vocabulary);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

std::vector<int32_t> Encode(const Tokenizer& tokenizer, std::string_view text, bool parse_special = true) {
  return tokenizer.Encode(text, parse_special).value_or(std::vector<int32_t>{-1});
}

TEST(BpeCharacterTokenizer, WhereTheSpaceIsPut) {
  Vocabulary vocabulary = SmallVocabulary();
  auto tokenizer = Make(vocabulary);
  EXPECT_TRUE(tokenizer->adds_space());
  EXPECT_THAT(Encode(*tokenizer, ""), ElementsAre());
  EXPECT_THAT(Encode(*tokenizer, "a</s>b"), ElementsAre(263, 2, 259, 261));
  EXPECT_THAT(Encode(*tokenizer, " a"), ElementsAre(259, 263));
  EXPECT_THAT(*tokenizer->EncodeAt(TextStart::kInside, "a</s>a", true), ElementsAre(260, 2, 263));
  EXPECT_THAT(*tokenizer->EncodeAt(TextStart::kAfterControl, "a", true), ElementsAre(263));
  EXPECT_EQ(DecodeText(*tokenizer, {263, 2, 259, 261}), "a b");
  EXPECT_EQ(DecodeText(*tokenizer, {259, 263}), " a");
  vocabulary.pre_tokenizer = "metaspace";
  vocabulary.space_prefix = SpacePrefix::kFirst;
  tokenizer = Make(vocabulary);
  EXPECT_THAT(Encode(*tokenizer, "a</s>b"), ElementsAre(263, 2, 261));
  EXPECT_THAT(Encode(*tokenizer, "<s>a"), ElementsAre(1, 260));
  EXPECT_THAT(Encode(*tokenizer, " a"), ElementsAre(263));
  EXPECT_THAT(*tokenizer->EncodeAt(TextStart::kAfterControl, "a", true), ElementsAre(260));
  vocabulary.space_prefix = SpacePrefix::kNever;
  tokenizer = Make(vocabulary);
  EXPECT_FALSE(tokenizer->adds_space());
  EXPECT_THAT(Encode(*tokenizer, "a a"), ElementsAre(260, 263));
  EXPECT_EQ(DecodeText(*tokenizer, {263}), " a");
}

TEST(BpeCharacterTokenizer, BytesAndUnknownCharacters) {
  Vocabulary vocabulary = SmallVocabulary();
  vocabulary.space_prefix = SpacePrefix::kNever;
  auto tokenizer = Make(vocabulary);
  EXPECT_THAT(Encode(*tokenizer, "aé"), ElementsAre(260, 3 + 0xC3, 3 + 0xA9));
  EXPECT_EQ(tokenizer->TokenBytes(3 + 0xC3), "\xC3");
  EXPECT_EQ(tokenizer->TokenText(3 + 0xC3), "<0xC3>");
  EXPECT_EQ(tokenizer->TokenBytes(0), "");
  for (auto& type : vocabulary.types) type = TokenType::kNormal;
  tokenizer = Make(vocabulary);
  EXPECT_THAT(Encode(*tokenizer, "aéèa"), ElementsAre(260, 0, 260));  // one for the run
  vocabulary.unknown_id = -1;
  EXPECT_THAT(std::string(CreateTokenizer(vocabulary).status().message()),
              HasSubstr("tokenizer.json: tokens: no unknown"));
}

TEST(BpeCharacterTokenizer, AddedTokensTakeWhiteSpaceAndNormalForm) {
  Vocabulary vocabulary = SmallVocabulary();
  vocabulary.size += 4;
  vocabulary.added.push_back({264, "<l>", false, true, false});
  vocabulary.added.push_back({265, "<r>", false, false, true});
  vocabulary.added.push_back({266, "N", false, false, false, true});
  vocabulary.added.push_back({900, "beyond the rows", false});
  const auto tokenizer = Make(vocabulary);
  EXPECT_THAT(Encode(*tokenizer, "a \u3000<l> a"), ElementsAre(263, 264, 259, 263));
  EXPECT_THAT(Encode(*tokenizer, "a<r>\t\n a"), ElementsAre(263, 265, 263));
  EXPECT_THAT(Encode(*tokenizer, "N"), ElementsAre(266));  // after the space that is added, as its own text has one
  EXPECT_THAT(Encode(*tokenizer, "a<l><r>"), ElementsAre(263, 264, 265));
  EXPECT_EQ(tokenizer->TokenText(267), "");
  EXPECT_EQ(tokenizer->TokenBytes(267), "");
  EXPECT_FALSE(tokenizer->IsControl(267));
}

TEST(BpeCharacterTokenizer, RefusesWhatDoesNotFit) {
  Vocabulary vocabulary = SmallVocabulary();
  vocabulary.added.push_back({5, "other", false});
  EXPECT_THAT(std::string(CreateTokenizer(vocabulary).status().message()),
              HasSubstr("added_tokens[3]: \"other\" has id 5"));
  vocabulary.added.back() = {-4, "other", false};
  EXPECT_THAT(std::string(CreateTokenizer(vocabulary).status().message()), HasSubstr("id -4 is negative"));
  vocabulary.added.pop_back();
  vocabulary.pre_tokenizer = "words";
  EXPECT_EQ(CreateTokenizer(vocabulary).status().code(), absl::StatusCode::kUnimplemented);
}

// Eight megabytes in one piece: completes, in n log n.
TEST(BpeCharacterTokenizer, LongTextsWithoutSpaces) {
  const auto tokenizer = Make(SmallVocabulary());
  for (const std::string part : {"a", "ab", "b", "é", " "}) {
    std::string text;
    while (text.size() < size_t{8} << 20) text += part;
    const std::vector<int32_t> ids = Encode(*tokenizer, text);
    ASSERT_TRUE(DecodeText(*tokenizer, ids) == text) << part;
  }
}

TEST(Nfc, ComposesAndOrders) {
  const auto nfc = [](std::string_view text) {
    bool changed = false;
    const std::string normal = *ToNfc(text, &changed);
    return changed ? normal : std::string(text);
  };
  EXPECT_EQ(nfc(""), "");
  EXPECT_EQ(nfc("plain é"), "plain é");
  EXPECT_EQ(nfc("e\u0301"), "é");
  EXPECT_EQ(nfc("\u0301e"), "\u0301e");
  EXPECT_EQ(nfc("xa\u0301\u0323y"), "x\u1EA1\u0301y");
  EXPECT_EQ(nfc("\u1112\u1161\u11AB日本\uF900"), "한日本\u8C48");
  EXPECT_EQ(nfc("\u0958"), "\u0915\u093C");  // excluded from composition
  // A megabyte of marks that are all in the wrong order.
  std::string marks = "a";
  for (int i = 0; i < 250000; ++i) marks += "\u0301\u0323";
  EXPECT_EQ(nfc(marks).size(), marks.size() + 3 - 3);  // the first U+0323 goes into U+1EA1
}

}  // namespace
}  // namespace cascade
