// Published templates render as Python's jinja2 renders them for transformers.
#include <chrono>
#include <map>

#include "engine/text/builtin_templates.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/text/chat_template_families.h"

namespace cascade {
namespace {

using ::testing::HasSubstr;

class FixedClock final : public Clock {
 public:
  explicit FixedClock(int64_t seconds) : now_(std::chrono::seconds(seconds)) {}
  std::chrono::steady_clock::time_point Now() const override { return {}; }
  std::chrono::system_clock::time_point WallNow() const override { return std::chrono::system_clock::time_point(now_); }

 private:
  const std::chrono::system_clock::duration now_;
};

std::vector<ChatMessage> ToMessages(const nlohmann::json& conversation) {
  std::vector<ChatMessage> messages;
  for (const auto& message : conversation) messages.push_back({message["role"], message["content"]});
  return messages;
}

TEST(ChatTemplateGolden, HasTheTemplates) {
  std::vector<std::string> names;
  for (const ChatFamily& family : ChatFamilies(ReadChatGolden())) names.push_back(family.name);
  const std::vector<std::string> expected = {
      "chatml", "deepseek_coder", "deepseek_r1", "gemma2", "llama2", "llama3", "llama3_1", "llama3_2", "mistral",
      "mistral_nemo", "mistral_v1_gptq", "mistral_v3", "openchat", "phi3", "phi3_small", "qwen1_5", "qwen2_5",
      "smollm2", "tinyllama", "vicuna", "zephyr"};
  EXPECT_THAT(names, ::testing::UnorderedElementsAreArray(expected));
}

TEST(ChatTemplateGolden, RendersAsPython) {
  const nlohmann::json golden = ReadChatGolden();
  const FixedClock clock(golden["now"].get<int64_t>());
  int texts = 0, errors = 0;
  for (const ChatFamily& family : ChatFamilies(golden)) {
    const auto tokenizer = MakeTokenizer(family, PlainByteVocabulary());
    ASSERT_NE(tokenizer, nullptr);
    const auto chat_template = CreateChatTemplate(family.jinja, *tokenizer, clock);
    EXPECT_TRUE(chat_template.ok()) << family.name << ": " << chat_template.status();
    if (!chat_template.ok()) continue;
    for (const auto& item : family.cases) {
      const std::string title = item["conversation"];
      const auto pieces =
          (*chat_template)->Render(ToMessages(golden["conversations"][title]), item["add_generation_prompt"]);
      if (item.contains("text")) {
        ++texts;
        ASSERT_TRUE(pieces.ok()) << family.name << ", " << title << ": " << pieces.status();
        EXPECT_EQ(JoinPieces(*pieces), item["text"].get<std::string>()) << family.name << ", " << title;
      } else {
        ++errors;
        EXPECT_EQ(pieces.status().code(), absl::StatusCode::kInvalidArgument) << family.name << ", " << title;
        if (item.contains("raised")) {
          EXPECT_THAT(std::string(pieces.status().message()), HasSubstr(item["raised"].get<std::string>()));
        }
      }
    }
  }
  EXPECT_GE(texts, 500);
  EXPECT_GE(errors, 70);
}

TEST(ChatTemplateGolden, BuiltinTemplatesAreThePublishedOnes) {
  for (const char* name : {"chatml", "llama2", "llama3", "mistral", "zephyr"}) {
    EXPECT_EQ(BuiltinTemplate(name), ReadGoldenFile(std::string(name) + ".jinja")) << name;
  }
  EXPECT_EQ(BuiltinTemplateNames(), "chatml, llama2, llama3, mistral, zephyr");
  EXPECT_EQ(BuiltinTemplate("Chatml"), "");
  EXPECT_EQ(BuiltinTemplate(""), "");
}

// Which of them a session can use, and with a system message.
TEST(ChatTemplateGolden, SessionsUseThoseThatKeepEarlierTurns) {
  const std::map<std::string, std::string> refused = {{"deepseek_r1", "leaves the reasoning out"}};
  const std::vector<std::string> moves_system = {"mistral_nemo", "mistral_v3"};
  for (const ChatFamily& family : ChatFamilies(ReadChatGolden())) {
    const auto tokenizer = MakeTokenizer(family, PlainByteVocabulary());
    const auto chat_template = CreateChatTemplate(family.jinja, *tokenizer, Clock::Real());
    ASSERT_TRUE(chat_template.ok()) << family.name << ": " << chat_template.status();
    const absl::Status& sessions = (*chat_template)->sessions();
    const auto reason = refused.find(family.name);
    EXPECT_EQ(sessions.ok(), reason == refused.end()) << family.name << ": " << sessions;
    if (reason != refused.end()) {
      EXPECT_THAT(std::string(sessions.message()), HasSubstr(reason->second));
    }
    const bool moves = std::find(moves_system.begin(), moves_system.end(), family.name) != moves_system.end();
    EXPECT_EQ((*chat_template)->CheckFirstTurn({{"system", "a"}, {"user", "b"}}).ok(), !moves) << family.name;
    EXPECT_TRUE((*chat_template)->CheckFirstTurn({{"user", "b"}}).ok());
  }
}

}  // namespace
}  // namespace cascade
