// What is refused, and by what name.
#include "engine/text/sentencepiece_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>

#include "engine/text/sentencepiece_charsmap.h"
#include "tests/engine/text/sentencepiece_test_util.h"

namespace cascade {
namespace {

using absl::StatusCode;
using testing::HasSubstr;
using text::PieceModel;

struct FileCase {
  const char* name;
  StatusCode code;
  const char* message;
  std::function<void(PieceModel*)> change;
};

class WrongModelFile : public testing::TestWithParam<FileCase> {};

TEST_P(WrongModelFile, IsRefusedByName) {
  PieceModel proto;
  ASSERT_TRUE(proto.ParseFromString(UnigramModel()));
  GetParam().change(&proto);
  Vocabulary vocabulary = ModelVocabulary(UnigramModel());
  vocabulary.sentencepiece_model = proto.SerializeAsString();
  const auto tokenizer = CreateTokenizer(vocabulary);
  EXPECT_EQ(tokenizer.status().code(), GetParam().code) << tokenizer.status();
  EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr(GetParam().message));
}

constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;
constexpr StatusCode kUnimplemented = StatusCode::kUnimplemented;

INSTANTIATE_TEST_SUITE_P(
    SentencePiece, WrongModelFile,
    testing::Values(FileCase{"NoPieces", kInvalid, "tokenizer.model: pieces: missing or empty",
                             [](PieceModel* m) { m->clear_pieces(); }},
                    FileCase{"Words", kUnimplemented, "tokenizer.model: trainer_spec.model_type: 3;",
                             [](PieceModel* m) { m->mutable_trainer_spec()->set_model_type(3); }},
                    FileCase{"Suffix", kUnimplemented, "trainer_spec.treat_whitespace_as_suffix",
                             [](PieceModel* m) { m->mutable_trainer_spec()->set_treat_whitespace_as_suffix(true); }},
                    FileCase{"BareSpaces", kUnimplemented, "normalizer_spec.escape_whitespaces",
                             [](PieceModel* m) { m->mutable_normalizer_spec()->set_escape_whitespaces(false); }},
                    FileCase{"Denormalizer", kUnimplemented, "denormalizer_spec",
                             [](PieceModel* m) {
                               *m->mutable_denormalizer_spec()->mutable_precompiled_charsmap() =
                                   m->normalizer_spec().precompiled_charsmap();
                             }},
                    FileCase{"NoUnknown", kInvalid, "pieces: none is the unknown piece",
                             [](PieceModel* m) { m->mutable_pieces(0)->set_type(1); }},
                    FileCase{"TwoUnknown", kInvalid, "pieces[5]: a second unknown piece; pieces[0] is one already",
                             [](PieceModel* m) { m->mutable_pieces(5)->set_type(2); }},
                    FileCase{"UnknownType", kInvalid, "pieces[7]: type 9 is not known",
                             [](PieceModel* m) { m->mutable_pieces(7)->set_type(9); }},
                    FileCase{"EmptyPiece", kInvalid, "pieces[400]: is empty",
                             [](PieceModel* m) { m->mutable_pieces(400)->set_piece(""); }},
                    FileCase{"LongPiece", kInvalid, "pieces[400]: has 1025 bytes",
                             [](PieceModel* m) { m->mutable_pieces(400)->set_piece(std::string(1025, 'x')); }},
                    FileCase{"NotUtf8", kInvalid, "pieces[400]: is not UTF-8",
                             [](PieceModel* m) { m->mutable_pieces(400)->set_piece("a\xFF"); }},
                    FileCase{"Nul", kInvalid, "pieces[400]: is not UTF-8 without NUL",
                             [](PieceModel* m) { m->mutable_pieces(400)->set_piece(std::string("a\0b", 3)); }},
                    FileCase{"Twice", kInvalid, "is pieces[400] already",
                             [](PieceModel* m) { m->mutable_pieces(401)->set_piece(m->pieces(400).piece()); }},
                    FileCase{"ControlTwice", kInvalid, "pieces[400]: \"<s>\" is pieces[1] already",
                             [](PieceModel* m) { m->mutable_pieces(400)->set_piece("<s>"); }},
                    FileCase{"NanScore", kInvalid, "pieces[400]: score nan",
                             [](PieceModel* m) { m->mutable_pieces(400)->set_score(std::nanf("")); }},
                    FileCase{"HugeScore", kInvalid, "pieces[400]: score",
                             [](PieceModel* m) { m->mutable_pieces(400)->set_score(3e38f); }},
                    FileCase{"ByteWithoutFallback", kInvalid, "is a byte, but trainer_spec.byte_fallback is false",
                             [](PieceModel* m) { m->mutable_trainer_spec()->set_byte_fallback(false); }},
                    FileCase{"NoByte", kInvalid, "is no byte",
                             [](PieceModel* m) {
                               for (auto& piece : *m->mutable_pieces()) {
                                 if (piece.piece() == "<0x41>") piece.set_piece("<0x4>");
                               }
                             }},
                    FileCase{"MissingByte", kInvalid, "pieces: byte <0x41> has no piece",
                             [](PieceModel* m) {
                               for (auto& piece : *m->mutable_pieces()) {
                                 if (piece.piece() == "<0x41>") piece.set_type(5);
                               }
                             }},
                    FileCase{"NestedUserDefined", kInvalid, "more than 64 user-defined pieces begin",
                             [](PieceModel* m) {
                               for (int i = 0; i < 65; ++i) {
                                 m->mutable_pieces(400 + i)->set_piece(std::string(i + 20, '#'));
                                 m->mutable_pieces(400 + i)->set_type(4);
                               }
                             }},
                    FileCase{"Surface", kInvalid, "trainer_spec.unk_surface",
                             [](PieceModel* m) { m->mutable_trainer_spec()->set_unk_surface(std::string(65, 'x')); }},
                    FileCase{"ShortCharsMap", kInvalid, "normalizer_spec.precompiled_charsmap: it has 3 bytes",
                             [](PieceModel* m) { m->mutable_normalizer_spec()->set_precompiled_charsmap("abc"); }},
                    FileCase{"OnlyControl", kInvalid, "pieces: none is text",
                             [](PieceModel* m) {
                               m->mutable_pieces()->DeleteSubrange(2, m->pieces_size() - 2);
                               m->mutable_trainer_spec()->set_byte_fallback(false);
                             }}),
    [](const auto& info) { return info.param.name; });

TEST(SentencePieceModel, NotAModel) {
  Vocabulary vocabulary = ModelVocabulary(UnigramModel());
  vocabulary.sentencepiece_model = "{\"version\": \"1.0\"}";
  EXPECT_THAT(std::string(CreateTokenizer(vocabulary).status().message()),
              HasSubstr("tokenizer.model: not a SentencePiece model"));
}

struct GgufCase {
  const char* message;
  std::function<void(Vocabulary*)> change;
};

TEST(SentencePieceModel, WrongGgufVocabulary) {
  const GgufCase cases[] = {
      {"tokenizer.ggml.scores: 3 scores for", [](Vocabulary* v) { v->scores.resize(3); }},
      {"tokenizer.ggml.token_type: 0 types for", [](Vocabulary* v) { v->types.clear(); }},
      {"tokenizer.ggml.scores[7]: score inf", [](Vocabulary* v) { v->scores[7] = INFINITY; }},
      {"tokenizer.ggml.tokens[300]: is not UTF-8", [](Vocabulary* v) { v->tokens[300] = "\xC0\x80"; }},
      {"tokenizer.ggml.tokens[301]: ", [](Vocabulary* v) { v->tokens[301] = v->tokens[300]; }},
      {"tokenizer.ggml.tokens: none is the unknown piece",
       [](Vocabulary* v) {
         v->types[0] = TokenType::kNormal;
         v->unknown_id = -1;
       }},
      {"tokenizer.ggml.tokens: byte <0x", [](Vocabulary* v) { v->types[100] = TokenType::kNormal; }},
      {"tokenizer.ggml.tokens: none is text", [](Vocabulary* v) { v->size = 200; }},  // the rest is left out
      {"tokenizer.ggml.added_tokens[0]: has no text",
       [](Vocabulary* v) {
         v->added = {{400, "", true, false, false}};
       }},
      {"tokenizer.ggml.added_tokens[0]: id -3",
       [](Vocabulary* v) {
         v->added = {{-3, "x", true, false, false}};
       }},
  };
  for (const GgufCase& item : cases) {
    Vocabulary vocabulary = GgufVocabulary(PlainBpeModel());
    item.change(&vocabulary);
    const auto tokenizer = CreateTokenizer(vocabulary);
    EXPECT_EQ(tokenizer.status().code(), kInvalid) << item.message;
    EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr(item.message));
  }
}

