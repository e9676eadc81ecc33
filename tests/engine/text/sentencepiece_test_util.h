// Models, texts and vocabularies that the tests of SentencePiece share.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cascade_text/piece_model.pb.h"
#include "engine/text/tokenizer.h"
#include "engine/text/vocabulary.h"
#include "tests/support/sentencepiece_reference.h"

namespace cascade {

using Ids = std::vector<int32_t>;

// Characters of many scripts, with what is hard about them: combining marks, compatibility forms, joiners, rare planes.
inline const std::vector<std::string>& HardStrings() {
  static const auto* const strings = new std::vector<std::string>{"é",
                                                                  "e\u0301",
                                                                  "ﬁ",
                                                                  "Ｆｕｌｌ",
                                                                  "①",
                                                                  "㍿",
                                                                  "½",
                                                                  "ß",
                                                                  "İ",
                                                                  "漢字",
                                                                  "かな",
                                                                  "한글",
                                                                  "\u1112\u1161\u11ab",
                                                                  "Ж",
                                                                  "ж",
                                                                  "ع",
                                                                  "ﻉ",
                                                                  "ש",
                                                                  "ไทย",
                                                                  "हिन्दी",
                                                                  "👍",
                                                                  "👍🏽",
                                                                  "👨\u200d👩\u200d👧",
                                                                  "𝔸",
                                                                  "\u200b",
                                                                  "\u00a0",
                                                                  "\u3000",
                                                                  "\t",
                                                                  "\n",
                                                                  "\r\n",
                                                                  "\u2581",
                                                                  "\ufeff",
                                                                  "\ufdfa",
                                                                  "\ufffd",
                                                                  "\u0001",
                                                                  "…",
                                                                  "—",
                                                                  "\U0010ffff",
                                                                  "\ue000"};
  return *strings;
}

// Sentences of made-up words in the frequencies of real ones, some with other scripts and digits.
inline std::vector<std::string> TrainingSentences() {
  static constexpr std::string_view kSyllables[] = {"ka", "to", "mi", "ren", "sol", "ba",  "th", "er", "in",  "ou",
                                                    "st", "an", "le", "vo",  "qu",  "ing", "es", "al", "pro", "ch"};
  std::minstd_rand random(7);
  std::vector<std::string> words;
  for (int i = 0; i < 800; ++i) {
    std::string word;
    for (unsigned n = 1 + random() % 4; n > 0; --n) word += kSyllables[random() % std::size(kSyllables)];
    if (random() % 8 == 0) word[0] = static_cast<char>(word[0] - 'a' + 'A');
    words.push_back(std::move(word));
  }
  std::vector<std::string> sentences;
  for (int i = 0; i < 3000; ++i) {
    std::string sentence;
    for (unsigned n = 3 + random() % 12; n > 0; --n) {
      const double x = static_cast<double>(random() % 10000) / 10000;
      sentence += words[static_cast<size_t>(x * x * x * static_cast<double>(words.size()))];
      if (random() % 16 == 0) sentence += std::to_string(random() % 3000);
      if (random() % 24 == 0) sentence += HardStrings()[random() % HardStrings().size()];
      sentence += random() % 10 == 0 ? ", " : random() % 20 == 0 ? "  " : " ";
    }
    sentences.push_back(sentence + ".");
  }
  return sentences;
}

inline std::string Train(const std::string& flags) {
  static const auto* const sentences = new std::vector<std::string>(TrainingSentences());
  return TrainSentencePiece(
      "--vocab_size=900 --control_symbols=<|im_start|>,<|im_end|> "
      "--user_defined_symbols=<tool>,ab\u2581cd,12 --max_sentencepiece_length=12 " +
          flags,
      *sentences);
}

// Each is trained once in a test program.
inline const std::string& BpeModel() {
  static const auto* const model =
      new std::string(Train("--model_type=bpe --byte_fallback=true --normalization_rule_name=identity "
                            "--remove_extra_whitespaces=false --character_coverage=0.995"));
  return *model;
}
// Without a user-defined piece across a space: the way long texts go.
inline const std::string& PlainBpeModel() {
  static const auto* const model =
      new std::string(TrainSentencePiece("--control_symbols=<|im_start|>,<|im_end|> --vocab_size=700 --model_type=bpe "
                                         "--byte_fallback=true --normalization_rule_name=identity "
                                         "--remove_extra_whitespaces=false --character_coverage=0.995",
                                         TrainingSentences()));
  return *model;
}
inline const std::string& UnigramModel() {
  static const auto* const model =
      new std::string(Train("--model_type=unigram --byte_fallback=true --normalization_rule_name=nmt_nfkc "
                            "--character_coverage=0.995"));
  return *model;
}
inline const std::string& UnknownUnigramModel() {  // no bytes: what it does not know is lost
  static const auto* const model =
      new std::string(Train("--model_type=unigram --normalization_rule_name=nmt_nfkc --character_coverage=0.98"));
  return *model;
}

inline Vocabulary ModelVocabulary(const std::string& model) {
  Vocabulary vocabulary;
  vocabulary.kind = TokenizerKind::kSentencePiece;
  vocabulary.origin = "tokenizer.model";
  vocabulary.sentencepiece_model = model;
  vocabulary.space_prefix = SpacePrefix::kAlways;
  text::PieceModel proto;
  vocabulary.size = proto.ParseFromString(model) ? proto.pieces_size() : 1;
  return vocabulary;
}

// The model as a GGUF file has it.
inline Vocabulary GgufVocabulary(const std::string& model) {
  text::PieceModel proto;
  EXPECT_TRUE(proto.ParseFromString(model));
  Vocabulary vocabulary;
  vocabulary.kind = TokenizerKind::kSentencePiece;
  vocabulary.size = proto.pieces_size();
  for (const auto& piece : proto.pieces()) {
    vocabulary.tokens.push_back(piece.piece());
    vocabulary.scores.push_back(piece.score());
    vocabulary.types.push_back(static_cast<TokenType>(piece.type() - 1));
  }
  vocabulary.space_prefix = SpacePrefix::kAlways;
  vocabulary.unknown_id = 0;
  vocabulary.bos_id = 1;
  vocabulary.eos_id = 2;
  vocabulary.add_bos = true;
  return vocabulary;
}

inline std::unique_ptr<Tokenizer> MakeTokenizer(const Vocabulary& vocabulary) {
  auto tokenizer = CreateTokenizer(vocabulary);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

inline Ids EncodeText(const Tokenizer& tokenizer, std::string_view text, bool parse_special = false) {
  const auto ids = tokenizer.Encode(text, parse_special);
  EXPECT_TRUE(ids.ok()) << ids.status();
  return ids.value_or(Ids{-1});
}

inline std::vector<std::string> GoldenStrings() {
  const char* folder = std::getenv("CASCADE_GOLDEN_DIR");
  std::ifstream file(std::string(folder == nullptr ? "" : folder) + "/tokenizer_bpe.json");
  const nlohmann::json golden = nlohmann::json::parse(file, nullptr, false);
  std::vector<std::string> strings;
  for (const char* list : {"cases", "with_special_tokens"}) {
    for (const auto& item : golden[list]) strings.push_back(item["text"]);
  }
  EXPECT_GE(strings.size(), 22u);
  return strings;
}

// Unicode of all kinds; `special` strings here and there.
inline std::string RandomText(std::mt19937* random, const std::vector<std::string>& special) {
  static const auto* const sentences = new std::vector<std::string>(TrainingSentences());
  std::string text;
  for (unsigned n = (*random)() % 24; n > 0; --n) {
    switch ((*random)() % 8) {
      case 0: {
        char32_t point = (*random)() % 0x110000;
        if (point >= 0xD800 && point < 0xE000) point = 'x';
        const char bytes[] = {static_cast<char>(0xF0 | point >> 18), static_cast<char>(0x80 | (point >> 12 & 0x3F)),
                              static_cast<char>(0x80 | (point >> 6 & 0x3F)), static_cast<char>(0x80 | (point & 0x3F))};
        if (point < 0x80) {
          text += static_cast<char>(point);
        } else if (point < 0x800) {
          text += {static_cast<char>(0xC0 | point >> 6), bytes[3]};
        } else if (point < 0x10000) {
          text += {static_cast<char>(0xE0 | point >> 12), bytes[2], bytes[3]};
        } else {
          text.append(bytes, 4);
        }
        break;
      }
      case 1:
        text += static_cast<char>((*random)() % 128);  // NUL as well
        break;
      case 2:
        text += HardStrings()[(*random)() % HardStrings().size()];
        break;
      case 3:
        text += (*random)() % 2 ? " " : "  ";
        break;
      case 4:
        if (!special.empty()) text += special[(*random)() % special.size()];
        break;
      default: {
        const std::string& sentence = (*sentences)[(*random)() % sentences->size()];
        // Whole characters only: cut at a space.
        const size_t begin = sentence.find(' ', (*random)() % sentence.size());
        if (begin == std::string::npos) break;
        const size_t end = sentence.find(' ', begin + 1 + (*random)() % 16);
        if (end != std::string::npos) text += sentence.substr(begin, end - begin);
      }
    }
  }
  return text;
}

}  // namespace cascade
