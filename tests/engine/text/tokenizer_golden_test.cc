// The demo model's tokenizer and template against known-good answers.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "engine/model/model_source.h"
#include "engine/text/chat_template.h"
#include "engine/text/text_decoder.h"
#include "engine/text/tokenizer.h"
#include "engine/text/vocabulary.h"

namespace cascade {
namespace {

using Ids = std::vector<int32_t>;

class DemoModel : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const char* path = std::getenv("CASCADE_DEMO_MODEL");
    ASSERT_TRUE(path != nullptr && *path != '\0') << "CASCADE_DEMO_MODEL is not set";
    auto opened = OpenModel(path);
    ASSERT_TRUE(opened.ok()) << opened.status();
    source = std::move(*opened);
    auto created = CreateTokenizer(source->vocabulary());
    ASSERT_TRUE(created.ok()) << created.status();
    tokenizer = std::move(*created);
  }
  static void TearDownTestSuite() {
    tokenizer.reset();
    source.reset();
  }
  void SetUp() override { ASSERT_NE(tokenizer, nullptr); }

  static nlohmann::json ReadGolden(const std::string& name) {
    const char* folder = std::getenv("CASCADE_GOLDEN_DIR");
    std::ifstream file(std::string(folder == nullptr ? "" : folder) + "/" + name);
    EXPECT_TRUE(file) << name;
    return nlohmann::json::parse(file, nullptr, false);
  }

  static Ids Encode(const std::string& text, bool parse_special) {
    const auto ids = tokenizer->Encode(text, parse_special);
    EXPECT_TRUE(ids.ok()) << ids.status();
    return ids.value_or(Ids());
  }

  static inline std::unique_ptr<ModelSource> source;
  static inline std::unique_ptr<Tokenizer> tokenizer;
};

TEST_F(DemoModel, EqualsGoldenCases) {
  const nlohmann::json golden = ReadGolden("tokenizer_bpe.json");
  ASSERT_GE(golden["cases"].size(), 20u);
  ASSERT_GE(golden["with_special_tokens"].size(), 2u);
  for (const auto& item : golden["cases"]) {
    EXPECT_EQ(Encode(item["text"], false), item["ids"].get<Ids>()) << item["text"];
    EXPECT_EQ(DecodeText(*tokenizer, item["ids"].get<Ids>()), item["text"].get<std::string>());
  }
  for (const auto& item : golden["with_special_tokens"]) {
    EXPECT_EQ(Encode(item["text"], true), item["ids"].get<Ids>()) << item["text"];
  }
}

TEST_F(DemoModel, EqualsReferenceOnRandomText) {
  const nlohmann::json golden = ReadGolden("tokenizer_random.json");
  ASSERT_GE(golden["cases"].size(), 300u);
  for (const auto& item : golden["cases"]) {
    const Ids ids = item["ids"].get<Ids>();
    ASSERT_EQ(Encode(item["text"], false), ids) << item["text"];
    ASSERT_EQ(Encode(item["text"], true), item.contains("special_ids") ? item["special_ids"].get<Ids>() : ids)
        << item["text"];
    const std::string text = item["text"];
    ASSERT_EQ(DecodeText(*tokenizer, ids), text);
    TextDecoder decoder(*tokenizer, {"never in these texts"});
    std::string streamed;
    for (const int32_t id : ids) streamed += decoder.Append(id);
    streamed += decoder.Finish();
    ASSERT_EQ(streamed, text);
  }
}

TEST_F(DemoModel, ChatsAsPublished) {
  const auto chat_template = CreateChatTemplate(source->chat_template(), *tokenizer, Clock::Real());
  ASSERT_TRUE(chat_template.ok()) << chat_template.status();
  const nlohmann::json golden = ReadGolden("dense_and_greedy.json");
  ASSERT_GE(golden["greedy"].size(), 3u);
  for (const auto& item : golden["greedy"]) {
    std::vector<ChatMessage> messages;
    for (const auto& message : item["messages"]) messages.push_back({message["role"], message["content"]});
    const auto pieces = (*chat_template)->Render(messages, true);
    ASSERT_TRUE(pieces.ok()) << pieces.status();
    EXPECT_EQ(JoinPieces(*pieces), item["rendered"].get<std::string>());
    EXPECT_EQ(*EncodePieces(*tokenizer, *pieces), item["prompt_ids"].get<Ids>());
  }
}

TEST_F(DemoModel, SpecialIds) {
  EXPECT_EQ(tokenizer->vocabulary_size(), 49152);
  EXPECT_EQ(tokenizer->end_ids(), (Ids{0, 2}));
  EXPECT_EQ(tokenizer->start_ids(), Ids{});
  EXPECT_EQ(tokenizer->FindControl("<|im_start|>"), 1);
  EXPECT_TRUE(tokenizer->IsControl(16));
  EXPECT_FALSE(tokenizer->IsControl(17));
}

// A megabyte of one thing: completes, and gives the text back. The times are printed.
TEST_F(DemoModel, LongRuns) {
  for (const char* part : {" ", "a", "^", "\n", "😀", "0", "-", "=", "the ", "\u3000", "<|im_", "é"}) {
    for (const size_t megabytes : {1, 2}) {
      std::string text;
      while (text.size() < megabytes << 20) text += part;
      const auto start = std::chrono::steady_clock::now();
      const Ids ids = Encode(text, true);
      const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
      ASSERT_TRUE(DecodeText(*tokenizer, ids) == text) << part;
      std::printf("%zu MB of '%s': %zu ids, %.0f ms\n", megabytes, part, ids.size(), took.count());
    }
  }
}

}  // namespace
}  // namespace cascade
