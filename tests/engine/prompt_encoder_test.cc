#include "engine/prompt_encoder.h"

#include <algorithm>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/text/chat_template_families.h"

namespace cascade {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Ids = std::vector<int32_t>;

TurnRequest MessagesTurn(std::vector<ChatMessage> messages, const std::string& session = "") {
  TurnRequest request;
  request.session_id = session;
  request.prompt = std::move(messages);
  return request;
}

std::string RandomContent(std::mt19937& random) {
  const std::vector<std::string> parts = {
      "a",  "b",    " ",      "\n",   "  ",         "\n\n",    "1",   "user",    "<|",         "|>", "é", "你好",
      "\t", "🙂", "[INST]", "</s>", "<|im_end|>", "[/INST]", "<s>", "<|end|>", "<|eot_id|>", ".",  "'", "\\n"};
  std::string text;
  for (size_t i = 0; i < 1 + random() % 7; ++i) text += parts[random() % parts.size()];
  return text;
}

// As a model would answer: no white space at its ends, which templates trim and tokenizers join with what stands there.
std::string RandomReply(std::mt19937& random) {
  const char* const ends[] = {"a", "b", "us", "st", "é", "你"};
  return ends[random() % 6] + RandomContent(random) + ends[random() % 6];
}

// One session after another with random turns: its ids are those of the whole conversation, rendered at once.
void CheckSessions(const ChatFamily& family, const Tokenizer& tokenizer, int rounds) {
  SCOPED_TRACE(family.name);
  const auto created = CreateChatTemplate(family.jinja, tokenizer, Clock::Real());
  ASSERT_TRUE(created.ok()) << created.status();
  const ChatTemplate& chat_template = **created;
  ASSERT_TRUE(chat_template.sessions().ok()) << chat_template.sessions();
  const auto whole_ids = [&](std::vector<ChatMessage> messages) {
    const auto ids = EncodePrompt(MessagesTurn(std::move(messages)), {}, tokenizer, &chat_template);
    EXPECT_TRUE(ids.ok()) << ids.status();
    return ids.value_or(Ids());
  };
  const bool takes_system = chat_template.CheckFirstTurn({{"system", "a"}, {"user", "b"}}).ok() &&
                            chat_template.Render({{"system", "a"}, {"user", "b"}}, true).ok();
  std::mt19937 random(33);
  int turns = 0;
  for (int round = 0; round < rounds; ++round) {
    std::vector<ChatMessage> all;
    Ids session;
    PromptPlace place;
    const size_t count = 2 + random() % 5;
    for (size_t turn = 0; turn < count; ++turn, ++turns) {
      std::vector<ChatMessage> added;
      if (turn == 0 && takes_system && random() % 2 == 0) added.push_back({"system", RandomContent(random)});
      added.push_back({"user", RandomContent(random)});
      place.position = static_cast<int64_t>(session.size());
      place.last_id = session.empty() ? -1 : session.back();
      const auto ids = EncodePrompt(MessagesTurn(added, "s"), place, tokenizer, &chat_template);
      ASSERT_TRUE(ids.ok()) << ids.status();
      session.insert(session.end(), ids->begin(), ids->end());
      all.insert(all.end(), added.begin(), added.end());
      ASSERT_EQ(session, whole_ids(all)) << "turn " << turn;

      // The reply as the whole conversation has it: what follows the session there, up to the first control token.
      all.push_back({"assistant", RandomReply(random)});
      std::vector<ChatMessage> longer = all;
      longer.push_back({"user", "x"});
      const Ids whole = whole_ids(longer);
      ASSERT_TRUE(std::equal(session.begin(), session.end(), whole.begin())) << all.back().content;
      const auto begin = whole.begin() + static_cast<std::ptrdiff_t>(session.size());
      const auto end = std::find_if(begin, whole.end(), [&](int32_t id) { return tokenizer.IsControl(id); });
      ASSERT_NE(end, whole.end());
      Ids reply(begin, end);
      place.last_reply = random() % 2 == 0 ? ReplyEnd::kCut : ReplyEnd::kEndToken;
      if (place.last_reply == ReplyEnd::kEndToken) {
        reply.push_back(*end);
      } else {
        // Cut before what the template writes between a reply and its end, which is the next turn's then.
        const std::string text = DecodeText(tokenizer, reply);
        const size_t extra = text.size() - std::min(text.size(), text.find_last_not_of(" \n") + 1);
        while (extra > 0 && DecodeText(tokenizer, reply).size() + extra > text.size()) reply.pop_back();
      }
      session.insert(session.end(), reply.begin(), reply.end());
    }
  }
  EXPECT_GT(turns, 2 * rounds);
}

TEST(PromptEncoder, TurnsOfASessionEqualTheWholeConversation) {
  int families = 0;
  for (const ChatFamily& family : ChatFamilies(ReadChatGolden())) {
    if (family.name == "deepseek_r1") continue;  // rewrites earlier turns: refused
    const auto tokenizer = MakeTokenizer(family, PlainByteVocabulary());
    ASSERT_NE(tokenizer, nullptr);
    CheckSessions(family, *tokenizer, 60);
    ++families;
  }
  EXPECT_GE(families, 19);
}

// Tokenizers that put a space before text: in a session only where the whole conversation has one.
TEST(PromptEncoder, AlsoWithAddedSpaces) {
  int families = 0;
  for (const ChatFamily& family : ChatFamilies(ReadChatGolden())) {
    if (family.unk.empty() || family.name == "smollm2") continue;  // another kind of vocabulary
    for (const TokenizerKind kind : {TokenizerKind::kCharacterBpe, TokenizerKind::kSentencePiece}) {
      for (const SpacePrefix prefix : {SpacePrefix::kNever, SpacePrefix::kFirst, SpacePrefix::kAlways}) {
        const auto tokenizer = MakeTokenizer(family, SpaceVocabulary(kind, prefix));
        ASSERT_NE(tokenizer, nullptr);
        SCOPED_TRACE(static_cast<int>(kind) * 10 + static_cast<int>(prefix));
        CheckSessions(family, *tokenizer, 20);
      }
    }
    ++families;
  }
  EXPECT_GE(families, 9);
}

ChatFamily Family(const std::string& name) {
  for (ChatFamily& family : ChatFamilies(ReadChatGolden())) {
    if (family.name == name) return family;
  }
  ADD_FAILURE() << name;
  return {};
}

// What the next turn adds, as text: control tokens as they are spelled.
class NextTurn : public ::testing::Test {
 protected:
  void Use(const std::string& name) {
    const ChatFamily family = Family(name);
    tokenizer_ = MakeTokenizer(family, PlainByteVocabulary());
    auto created = CreateChatTemplate(family.jinja, *tokenizer_, Clock::Real());
    ASSERT_TRUE(created.ok()) << created.status();
    chat_template_ = *std::move(created);
  }
  std::string After(ReplyEnd end, const std::string& last_token) {
    const int32_t control = tokenizer_->FindControl(last_token);
    const PromptPlace place = {10, end, control >= 0 ? control : tokenizer_->Encode(last_token, false)->back()};
    const auto ids = EncodePrompt(MessagesTurn({{"user", "hi"}}, "s"), place, *tokenizer_, chat_template_.get());
    EXPECT_TRUE(ids.ok()) << ids.status();
    std::string text;
    for (const int32_t id : ids.value_or(Ids())) {
      text += tokenizer_->IsControl(id) ? tokenizer_->TokenText(id) : tokenizer_->TokenBytes(id);
    }
    return text;
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplate> chat_template_;
};

TEST_F(NextTurn, ClosesTheReplyByWhatIsMissing) {
  const std::string chatml = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n";
  for (const char* name : {"chatml", "smollm2", "qwen1_5", "qwen2_5"}) {
    SCOPED_TRACE(name);
    Use(name);
    EXPECT_EQ(After(ReplyEnd::kEndToken, "<|im_end|>"), "\n" + chatml);
    EXPECT_EQ(After(ReplyEnd::kCut, "a"), "<|im_end|>\n" + chatml);
    EXPECT_EQ(After(ReplyEnd::kEndToken, "<|other_end|>"), "<|im_end|>\n" + chatml);
    EXPECT_EQ(After(ReplyEnd::kNone, "a"), chatml);
  }
  Use("llama2");
  EXPECT_EQ(After(ReplyEnd::kEndToken, "</s>"), "<s>[INST] hi [/INST]");
  EXPECT_EQ(After(ReplyEnd::kCut, "a"), " </s><s>[INST] hi [/INST]");
  EXPECT_EQ(After(ReplyEnd::kNone, "a"), "<s>[INST] hi [/INST]");
  for (const char* name : {"llama3", "llama3_1", "llama3_2"}) {
    SCOPED_TRACE(name);
    Use(name);
    const std::string turn =
        "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n";
    EXPECT_EQ(After(ReplyEnd::kEndToken, "<|eot_id|>"), turn);
    EXPECT_EQ(After(ReplyEnd::kEndToken, "<|eom_id|>"), "<|eot_id|>" + turn);
    EXPECT_EQ(After(ReplyEnd::kCut, "a"), "<|eot_id|>" + turn);
    EXPECT_EQ(After(ReplyEnd::kNone, "a"), turn);
  }
  Use("mistral");
  EXPECT_EQ(After(ReplyEnd::kEndToken, "</s>"), " [INST] hi [/INST]");
  EXPECT_EQ(After(ReplyEnd::kCut, "a"), "</s> [INST] hi [/INST]");
  Use("zephyr");
  EXPECT_EQ(After(ReplyEnd::kEndToken, "</s>"), "\n<|user|>\nhi</s>\n<|assistant|>\n");
  EXPECT_EQ(After(ReplyEnd::kCut, "a"), "</s>\n<|user|>\nhi</s>\n<|assistant|>\n");
  // Ends a conversation in another way than a reply within it.
  Use("phi3");
  EXPECT_EQ(After(ReplyEnd::kEndToken, "<|end|>"), "\n<|user|>\nhi<|end|>\n<|assistant|>\n");
  EXPECT_EQ(After(ReplyEnd::kEndToken, "<|endoftext|>"), "<|end|>\n<|user|>\nhi<|end|>\n<|assistant|>\n");
  EXPECT_EQ(After(ReplyEnd::kNone, "a"), "<|user|>\nhi<|end|>\n<|assistant|>\n");
}

TEST_F(NextTurn, RefusesWhatTheTemplateCannotGoOnWith) {
  const PromptPlace later = {10, ReplyEnd::kCut, 3};
  const auto status = [&](std::vector<ChatMessage> messages, const PromptPlace& place) {
    return EncodePrompt(MessagesTurn(std::move(messages), "s"), place, *tokenizer_, chat_template_.get()).status();
  };
  Use("deepseek_r1");
  EXPECT_TRUE(status({{"user", "a"}}, {}).ok());
  absl::Status refused = status({{"user", "a"}}, later);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("prompt.messages: the chat template cannot be used"));
  // It writes every system message first.
  Use("deepseek_coder");
  EXPECT_TRUE(status({{"user", "a"}}, later).ok());
  refused = status({{"system", "a"}, {"user", "b"}}, later);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("prompt.messages: the chat template writes earlier turns"));
  Use("mistral_v3");
  EXPECT_TRUE(status({{"user", "a"}}, {}).ok());
  refused = status({{"system", "a"}, {"user", "b"}}, {});
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("prompt.messages[0].role must not be system on a session"));
  EXPECT_TRUE(EncodePrompt(MessagesTurn({{"system", "a"}, {"user", "b"}}), {}, *tokenizer_, chat_template_.get()).ok());
  Use("llama2");
  for (const PromptPlace& place : {PromptPlace(), later}) {
    refused = status({{"user", "a"}, {"user", "b"}}, place);
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(refused.message()), HasSubstr("prompt.messages: "));
    EXPECT_THAT(std::string(refused.message()), HasSubstr("Conversation roles must alternate user/assistant/"));
  }
}

