// Our encoding and decoding against the library's own, on models that are trained here.
#include "engine/text/sentencepiece_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/text/text_decoder.h"
#include "tests/engine/text/sentencepiece_test_util.h"

namespace cascade {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::vector<std::string> kSpecial = {"<|im_start|>", "<|im_end|>", "<s>",    "</s>", "<unk>", "<tool>",
                                           "ab cd",        "12",         "<0x41>", "</",   "<|"};

struct Model {
  const char* name;
  const std::string& (*bytes)();
};

class SentencePieceModels : public testing::TestWithParam<Model> {
 protected:
  void SetUp() override {
    ASSERT_FALSE(GetParam().bytes().empty());
    reference = ReferenceSentencePiece::Load(GetParam().bytes());
    ASSERT_NE(reference, nullptr);
    tokenizer = MakeTokenizer(ModelVocabulary(GetParam().bytes()));
    ASSERT_NE(tokenizer, nullptr);
  }

  std::unique_ptr<ReferenceSentencePiece> reference;
  std::unique_ptr<Tokenizer> tokenizer;
};

INSTANTIATE_TEST_SUITE_P(Trained, SentencePieceModels,
                         testing::Values(Model{"Bpe", BpeModel}, Model{"PlainBpe", PlainBpeModel},
                                         Model{"Unigram", UnigramModel}, Model{"UnknownUnigram", UnknownUnigramModel}),
                         [](const auto& info) { return info.param.name; });

TEST_P(SentencePieceModels, GoldenStringsAsTheLibrary) {
  for (const std::string& text : GoldenStrings()) {
    const Ids ids = EncodeText(*tokenizer, text);
    EXPECT_EQ(ids, reference->Encode(text)) << text;
    EXPECT_EQ(DecodeText(*tokenizer, ids), reference->Decode(ids)) << text;
  }
}

TEST_P(SentencePieceModels, RandomUnicodeAsTheLibrary) {
  std::mt19937 random(1);
  for (int i = 0; i < 10000; ++i) {
    const std::string text = RandomText(&random, i % 2 ? kSpecial : std::vector<std::string>());
    const Ids ids = EncodeText(*tokenizer, text);
    ASSERT_EQ(ids, reference->Encode(text)) << i << ": " << text;
    ASSERT_EQ(DecodeText(*tokenizer, ids), reference->Decode(ids)) << i << ": " << text;
    for (const int32_t id : ids) {
      ASSERT_TRUE(id >= 0 && id < tokenizer->vocabulary_size());
      ASSERT_FALSE(tokenizer->IsControl(id)) << text;
    }
  }
}

TEST_P(SentencePieceModels, SpecialTokensSplitTheText) {
  std::mt19937 random(2);
  const std::vector<std::string> names = {"<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>"};
  for (int i = 0; i < 2000; ++i) {
    std::string text;
    Ids expected;
    for (unsigned n = random() % 4; n > 0; --n) {
      const std::string part = RandomText(&random, {});
      const std::string& name = names[random() % names.size()];
      const Ids ids = part.empty() ? Ids() : reference->Encode(part);
      expected.insert(expected.end(), ids.begin(), ids.end());
      expected.push_back(tokenizer->FindControl(name));
      ASSERT_GE(expected.back(), 0);
      text += part + name;
    }
    ASSERT_EQ(EncodeText(*tokenizer, text, true), expected) << text;
  }
}

TEST_P(SentencePieceModels, LongTextsAsTheLibrary) {
  std::mt19937 random(3);
  std::string text;
  while (text.size() < 200000) {
    text += RandomText(&random, kSpecial);
    if (random() % 64 == 0) text.append(random() % 40000, random() % 2 ? ' ' : 'a');
  }
  EXPECT_EQ(EncodeText(*tokenizer, text), reference->Encode(text));
}

TEST_P(SentencePieceModels, TokensAreDescribed) {
  EXPECT_EQ(tokenizer->vocabulary_size(), reference->size());
  EXPECT_EQ(tokenizer->TokenText(0), "<unk>");
  EXPECT_EQ(tokenizer->TokenBytes(0), " \u2047 ");
  EXPECT_FALSE(tokenizer->IsControl(0));
  EXPECT_EQ(tokenizer->unknown_id(), 0);
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), 2);
  EXPECT_EQ(tokenizer->TokenText(1), "<s>");
  EXPECT_EQ(tokenizer->TokenBytes(1), "");
  EXPECT_TRUE(tokenizer->IsControl(1));
  EXPECT_TRUE(tokenizer->adds_space());
  EXPECT_THAT(tokenizer->start_ids(), IsEmpty());
  EXPECT_THAT(tokenizer->end_ids(), testing::Contains(2));
}

