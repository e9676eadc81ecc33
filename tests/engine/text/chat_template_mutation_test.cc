// Damaged templates of every published family: an error or text, never a crash, a hang, or memory without bound.
#include <random>

#include "gtest/gtest.h"
#include "tests/engine/text/chat_template_families.h"

namespace cascade {
namespace {

std::string Mutate(std::string text, const std::vector<ChatFamily>& families, std::mt19937& random) {
  const std::vector<std::string> parts = {
      "{%",   "%}",    "{{",    "}}",   "{#",   "#}",       "-%}",      "'",  "\"", "\\",   "(",
      ")",    "[",     "]",     "{",    "}",    "|",        ".",        ":",  ",",  " if ", " for ",
      " in ", " is ",  " not ", "else", "~",    "*",        "**",       "//", "\n", "0",    "999999999999",
      "-1",   "1e309", "\xC3",  "\xFF", "loop", "messages", "recursive"};
  for (size_t edits = 1 + random() % 4; edits > 0 && !text.empty(); --edits) {
    const size_t pos = random() % text.size();
    switch (random() % 6) {
      case 0:
        text.insert(pos, parts[random() % parts.size()]);
        break;
      case 1:
        text.erase(pos, 1 + random() % 8);
        break;
      case 2:
        text[pos] = static_cast<char>(random());
        break;
      case 3:  // a part of it twice
        text.insert(pos, text.substr(random() % text.size(), random() % 200));
        break;
      case 4:  // cut off
        if (random() % 4 == 0) text.resize(pos);
        break;
      default: {  // a part of another
        const std::string& other = families[random() % families.size()].jinja;
        text.insert(pos, other.substr(random() % other.size(), random() % 100));
      }
    }
  }
  return text;
}

TEST(ChatTemplateMutations, AreErrorsOrTemplates) {
  const std::vector<ChatFamily> families = ChatFamilies(ReadChatGolden());
  std::mt19937 random(2024);
  int opened = 0, refused = 0;
  for (const ChatFamily& family : families) {
    const auto tokenizer = MakeTokenizer(family, PlainByteVocabulary());
    ASSERT_NE(tokenizer, nullptr);
    for (int round = 0; round < 100; ++round) {
      const std::string jinja = Mutate(family.jinja, families, random);
      const auto chat_template = CreateChatTemplate(jinja, *tokenizer, Clock::Real());
      if (!chat_template.ok()) {
        EXPECT_NE(std::string(chat_template.status().message()), "");
        ++refused;
        continue;
      }
      ++opened;
      for (const bool prompt : {false, true}) {
        const auto pieces = (*chat_template)->Render({{"system", "s"}, {"user", " u\n"}, {"assistant", "a"}}, prompt);
        if (pieces.ok()) static_cast<void>(EncodePieces(*tokenizer, *pieces));
      }
      static_cast<void>((*chat_template)->RenderTurn(ReplyEnd::kCut, 5, {{"user", "u"}}, true));
    }
  }
  std::printf("%d damaged templates opened, %d refused\n", opened, refused);
  EXPECT_GE(opened + refused, 2000);
  EXPECT_GE(opened, 200);
  EXPECT_GE(refused, 200);
}

}  // namespace
}  // namespace cascade