TEST_F(NextTurn, WhatTheTemplateAllowsNeedNotBeAUsers) {
  Use("qwen2_5");
  const PromptPlace place = {10, ReplyEnd::kEndToken, tokenizer_->FindControl("<|im_end|>")};
  const auto text = [&](std::vector<ChatMessage> messages) {
    const auto pieces = chat_template_->RenderTurn(place.last_reply, place.last_id, messages, true);
    EXPECT_TRUE(pieces.ok()) << pieces.status();
    return pieces.ok() ? JoinPieces(*pieces) : "";
  };
  EXPECT_EQ(text({{"tool", "20 C"}}),
            "\n<|im_start|>user\n<tool_response>\n20 C\n</tool_response><|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(text({{"system", "S"}}), "\n<|im_start|>system\nS<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(text({{"user", "u"}, {"assistant", "a"}, {"user", "v"}}),
            "\n<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>user\nv<|im_end|>\n"
            "<|im_start|>assistant\n");
}

TEST_F(NextTurn, BosOnceAtTheStart) {
  Use("llama3");  // the template writes it
  Ids ids = *EncodePrompt(MessagesTurn({{"user", "a"}}), {}, *tokenizer_, chat_template_.get());
  EXPECT_EQ(std::count(ids.begin(), ids.end(), tokenizer_->bos_id()), 1);
  EXPECT_EQ(ids[0], tokenizer_->bos_id());
  Use("zephyr");  // the tokenizer adds it
  ids = *EncodePrompt(MessagesTurn({{"user", "a"}}), {}, *tokenizer_, chat_template_.get());
  EXPECT_EQ(std::count(ids.begin(), ids.end(), tokenizer_->bos_id()), 1);
  EXPECT_EQ(ids[0], tokenizer_->bos_id());
  TurnRequest text;
  text.prompt = TextPrompt{.text = "a"};
  ids = *EncodePrompt(text, {}, *tokenizer_, nullptr);
  EXPECT_THAT(ids, ElementsAre(tokenizer_->bos_id(), ::testing::_));
  ids = *EncodePrompt(text, {5, ReplyEnd::kNone, 9}, *tokenizer_, nullptr);
  EXPECT_EQ(ids.size(), 1u);
  // Who writes it himself gets no second one.
  const std::string bos(tokenizer_->TokenText(tokenizer_->bos_id()));
  text.prompt = TextPrompt{.text = bos + "a", .parse_special = true};
  ids = *EncodePrompt(text, {}, *tokenizer_, nullptr);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), tokenizer_->bos_id()), 1);
}

