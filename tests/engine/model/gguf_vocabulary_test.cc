// What a GGUF file's keys make of a vocabulary, where it is silent as llama.cpp assumes.
#include "engine/model/gguf_vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "tests/support/gguf_writer.h"

namespace cascade {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

void SetFloats(GgufWriter* writer, std::string_view key, const std::vector<float>& values) {
  std::string bytes = RawBytes<uint32_t>(6) + RawBytes<uint64_t>(values.size());
  for (const float value : values) bytes += RawBytes(value);
  writer->SetRaw(key, 9, bytes);
}

// Six pieces and the bytes.
GgufWriter LlamaWriter() {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>", "\u2581", "h", "\u2581h"};
  std::vector<int32_t> types = {2, 3, 3, 1, 1, 1};
  std::vector<float> scores = {0, 0, 0, -2, -3, -1};
  for (int byte = 0; byte < 256; ++byte) {
    static constexpr char kDigits[] = "0123456789ABCDEF";
    tokens.push_back(std::string("<0x") + kDigits[byte / 16] + kDigits[byte % 16] + '>');
    types.push_back(6);
    scores.push_back(0);
  }
  GgufWriter writer;
  writer.SetString("tokenizer.ggml.model", "llama");
  writer.SetStrings("tokenizer.ggml.tokens", tokens);
  writer.SetInt32s("tokenizer.ggml.token_type", types);
  SetFloats(&writer, "tokenizer.ggml.scores", scores);
  return writer;
}

GgufWriter Gpt2Writer() {
  GgufWriter writer;
  writer.SetString("tokenizer.ggml.model", "gpt2");
  writer.SetString("tokenizer.ggml.pre", "smollm");
  writer.SetStrings("tokenizer.ggml.tokens", {"a", "b", "ab"});
  writer.SetStrings("tokenizer.ggml.merges", {"a b"});
  return writer;
}

absl::StatusOr<Vocabulary> Read(const GgufWriter& writer, int rows) {
  const std::string bytes = writer.Build();
  const auto file = ParseGguf({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, "model.gguf");
  if (!file.ok()) return file.status();
  return ReadVocabulary(*file, rows, "model.gguf");
}

TEST(GgufVocabulary, LlamaIsSentencePiece) {
  const auto vocabulary = Read(LlamaWriter(), 262);
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_EQ(vocabulary->kind, TokenizerKind::kSentencePiece);
  EXPECT_EQ(vocabulary->origin, "tokenizer.ggml");
  EXPECT_EQ(vocabulary->size, 262);
  EXPECT_EQ(vocabulary->tokens.size(), 262u);
  EXPECT_EQ(vocabulary->types[6], TokenType::kByte);
  EXPECT_EQ(vocabulary->scores[4], -3);
  EXPECT_EQ(vocabulary->unknown_id, 0);
  EXPECT_EQ(vocabulary->bos_id, 1);
  EXPECT_EQ(vocabulary->eos_id, 2);
  EXPECT_TRUE(vocabulary->add_bos);
  EXPECT_EQ(vocabulary->space_prefix, SpacePrefix::kAlways);
  EXPECT_THAT(vocabulary->end_ids, IsEmpty());

  const auto tokenizer = CreateTokenizer(*vocabulary);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_THAT((*tokenizer)->start_ids(), ElementsAre(1));
  EXPECT_THAT((*tokenizer)->end_ids(), ElementsAre(2));
  EXPECT_THAT(*(*tokenizer)->Encode("h hx", false), ElementsAre(5, 5, 6 + 'x'));
}

TEST(GgufVocabulary, WhatTheFileSaysHolds) {
  GgufWriter writer = LlamaWriter();
  writer.SetUint32("tokenizer.ggml.bos_token_id", 2);
  writer.SetUint32("tokenizer.ggml.eos_token_id", 1);
  writer.SetUint32("tokenizer.ggml.eot_token_id", 4);
  writer.SetUint32("tokenizer.ggml.eom_token_id", 5);
  writer.SetUint32("tokenizer.ggml.unknown_token_id", 0);
  writer.SetBool("tokenizer.ggml.add_bos_token", false);
  writer.SetBool("tokenizer.ggml.add_eos_token", true);
  writer.SetBool("tokenizer.ggml.add_space_prefix", false);
  const auto vocabulary = Read(writer, 262);
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_EQ(vocabulary->bos_id, 2);
  EXPECT_EQ(vocabulary->eos_id, 1);
  EXPECT_EQ(vocabulary->eot_id, 4);
  EXPECT_THAT(vocabulary->end_ids, ElementsAre(5));
  EXPECT_FALSE(vocabulary->add_bos);
  EXPECT_EQ(vocabulary->space_prefix, SpacePrefix::kNever);
  const auto tokenizer = CreateTokenizer(*vocabulary);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_THAT(*(*tokenizer)->Encode("x", false), ElementsAre(6 + 'x'));  // no EOS
  // What ends a reply is a control token, though the file's types say otherwise.
  EXPECT_TRUE((*tokenizer)->IsControl(4));
  EXPECT_THAT(*(*tokenizer)->Encode("h", false), ElementsAre(6 + 'h'));
}

TEST(GgufVocabulary, UserDefinedMarkersAreControlTokens) {
  GgufWriter writer = LlamaWriter();
  auto vocabulary = *Read(writer, 262);
  for (const char* text : {"<|im_start|>", "<tool>", "<end_of_turn>"}) {
    vocabulary.tokens.push_back(text);
    vocabulary.types.push_back(TokenType::kUserDefined);
    vocabulary.scores.push_back(0);
  }
  vocabulary.size += 3;
  const auto tokenizer = CreateTokenizer(vocabulary);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->FindControl("<|im_start|>"), 262);
  EXPECT_EQ((*tokenizer)->FindControl("<end_of_turn>"), 264);
  EXPECT_FALSE((*tokenizer)->IsControl(263));
  EXPECT_THAT((*tokenizer)->end_ids(), ElementsAre(2, 264));
  EXPECT_THAT(*(*tokenizer)->Encode("<|im_start|><tool><end_of_turn>", true), ElementsAre(262, 3, 263, 264));
  const auto ids = *(*tokenizer)->Encode("<|im_start|><tool><end_of_turn>", false);
  EXPECT_THAT(ids, testing::Contains(263));
  EXPECT_THAT(ids, testing::Not(testing::Contains(262)));
  EXPECT_THAT(ids, testing::Not(testing::Contains(264)));
}

TEST(GgufVocabulary, Gpt2IsByteBpe) {
  const auto vocabulary = Read(Gpt2Writer(), 3);
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_EQ(vocabulary->kind, TokenizerKind::kByteBpe);
  EXPECT_EQ(vocabulary->pre_tokenizer, "smollm");
  EXPECT_EQ(vocabulary->size, 3);
  EXPECT_THAT(vocabulary->merges, ElementsAre("a b"));
  EXPECT_EQ(vocabulary->bos_id, -1);
  EXPECT_FALSE(vocabulary->add_bos);
  EXPECT_FALSE(vocabulary->ignore_merges);
  EXPECT_EQ(vocabulary->space_prefix, SpacePrefix::kNever);
}

TEST(GgufVocabulary, PreTokenizersByTheirOtherNames) {
  const std::pair<const char*, const char*> names[] = {
      {"llama-bpe", "llama-bpe"}, {"llama3", "llama-bpe"},       {"llama-v3", "llama-bpe"}, {"falcon3", "llama-bpe"},
      {"qwen2", "qwen2"},         {"deepseek-r1-qwen", "qwen2"}, {"gpt-2", "gpt2"},         {"gpt2", "gpt2"},
      {"smollm", "smollm"},       {"default", "default"},        {"tekken", "tekken"}};
  for (const auto& [file, ours] : names) {
    GgufWriter writer = Gpt2Writer();
    writer.SetString("tokenizer.ggml.pre", file);
    writer.SetUint32("tokenizer.ggml.bos_token_id", 0);
    auto vocabulary = Read(writer, 3);
    ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
    EXPECT_EQ(vocabulary->pre_tokenizer, ours);
    // Llama 3's files do not say it.
    EXPECT_EQ(vocabulary->add_bos, vocabulary->pre_tokenizer == "llama-bpe");
    EXPECT_EQ(vocabulary->ignore_merges, vocabulary->pre_tokenizer == "llama-bpe");
    writer.SetBool("tokenizer.ggml.add_bos_token", !vocabulary->add_bos);
    EXPECT_NE(Read(writer, 3)->add_bos, vocabulary->add_bos);
  }
  GgufWriter writer = Gpt2Writer();
  writer.Remove("tokenizer.ggml.pre");
  EXPECT_EQ(Read(writer, 3)->pre_tokenizer, "default");
}

struct Case {
  StatusCode code;
  const char* message;
  std::function<void(GgufWriter*)> change;
};

TEST(GgufVocabulary, ErrorsNameTheKey) {
  constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;
  const Case cases[] = {
      {kInvalid, "key 'tokenizer.ggml.model': missing", [](auto* w) { w->Remove("tokenizer.ggml.model"); }},
      {StatusCode::kUnimplemented,
       "key 'tokenizer.ggml.model': found 'bert', which is not supported; supported: 'gpt2'",
       [](auto* w) { w->SetString("tokenizer.ggml.model", "bert"); }},
      {kInvalid, "'tokenizer.ggml.tokens': missing", [](auto* w) { w->Remove("tokenizer.ggml.tokens"); }},
      {kInvalid, "'tokenizer.ggml.tokens': found 1 tokens, expected the 262 rows",
       [](auto* w) { w->SetStrings("tokenizer.ggml.tokens", {"a"}); }},
      {kInvalid, "'tokenizer.ggml.token_type': missing", [](auto* w) { w->Remove("tokenizer.ggml.token_type"); }},
      {kInvalid, "'tokenizer.ggml.token_type': found 0 at index 0",
       [](auto* w) { w->SetInt32s("tokenizer.ggml.token_type", std::vector<int32_t>(262, 0)); }},
      {kInvalid, "'tokenizer.ggml.scores': missing", [](auto* w) { w->Remove("tokenizer.ggml.scores"); }},
      {kInvalid, "'tokenizer.ggml.scores': found array of INT32, expected array of FLOAT32",
       [](auto* w) { w->SetInt32s("tokenizer.ggml.scores", std::vector<int32_t>(262, 0)); }},
      {kInvalid, "'tokenizer.ggml.scores': found FLOAT32, expected array of FLOAT32",
       [](auto* w) { w->SetFloat32("tokenizer.ggml.scores", 1); }},
      {kInvalid, "'tokenizer.ggml.scores': found 2 scores, expected one for each of the 262 tokens",
       [](auto* w) {
         SetFloats(w, "tokenizer.ggml.scores", {1, 2});
       }},
      {kInvalid, "'tokenizer.ggml.eom_token_id': found 262, expected 0 to 261",
       [](auto* w) { w->SetUint32("tokenizer.ggml.eom_token_id", 262); }},
      {kInvalid, "'tokenizer.ggml.unknown_token_id': found -1",
       [](auto* w) { w->SetInt32("tokenizer.ggml.unknown_token_id", -1); }},
      {kInvalid, "'tokenizer.ggml.add_space_prefix': found UINT32, expected BOOL",
       [](auto* w) { w->SetUint32("tokenizer.ggml.add_space_prefix", 1); }},
  };
  for (const Case& item : cases) {
    GgufWriter writer = LlamaWriter();
    item.change(&writer);
    const auto vocabulary = Read(writer, 262);
    EXPECT_EQ(vocabulary.status().code(), item.code) << item.message;
    EXPECT_THAT(std::string(vocabulary.status().message()), StartsWith("model.gguf: "));
    EXPECT_THAT(std::string(vocabulary.status().message()), HasSubstr(item.message));
  }
}

// A damaged file gives an error or a tokenizer that works.
TEST(GgufVocabulary, DamagedFiles) {
  std::mt19937 random(1);
  const std::string whole = LlamaWriter().Build();
  int accepted = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string bytes = whole;
    for (unsigned n = 1 + random() % 3; n > 0; --n) {
      if (random() % 10 == 0) {
        bytes.resize(1 + random() % bytes.size());
      } else {
        bytes[random() % bytes.size()] = static_cast<char>(random() % 2 ? random() : random() % 8);
      }
    }
    const auto file = ParseGguf({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, "model.gguf");
    if (!file.ok()) continue;
    const auto vocabulary = ReadVocabulary(*file, 262, "model.gguf");
    if (!vocabulary.ok()) continue;
    const auto tokenizer = CreateTokenizer(*vocabulary);
    if (!tokenizer.ok()) continue;
    ++accepted;
    const auto ids = (*tokenizer)->Encode("h hh <s> \U0001F600", i % 2 != 0);
    ASSERT_TRUE(ids.ok());
    for (const int32_t id : *ids) ASSERT_TRUE(id >= 0 && id < 262);
    DecodeText(**tokenizer, *ids);
  }
  EXPECT_GT(accepted, 20);
  EXPECT_LT(accepted, 1980);
}

}  // namespace
}  // namespace cascade