TEST(SentencePieceModel, UnknownIdMakesTheUnknownPiece) {
  Vocabulary vocabulary = GgufVocabulary(PlainBpeModel());
  vocabulary.types[0] = TokenType::kNormal;
  const auto tokenizer = MakeTokenizer(vocabulary);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->unknown_id(), 0);
}

// llama.cpp accepts them as well.
TEST(SentencePieceModel, GgufTokensWithoutText) {
  Vocabulary vocabulary = GgufVocabulary(PlainBpeModel());
  for (int i = 0; i < 2; ++i) {
    vocabulary.tokens.push_back("");
    vocabulary.scores.push_back(0);
    vocabulary.types.push_back(TokenType::kNormal);
    ++vocabulary.size;
  }
  const auto tokenizer = MakeTokenizer(vocabulary);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->TokenText(vocabulary.size - 1), "");
  EXPECT_EQ(tokenizer->TokenBytes(vocabulary.size - 1), "");
  EXPECT_FALSE(tokenizer->IsControl(vocabulary.size - 1));
}

TEST(SentencePieceModel, PiecesBeyondTheModelAreLeftOut) {
  for (const std::string* model : {&UnknownUnigramModel(), &PlainBpeModel()}) {
    Vocabulary vocabulary = ModelVocabulary(*model);
    vocabulary.size -= 100;
    const auto tokenizer = MakeTokenizer(vocabulary);
    ASSERT_NE(tokenizer, nullptr);
    std::mt19937 random(6);
    for (int i = 0; i < 1000; ++i) {
      for (const int32_t id : EncodeText(*tokenizer, RandomText(&random, {}))) ASSERT_LT(id, vocabulary.size);
    }
  }
}

