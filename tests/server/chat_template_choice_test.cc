#include "server/chat_template_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "server/exit_code.h"
#include "tests/engine/text/byte_vocabulary.h"

namespace cascade {
namespace {

using ::testing::HasSubstr;

constexpr char kPlain[] = "{% for message in messages %}{{ message.role + ': ' + message.content + '\n' }}{% endfor %}";

class ChatTemplateChoice : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<ChatTemplate>> Open(const std::string& choice, const std::string& own) {
    return OpenChatTemplate(choice, own, *tokenizer_, Clock::Real());
  }
  std::string Rendered(const std::string& choice, const std::string& own) {
    const auto chat_template = Open(choice, own);
    EXPECT_TRUE(chat_template.ok()) << chat_template.status();
    if (!chat_template.ok() || *chat_template == nullptr) return "none";
    return JoinPieces(*(*chat_template)->Render({{"user", "a"}}, false));
  }
  // What it says of a choice that is none.
  std::string Refusal(const std::string& choice, const std::string& own) {
    const absl::Status status = Open(choice, own).status();
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig) << status;
    EXPECT_EQ(std::string(status.message()).find('\n'), std::string::npos) << status;
    return std::string(status.message());
  }
  std::string WriteFile(const std::string& text) {
    const std::string path = testing::TempDir() + "chat_template_choice_test.jinja";
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  std::unique_ptr<Tokenizer> tokenizer_ = *CreateTokenizer(ByteVocabulary());
};

TEST_F(ChatTemplateChoice, TheModelsOwnUnlessAnotherIsGiven) {
  EXPECT_EQ(Rendered("", kPlain), "user: a\n");
  EXPECT_EQ(Rendered("", ""), "none");
  EXPECT_EQ(Rendered("none", kPlain), "none");
  EXPECT_EQ(Rendered("chatml", kPlain), "<|im_start|>user\na<|im_end|>\n");
  EXPECT_EQ(Rendered("chatml", "{% broken"), "<|im_start|>user\na<|im_end|>\n");
  EXPECT_EQ(Rendered("none", "{% broken"), "none");
  const std::string path = WriteFile("{% for m in messages %}{{ m.content }}!{% endfor %}");
  EXPECT_EQ(Rendered(path, kPlain), "a!");
  std::remove(path.c_str());
}

TEST_F(ChatTemplateChoice, SaysWhatElseWouldDo) {
  std::string message = Refusal("", "{% for message in messages %}\n{{ message | no_such_filter }}{% endfor %}");
  for (const char* part :
       {"the model's chat template", "line 2", "no_such_filter", "--chat-template", "chatml, llama2", "none", "file"}) {
    EXPECT_THAT(message, HasSubstr(part));
  }
  message = Refusal("nobody", kPlain);
  for (const char* part :
       {"--chat-template", "\"nobody\"", "chatml, llama2, llama3, mistral, zephyr", "none", "file"}) {
    EXPECT_THAT(message, HasSubstr(part));
  }
  EXPECT_THAT(Refusal(testing::TempDir(), kPlain), HasSubstr("--chat-template"));
  std::string path = WriteFile("{% for %}");
  EXPECT_THAT(Refusal(path, kPlain), HasSubstr("line 1, column"));
  EXPECT_THAT(Refusal(path, kPlain), HasSubstr(path));
  path = WriteFile(kPlain + std::string("\xFF"));
  EXPECT_THAT(Refusal(path, kPlain), HasSubstr("is not UTF-8 at byte"));
  path = WriteFile(std::string((1 << 20) + 1, ' '));
  EXPECT_THAT(Refusal(path, kPlain), HasSubstr("1048577 bytes, a template at most 1048576"));
  path = WriteFile("");
  EXPECT_THAT(Refusal(path, kPlain), HasSubstr(path));
  std::remove(path.c_str());
}

}  // namespace
}  // namespace cascade