TEST_P(SentencePieceModels, InvalidUtf8IsRefused) {
  for (const std::string_view text : {"\xFF", "a\xC3", "\xED\xA0\x80"}) {
    const auto ids = tokenizer->Encode(text, false);
    EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(ids.status().message()), HasSubstr("text: invalid UTF-8 at byte"));
  }
}

// The pieces, scores and types alone give the ids of the model that was trained.
TEST(SentencePieceGguf, EqualsTheTrainedModel) {
  for (const std::string* model : {&BpeModel(), &PlainBpeModel()}) {
    const auto reference = ReferenceSentencePiece::Load(*model);
    ASSERT_NE(reference, nullptr);
    const auto tokenizer = MakeTokenizer(GgufVocabulary(*model));
    ASSERT_NE(tokenizer, nullptr);
    EXPECT_THAT(tokenizer->start_ids(), ElementsAre(1));
    for (const std::string& text : GoldenStrings()) EXPECT_EQ(EncodeText(*tokenizer, text), reference->Encode(text));
    std::mt19937 random(4);
    for (int i = 0; i < 10000; ++i) {
      const std::string text = RandomText(&random, kSpecial);
      const Ids ids = EncodeText(*tokenizer, text);
      ASSERT_EQ(ids, reference->Encode(text)) << text;
      ASSERT_EQ(DecodeText(*tokenizer, ids), reference->Decode(ids)) << text;
    }
  }
}

TEST(SentencePieceTokenizer, RoundTripsWithoutANormalizer) {
  for (const SpacePrefix prefix : {SpacePrefix::kNever, SpacePrefix::kFirst, SpacePrefix::kAlways}) {
    Vocabulary vocabulary = ModelVocabulary(BpeModel());
    vocabulary.space_prefix = prefix;
    const auto tokenizer = MakeTokenizer(vocabulary);
    ASSERT_NE(tokenizer, nullptr);
    std::mt19937 random(5);
    for (int i = 0; i < 3000; ++i) {
      std::string text = RandomText(&random, kSpecial);
      // U+2581 stands for a space in pieces, so that it comes back as one.
      for (size_t at; (at = text.find("\u2581")) != std::string::npos;) text.erase(at, 3);
      ASSERT_EQ(DecodeText(*tokenizer, EncodeText(*tokenizer, text)), text);
    }
  }
}

TEST(SentencePieceTokenizer, SpaceBeforeText) {
  Vocabulary vocabulary = GgufVocabulary(PlainBpeModel());
  const auto always = MakeTokenizer(vocabulary);
  vocabulary.space_prefix = SpacePrefix::kFirst;
  const auto first = MakeTokenizer(vocabulary);
  vocabulary.space_prefix = SpacePrefix::kNever;
  const auto never = MakeTokenizer(vocabulary);
  ASSERT_TRUE(always != nullptr && first != nullptr && never != nullptr);
  EXPECT_TRUE(always->adds_space());
  EXPECT_TRUE(first->adds_space());
  EXPECT_FALSE(never->adds_space());

  const auto printed = [](const Tokenizer& tokenizer, std::string_view text, TextStart start) {
    const auto ids = tokenizer.EncodeAt(start, text, true);
    EXPECT_TRUE(ids.ok());
    std::string bytes;
    for (const int32_t id : *ids) bytes += tokenizer.IsControl(id) ? tokenizer.TokenText(id) : tokenizer.TokenBytes(id);
    return bytes;
  };
  EXPECT_EQ(printed(*always, "mi</s>to", TextStart::kText), " mi</s> to");
  EXPECT_EQ(printed(*first, "mi</s>to", TextStart::kText), " mi</s>to");
  EXPECT_EQ(printed(*never, "mi</s>to", TextStart::kText), "mi</s>to");
  EXPECT_EQ(printed(*first, "<s>mi", TextStart::kText), "<s>mi");
  EXPECT_EQ(printed(*always, "<s>mi", TextStart::kText), "<s> mi");
  EXPECT_EQ(printed(*always, "mi</s>to", TextStart::kAfterControl), " mi</s> to");
  EXPECT_EQ(printed(*first, "mi</s>to", TextStart::kAfterControl), "mi</s>to");
  EXPECT_EQ(printed(*always, "mi</s>to", TextStart::kInside), "mi</s> to");
  EXPECT_EQ(printed(*first, "mi</s>to", TextStart::kInside), "mi</s>to");
  EXPECT_THAT(EncodeText(*always, ""), IsEmpty());
  EXPECT_THAT(EncodeText(*always, "<s></s>", true), ElementsAre(1, 2));
}

