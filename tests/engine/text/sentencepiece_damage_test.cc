// Damaged models: an error or a tokenizer that works, never a crash. Most useful under a sanitizer.
#include <gtest/gtest.h>

#include <limits>

#include "tests/engine/text/sentencepiece_test_util.h"

namespace cascade {
namespace {

constexpr int kMutations = 2000;

// What must hold of any tokenizer that was accepted.
void Use(const Tokenizer& tokenizer, std::mt19937* random) {
  for (int i = 0; i < 3; ++i) {
    const auto ids = tokenizer.Encode(RandomText(random, {"<s>", "<|im_end|>", "aaaaaaaa", "12"}), i % 2 != 0);
    ASSERT_TRUE(ids.ok()) << ids.status();
    for (const int32_t id : *ids) {
      ASSERT_TRUE(id >= 0 && id < tokenizer.vocabulary_size());
      ASSERT_TRUE(i % 2 != 0 || !tokenizer.IsControl(id));
    }
    DecodeText(tokenizer, *ids);
  }
}

// Counts what was accepted: tests that only ever see one outcome would show nothing.
void Try(const Vocabulary& vocabulary, std::mt19937* random, int* accepted) {
  const auto tokenizer = CreateTokenizer(vocabulary);
  if (!tokenizer.ok()) {
    EXPECT_TRUE(tokenizer.status().code() == absl::StatusCode::kInvalidArgument ||
                tokenizer.status().code() == absl::StatusCode::kUnimplemented)
        << tokenizer.status();
    EXPECT_LT(tokenizer.status().message().size(), 500u);
    return;
  }
  ++*accepted;
  Use(**tokenizer, random);
}

void Damage(std::string* bytes, std::mt19937* random) {
  const auto place = [&] { return (*random)() % bytes->size(); };
  for (unsigned n = 1 + (*random)() % 3; n > 0 && !bytes->empty(); --n) {
    switch ((*random)() % 6) {
      case 0:
        (*bytes)[place()] = static_cast<char>((*random)());
        break;
      case 1:
        (*bytes)[place()] ^= static_cast<char>(1 << (*random)() % 8);
        break;
      case 2:
        bytes->resize(place());
        break;
      case 3: {
        const size_t begin = place();
        bytes->erase(begin, 1 + (*random)() % 40);
        break;
      }
      case 4: {
        const std::string part = bytes->substr(place(), 1 + (*random)() % 200);
        bytes->insert(place(), part);
        break;
      }
      default:
        for (size_t at = place(), end = std::min(bytes->size(), at + 8); at < end; ++at) (*bytes)[at] = '\xFF';
    }
  }
}

class DamagedModel : public testing::TestWithParam<const std::string& (*)()> {};
INSTANTIATE_TEST_SUITE_P(SentencePiece, DamagedModel, testing::Values(&BpeModel, &UnigramModel, &UnknownUnigramModel));

TEST_P(DamagedModel, BytesOfTheFile) {
  std::mt19937 random(1);
  int accepted = 0;
  for (int i = 0; i < kMutations; ++i) {
    Vocabulary vocabulary = ModelVocabulary(GetParam()());
    Damage(&vocabulary.sentencepiece_model, &random);
    Try(vocabulary, &random, &accepted);
  }
  EXPECT_GT(accepted, kMutations / 50);
  EXPECT_LT(accepted, kMutations);
}

// The proto stays whole, so that its fields are reached.
TEST_P(DamagedModel, FieldsOfTheFile) {
  std::mt19937 random(2);
  text::PieceModel model;
  ASSERT_TRUE(model.ParseFromString(GetParam()()));
  int accepted = 0;
  for (int i = 0; i < kMutations; ++i) {
    text::PieceModel damaged = model;
    auto* piece = damaged.mutable_pieces(static_cast<int>(random() % static_cast<unsigned>(damaged.pieces_size())));
    switch (random() % 8) {
      case 0:
        piece->set_type(static_cast<int32_t>(random() % 8));
        break;
      case 1:
        piece->set_piece(damaged.pieces(static_cast<int>(random() % 900)).piece() + static_cast<char>(random()));
        break;
      case 2:
        piece->set_score(random() % 2 ? std::numeric_limits<float>::infinity() : 1e9f);
        break;
      case 3:
        piece->set_piece(std::string(random() % 2000, 'a'));
        piece->set_type(static_cast<int32_t>(1 + random() % 6));
        break;
      case 4:
        damaged.mutable_trainer_spec()->set_model_type(static_cast<int32_t>(random() % 4));
        break;
      case 5:
        damaged.mutable_pieces()->DeleteSubrange(static_cast<int>(random() % 900),
                                                 static_cast<int>(random() % 10) % damaged.pieces_size() / 90);
        break;
      default: {
        std::string* map = damaged.mutable_normalizer_spec()->mutable_precompiled_charsmap();
        if (map->empty()) {
          map->assign(4 + 1024 + random() % 100, '\0');
          (*map)[1] = 4;
        }
        // The units of the trie near its root, or anywhere.
        for (unsigned n = 1 + random() % 4; n > 0; --n) {
          (*map)[4 + random() % (random() % 2 ? 1024 : map->size() - 4)] = static_cast<char>(random());
        }
      }
    }
    Try(ModelVocabulary(damaged.SerializeAsString()), &random, &accepted);
  }
  EXPECT_GT(accepted, kMutations / 50);
  EXPECT_LT(accepted, kMutations);
}

TEST(DamagedGgufVocabulary, IsRefusedOrWorks) {
  std::mt19937 random(3);
  const Vocabulary whole = GgufVocabulary(BpeModel());
  int accepted = 0;
  for (int i = 0; i < kMutations; ++i) {
    Vocabulary damaged = whole;
    const size_t at = random() % damaged.tokens.size();
    switch (random() % 9) {
      case 0:
        damaged.types[at] = static_cast<TokenType>(random() % 6);
        break;
      case 1:
        damaged.tokens[at] = damaged.tokens[random() % damaged.tokens.size()] + static_cast<char>(random());
        break;
      case 2:
        damaged.scores[at] = random() % 2 ? std::numeric_limits<float>::quiet_NaN() : -3;
        break;
      case 3:
        damaged.tokens[at].assign(random() % 1500, 'a');
        break;
      case 4:
        damaged.size = static_cast<int32_t>(1 + random() % 1200);
        break;
      case 5:
        damaged.added.push_back({static_cast<int32_t>(random() % 1200) - 2, damaged.tokens[at], random() % 2 == 0,
                                 random() % 2 == 0, random() % 2 == 0});
        break;
      case 6:
        damaged.bos_id = damaged.unknown_id = static_cast<int32_t>(random() % 1200) - 2;
        break;
      case 7:
        damaged.scores.resize(random() % 2000);
        break;
      default:
        for (TokenType& type : damaged.types) {
          if (random() % 2) type = static_cast<TokenType>(random() % 2 ? 4 : 3);
        }
        break;
    }
    Try(damaged, &random, &accepted);
  }
  EXPECT_GT(accepted, kMutations / 50);
  EXPECT_LT(accepted, kMutations);
}

}  // namespace
}  // namespace cascade