// Where a template writes no end after replies but one after the user's text, that text is not an end's beginning.
TEST_F(NextTurn, KeepsTheMessageOfATemplateWithoutAnEndOfReplies) {
  Use("mistral");
  const int32_t eos = tokenizer_->eos_id();
  for (const auto& [jinja, expected] :
       {std::pair<std::string, std::string>{
            "{% for m in messages %}{% if m.role == 'user' %}User: {{ m.content }}</s>Assistant: "
            "{% else %}{{ m.content }}\n{% endif %}{% endfor %}",
            "\nUser: hi</s>Assistant: "},
        {"{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]</s>"
         "{% else %}{{ m.content }}{% endif %}{% endfor %}",
         "[INST] hi [/INST]</s>"}}) {
    SCOPED_TRACE(jinja);
    auto created = CreateChatTemplate(jinja, *tokenizer_, Clock::Real());
    ASSERT_TRUE(created.ok()) << created.status();
    const auto pieces = (*created)->RenderTurn(ReplyEnd::kEndToken, eos, {{"user", "hi"}}, true);
    ASSERT_TRUE(pieces.ok()) << pieces.status();
    EXPECT_EQ(JoinPieces(*pieces), expected);
  }
}

// A conversation that was had elsewhere is fed without asking for a reply.
TEST_F(NextTurn, FedHistoryEndsWithItsReply) {
  Use("chatml");
  TurnRequest feed = MessagesTurn({{"user", "u"}, {"assistant", "a"}}, "s");
  feed.max_tokens = 0;
  EXPECT_FALSE(AsksForReply(feed));
  Ids session = *EncodePrompt(feed, {}, *tokenizer_, chat_template_.get());
  const PromptPlace place = {static_cast<int64_t>(session.size()), ReplyEnd::kNone, session.back()};
  const Ids next = *EncodePrompt(MessagesTurn({{"user", "v"}}, "s"), place, *tokenizer_, chat_template_.get());
  session.insert(session.end(), next.begin(), next.end());
  const auto whole = MessagesTurn({{"user", "u"}, {"assistant", "a"}, {"user", "v"}});
  EXPECT_EQ(session, *EncodePrompt(whole, {}, *tokenizer_, chat_template_.get()));
  feed.max_tokens = std::nullopt;
  EXPECT_TRUE(AsksForReply(feed));
}

}  // namespace
}  // namespace cascade