TEST(SentencePieceTokenizer, ModelWithoutDummyPrefixGetsNoSpace) {
  text::PieceModel proto;
  ASSERT_TRUE(proto.ParseFromString(PlainBpeModel()));
  proto.mutable_normalizer_spec()->set_add_dummy_prefix(false);
  const auto tokenizer = MakeTokenizer(ModelVocabulary(proto.SerializeAsString()));
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_FALSE(tokenizer->adds_space());
  EXPECT_EQ(EncodeText(*tokenizer, "mi to"), ReferenceSentencePiece::Load(proto.SerializeAsString())->Encode("mi to"));
}

TEST(SentencePieceTokenizer, BytesOfEmojiNeverSplitUtf8) {
  const auto tokenizer = MakeTokenizer(ModelVocabulary(PlainBpeModel()));
  ASSERT_NE(tokenizer, nullptr);
  const std::string text = "mi \U0001F9D1\u200D\U0001F680 to \U0001F389!";
  const Ids ids = EncodeText(*tokenizer, text);
  EXPECT_EQ(
      std::count_if(ids.begin(), ids.end(), [&](int32_t id) { return tokenizer->TokenText(id).starts_with("<0xF0"); }),
      3);
  TextDecoder decoder(*tokenizer, {});
  std::string printed;
  for (const int32_t id : ids) {
    const std::string delta = decoder.Append(id);
    EXPECT_EQ(delta.find("\uFFFD"), std::string::npos);
    EXPECT_TRUE(delta.empty() || (static_cast<uint8_t>(delta[0]) & 0xC0) != 0x80);
    printed += delta;
  }
  EXPECT_EQ(printed + decoder.Finish(), " " + text);
}

TEST(SentencePieceTokenizer, AddedTokens) {
  Vocabulary vocabulary = GgufVocabulary(PlainBpeModel());
  const int32_t base = vocabulary.size;
  vocabulary.size += 4;  // the last row has no token
  vocabulary.added = {{base, "<|mark|>", true, true, false},
                      {base + 1, "{{x}}", false, false, true},
                      {base + 2, "{{x}}y", false, false, false},
                      {base + 9, "beyond", true, false, false}};
  vocabulary.space_prefix = SpacePrefix::kNever;
  const auto tokenizer = MakeTokenizer(vocabulary);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->vocabulary_size(), base + 4);
  const Ids mi = EncodeText(*tokenizer, "mi");
  const auto with = [&](Ids ids) {
    ids.insert(ids.begin(), mi.begin(), mi.end());
    ids.insert(ids.end(), mi.begin(), mi.end());
    return ids;
  };
  EXPECT_EQ(EncodeText(*tokenizer, "mi \t\u3000<|mark|>mi", true), with({base}));
  EXPECT_EQ(EncodeText(*tokenizer, "mi{{x}} \n mi"), with({base + 1}));
  EXPECT_EQ(EncodeText(*tokenizer, "mi{{x}}ymi"), with({base + 2}));
  EXPECT_EQ(DecodeText(*tokenizer, EncodeText(*tokenizer, "a<|mark|> beyond")), "a<|mark|> beyond");
  for (const int32_t id : EncodeText(*tokenizer, "a<|mark|> beyond")) EXPECT_LT(id, base);
  EXPECT_EQ(tokenizer->FindControl("<|mark|>"), base);
  EXPECT_EQ(tokenizer->FindControl("{{x}}"), -1);
  EXPECT_TRUE(tokenizer->IsControl(base));
  EXPECT_EQ(tokenizer->TokenBytes(base), "");
  EXPECT_EQ(tokenizer->TokenBytes(base + 1), "{{x}}");
  EXPECT_EQ(tokenizer->TokenText(base + 3), "");
  EXPECT_EQ(tokenizer->TokenBytes(base + 3), "");
}

