// Tokenizers from tokenizer.json against the `tokenizers` library (tests/golden/tokenizers).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/model/tokenizer_files.h"
#include "engine/text/nfc.h"
#include "engine/text/text_decoder.h"
#include "engine/text/utf8.h"
#include "tests/engine/text/tokenizer_strings.h"
#include "tests/support/sha1.h"

namespace cascade {
namespace {

using Ids = std::vector<int32_t>;
constexpr size_t kPerDigest = 100;
constexpr size_t kCount = 10000;

std::string ReadGolden(const std::string& name) {
  const char* folder = std::getenv("CASCADE_GOLDEN_DIR");
  std::ifstream file(std::string(folder == nullptr ? "" : folder) + "/" + name);
  EXPECT_TRUE(file) << name;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

nlohmann::json ReadJson(const std::string& name) { return nlohmann::json::parse(ReadGolden(name), nullptr, false); }

class TokenizerLibraryTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    expected_ = ReadJson("tokenizers/expected.json")[GetParam()];
    ASSERT_TRUE(expected_.is_object());
    const std::string json = ReadGolden(std::string("tokenizers/") + GetParam() + ".json");
    TokenizerFiles files;
    files.tokenizer_json = json;
    auto read = ReadTokenizerFiles(files, 4096, "folder");
    ASSERT_TRUE(read.ok()) << read.status();
    auto created = CreateTokenizer(read->vocabulary);
    ASSERT_TRUE(created.ok()) << created.status();
    tokenizer_ = *std::move(created);
  }

  Ids Encode(const std::string& text, bool parse_special) const {
    const auto ids = tokenizer_->Encode(text, parse_special);
    EXPECT_TRUE(ids.ok()) << ids.status();
    return ids.value_or(Ids());
  }

  std::string Stream(const Ids& ids) const {
    TextDecoder decoder(*tokenizer_, {});
    std::string text;
    for (const int32_t id : ids) {
      const std::string part = decoder.Append(id);
      EXPECT_EQ(FindInvalidUtf8(part), std::string_view::npos);
      text += part;
    }
    return text + decoder.Finish();
  }

  nlohmann::json expected_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

std::string Line(const Ids& ids) {
  std::string line;
  for (const int32_t id : ids) line += (line.empty() ? "" : " ") + std::to_string(id);
  return line + "\n";
}

TEST_P(TokenizerLibraryTest, EqualIdsOfFixedTexts) {
  const nlohmann::json golden = ReadJson("tokenizer_bpe.json");
  std::vector<std::string> texts;
  for (const char* key : {"cases", "with_special_tokens"}) {
    for (const auto& item : golden[key]) texts.push_back(item["text"]);
  }
  ASSERT_GE(texts.size(), 22u);
  ASSERT_EQ(texts.size(), expected_["fixed"].size());
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(Encode(texts[i], false), expected_["fixed"][i].get<Ids>()) << texts[i];
  }
}

// Ids, decoded text, and the text of a stream, which keeps the space that the tokenizer added.
TEST_P(TokenizerLibraryTest, EqualDigestsOfRandomTexts) {
  test::TokenizerStrings strings(expected_["added"].get<std::vector<std::string>>());
  ASSERT_EQ(expected_["plain"].size(), kCount / kPerDigest);
  for (size_t chunk = 0; chunk < kCount / kPerDigest; ++chunk) {
    std::string plain;
    std::string special;
    std::string decoded;
    for (size_t i = 0; i < kPerDigest; ++i) {
      const std::string text = strings.String(chunk * kPerDigest + i);
      plain += Line(Encode(text, false));
      const Ids ids = Encode(text, true);
      special += Line(ids);
      const std::string whole = DecodeText(*tokenizer_, ids);
      decoded += whole + "\n";
      const std::string streamed = Stream(ids);
      ASSERT_TRUE(streamed == whole || (tokenizer_->adds_space() && streamed == " " + whole)) << text;
    }
    ASSERT_EQ(test::Sha1(plain), expected_["plain"][chunk].get<std::string>()) << "plain chunk " << chunk;
    ASSERT_EQ(test::Sha1(special), expected_["special"][chunk].get<std::string>()) << "special chunk " << chunk;
    ASSERT_EQ(test::Sha1(decoded), expected_["decoded"][chunk].get<std::string>()) << "decoded chunk " << chunk;
  }
}

// Texts without added tokens come back as they are, but for what the form of the vocabulary cannot keep.
TEST_P(TokenizerLibraryTest, RoundTrips) {
  test::TokenizerStrings strings({"plain"});
  const std::string name = GetParam();
  const bool keeps_space = tokenizer_->adds_space();
  int round_trips = 0;
  for (size_t i = 0; i < 2000; ++i) {
    std::string text = strings.String(1000000 + i);
    if (keeps_space && (text.find("\u2581") != std::string::npos || text.starts_with(' '))) continue;
    const Ids ids = Encode(text, false);
    // Without byte tokens there are unknown characters, which are not printed.
    if (name == "llama2_words" && std::count(ids.begin(), ids.end(), tokenizer_->unknown_id()) > 0) continue;
    bool changed = false;
    if (name == "qwen2") {
      const std::string normal = *ToNfc(text, &changed);
      if (changed) text = normal;
    }
    ASSERT_EQ(DecodeText(*tokenizer_, ids), text);
    ++round_trips;
  }
  EXPECT_GE(round_trips, name == "llama2_words" ? 10 : 500);
}

TEST_P(TokenizerLibraryTest, TheTemplatesFirstTokenBeginsSessions) {
  const int32_t begin = tokenizer_->FindControl("<|begin|>");
  ASSERT_GE(begin, 0);
  EXPECT_EQ(tokenizer_->bos_id(), begin);
  EXPECT_EQ(tokenizer_->start_ids(), Ids{begin});
  EXPECT_EQ(tokenizer_->TokenText(begin), "<|begin|>");
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerLibraryTest,
                         testing::Values("gpt2", "smollm", "llama3", "qwen2", "llama2_prepend", "llama2_metaspace",
                                         "llama2_words"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace cascade