// Units of a trie, by hand: a root whose child `label` is at 1 ^ label.
std::string CharsMap(const std::function<void(std::vector<uint32_t>*)>& change, std::string replacements) {
  std::vector<uint32_t> units(256, 0x80000000u);
  units[0] = 1u << 10;
  change(&units);
  std::string map(4, '\0');
  const uint32_t bytes = 1024;
  std::memcpy(map.data(), &bytes, 4);
  map.append(reinterpret_cast<const char*>(units.data()), bytes);
  return map + replacements;
}

uint32_t Unit(size_t at, size_t base, char label, bool has_leaf) {
  return static_cast<uint32_t>((at ^ base) << 10) | (has_leaf ? 1u << 8 : 0u) | static_cast<uint8_t>(label);
}

TEST(SentencePieceCharsMap, WrongTries) {
  const std::string text("y\0", 2);
  const size_t a = 1 ^ 'a';
  EXPECT_TRUE(CheckCharsMap(CharsMap([](auto*) {}, text)).ok());
  EXPECT_TRUE(CheckCharsMap(CharsMap(
                                [&](auto* units) {
                                  (*units)[a] = Unit(a, 2, 'a', true);
                                  (*units)[2] = 0x80000000u;
                                },
                                text))
                  .ok());
  const auto message = [](const std::string& map) { return std::string(CheckCharsMap(map).message()); };
  EXPECT_THAT(message(CharsMap([](auto* units) { (*units)[0] = 300u << 10; }, text)), HasSubstr("outside itself"));
  EXPECT_THAT(message(CharsMap([&](auto* units) { (*units)[a] = Unit(a, 4096, 'a', true); }, text)),
              HasSubstr("outside itself"));
  EXPECT_THAT(message(CharsMap([&](auto* units) { (*units)[a] = Unit(a, 1, 'a', false); }, text)),
              HasSubstr("in a circle"));
  EXPECT_THAT(message(CharsMap(
                  [&](auto* units) {
                    for (size_t base = 1; base <= 40; ++base) {
                      const size_t at = 100 + base;
                      (*units)[at] = Unit(at, base + 1, static_cast<char>(at ^ base), true);
                    }
                  },
                  text)),
              HasSubstr("more than 32 rules apply at one place"));
  const auto leaf = [&](auto* units) { (*units)[a] = Unit(a, 2, 'a', true); };
  EXPECT_THAT(message(CharsMap(leaf, std::string(300, 'x') + '\0')),
              HasSubstr("a replacement has more than 256 bytes"));
  EXPECT_THAT(message(CharsMap(leaf, std::string("\xFF\0", 2))), HasSubstr("is not UTF-8"));
  EXPECT_THAT(message(CharsMap(leaf, "x")), HasSubstr("has no end"));
  EXPECT_THAT(message(CharsMap(leaf, "")), HasSubstr("its trie has 1024 bytes of 1024"));
}

}  // namespace
}  // namespace cascade