// A piece that the list of added tokens makes special is not found by merging any more.
TEST(SentencePieceTokenizer, SpecialPieceIsNeverMerged) {
  Vocabulary vocabulary = GgufVocabulary(PlainBpeModel());
  const auto before = MakeTokenizer(vocabulary);
  ASSERT_NE(before, nullptr);
  int32_t piece = -1;
  for (int32_t id = 0; id < vocabulary.size && piece < 0; ++id) {
    const std::string_view text = before->TokenText(id);
    if (text.size() == 3 && EncodeText(*before, std::string(text)).back() == id) piece = id;
  }
  ASSERT_GE(piece, 0);
  const std::string text = vocabulary.tokens[piece];
  vocabulary.added = {{piece, text, true, false, false}};
  const auto after = MakeTokenizer(vocabulary);
  ASSERT_NE(after, nullptr);
  EXPECT_THAT(EncodeText(*after, text), testing::Not(testing::Contains(piece)));
  EXPECT_EQ(DecodeText(*after, EncodeText(*after, text)), text);
  EXPECT_THAT(EncodeText(*after, text, true), ElementsAre(piece));
}

// A tokenizer.model that calls the marks of a chat text.
TEST(SentencePieceTokenizer, UserDefinedMarkersAreControlTokens) {
  text::PieceModel proto;
  ASSERT_TRUE(proto.ParseFromString(BpeModel()));
  int32_t start = -1;
  int32_t tool = -1;
  for (int32_t id = 0; id < proto.pieces_size(); ++id) {
    text::PieceModel::Piece* piece = proto.mutable_pieces(id);
    if (piece->piece() == "<|im_start|>") start = id;
    if (piece->piece() == "<tool>") tool = id;
    if (id == start || piece->piece() == "<|im_end|>") piece->set_type(4);
  }
  ASSERT_TRUE(start > 0 && tool > 0);
  for (const bool is_added : {false, true}) {
    Vocabulary vocabulary = ModelVocabulary(proto.SerializeAsString());
    if (is_added) vocabulary.added = {{start, "<|im_start|>", false}};
    vocabulary.eos_id = tool;
    const auto tokenizer = MakeTokenizer(vocabulary);
    ASSERT_NE(tokenizer, nullptr);
    EXPECT_EQ(tokenizer->FindControl("<|im_start|>"), start);
    EXPECT_EQ(tokenizer->FindControl("<tool>"), tool);
    EXPECT_THAT(tokenizer->end_ids(), testing::IsSupersetOf({tool, tokenizer->FindControl("<|im_end|>")}));
    const std::string text = "mi<|im_start|>to<tool>";
    EXPECT_EQ(DecodeText(*tokenizer, EncodeText(*tokenizer, text)), text);
    for (const int32_t id : EncodeText(*tokenizer, text)) EXPECT_FALSE(tokenizer->IsControl(id));
    EXPECT_THAT(EncodeText(*tokenizer, text, true), testing::IsSupersetOf({start, tool}));
  }
}

// The library looks up a single character among all pieces, control ones too.
TEST(SentencePieceTokenizer, ControlPieceOfOneCharacterIsText) {
  Vocabulary vocabulary = GgufVocabulary(PlainBpeModel());
  vocabulary.tokens.push_back("\u00a7");
  vocabulary.scores.push_back(0);
  vocabulary.types.push_back(TokenType::kControl);
  const int32_t id = vocabulary.size++;
  const auto tokenizer = MakeTokenizer(vocabulary);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_THAT(EncodeText(*tokenizer, "mi \u00a7 mi"), testing::Not(testing::Contains(id)));
  EXPECT_EQ(DecodeText(*tokenizer, EncodeText(*tokenizer, "mi \u00a7 mi")), "mi \u00a7 mi");
  EXPECT_THAT(EncodeText(*tokenizer, "\u00a7", true), ElementsAre(id));
}

}  // namespace
}  // namespace cascade
