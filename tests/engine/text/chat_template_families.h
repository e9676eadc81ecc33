// The published chat templates of tests/golden/chat_templates, each with a small tokenizer that has its model's control
// tokens.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "engine/text/chat_template.h"
#include "engine/text/vocabulary.h"
#include "tests/engine/text/byte_vocabulary.h"

namespace cascade {

struct ChatFamily {
  std::string name;
  std::string jinja;
  std::string bos, eos, unk;
  nlohmann::json cases;
};

inline std::string ReadGoldenFile(const std::string& name) {
  const char* folder = std::getenv("CASCADE_GOLDEN_DIR");
  std::ifstream file(std::string(folder == nullptr ? "" : folder) + "/chat_templates/" + name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline nlohmann::json ReadChatGolden() {
  return nlohmann::json::parse(ReadGoldenFile("chat_templates.json"), nullptr, false);
}

inline std::vector<ChatFamily> ChatFamilies(const nlohmann::json& golden) {
  std::vector<ChatFamily> families;
  for (const auto& item : golden["templates"]) {
    const std::string name = item["name"];
    families.push_back({name, ReadGoldenFile(name + ".jinja"), item["bos"], item["eos"], item["unk"], item["cases"]});
  }
  EXPECT_GE(families.size(), 20u);
  return families;
}

// What the family's tokenizer finds as control tokens; the first is another end of a reply than the template's.
inline std::vector<std::string> ControlTokens(const ChatFamily& family) {
  const std::pair<const char*, std::vector<std::string>> lists[] = {
      {"mistral_v3", {"[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"}},
      {"mistral_nemo", {"[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"}},
      {"llama3", {"<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>"}},
      {"gemma", {"<start_of_turn>", "<end_of_turn>"}},
      {"phi3", {"<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|tool|>"}},
      {"deepseek", {"<｜User｜>", "<｜Assistant｜>", "<｜tool▁outputs▁end｜>"}},
      {"chatml", {"<|im_start|>"}},
      {"qwen", {"<|im_start|>"}},
      {"smollm2", {"<|im_start|>"}},
  };
  std::vector<std::string> controls = {"<|other_end|>"};
  const auto add = [&](const std::string& token) {
    if (!token.empty() && std::find(controls.begin(), controls.end(), token) == controls.end()) {
      controls.push_back(token);
    }
  };
  for (const std::string& token : {family.bos, family.eos, family.unk}) add(token);
  for (const auto& [prefix, tokens] : lists) {
    if (family.name.rfind(prefix, 0) == 0) {
      for (const std::string& token : tokens) add(token);
    }
  }
  return controls;
}

// Control tokens first, then `vocabulary`'s tokens.
inline Vocabulary WithControls(const ChatFamily& family, Vocabulary vocabulary) {
  const std::vector<std::string> controls = ControlTokens(family);
  vocabulary.tokens.insert(vocabulary.tokens.begin(), controls.begin(), controls.end());
  vocabulary.types.insert(vocabulary.types.begin(), controls.size(), TokenType::kControl);
  if (!vocabulary.scores.empty()) vocabulary.scores.insert(vocabulary.scores.begin(), controls.size(), 0.0f);
  vocabulary.size = static_cast<int32_t>(vocabulary.tokens.size());
  // As these models cut text: a run of newlines is one piece there, whatever follows it.
  if (vocabulary.kind == TokenizerKind::kByteBpe && family.name.rfind("llama3", 0) == 0) {
    vocabulary.pre_tokenizer = "llama-bpe";
  }
  if (family.name.rfind("qwen", 0) == 0) vocabulary.pre_tokenizer = "qwen2";
  const auto find = [&](const std::string& token) {
    const auto found = std::find(controls.begin(), controls.end(), token);
    return token.empty() ? -1 : static_cast<int32_t>(found - controls.begin());
  };
  vocabulary.bos_id = find(family.bos);
  vocabulary.eos_id = find(family.eos);
  vocabulary.unknown_id = find(family.unk);
  if (vocabulary.kind != TokenizerKind::kByteBpe && vocabulary.unknown_id >= 0) {
    vocabulary.types[static_cast<size_t>(vocabulary.unknown_id)] = TokenType::kUnknown;
  }
  vocabulary.end_ids = {0};
  vocabulary.add_bos = vocabulary.bos_id >= 0;
  return vocabulary;
}

// Bytes and a few merges, no control tokens.
inline Vocabulary PlainByteVocabulary() {
  Vocabulary vocabulary = ByteVocabulary(LivelyMerges());
  vocabulary.tokens.erase(vocabulary.tokens.begin(), vocabulary.tokens.begin() + 3);
  vocabulary.types.erase(vocabulary.types.begin(), vocabulary.types.begin() + 3);
  return vocabulary;
}

// As the Llama 2 family has it: bytes, characters, spaces as U+2581; pairs with merges (kCharacterBpe) or scores
// (kSentencePiece). No control tokens.
inline Vocabulary SpaceVocabulary(TokenizerKind kind, SpacePrefix space_prefix) {
  Vocabulary vocabulary;
  vocabulary.kind = kind;
  vocabulary.space_prefix = space_prefix;
  const auto add = [&](const std::string& token, TokenType type) {
    vocabulary.tokens.push_back(token);
    vocabulary.types.push_back(type);
    vocabulary.scores.push_back(-static_cast<float>(vocabulary.tokens.size()));
  };
  for (int byte = 0; byte < 256; ++byte) {
    const char* const digits = "0123456789ABCDEF";
    add(std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">", TokenType::kByte);
  }
  for (const char* pair : {"\u2581 a", "a a", "\u2581 \u2581", "u s", "s t", "e r", "us er", "\u2581 us", "[ I", "I N",
                           "< |", "i m", "\u2581a aa", "b b", "\u2581\u2581 \u2581\u2581", "aa a"}) {
    const std::string text = pair;
    const size_t space = text.find(' ');
    vocabulary.merges.push_back(text);
    add(text.substr(0, space) + text.substr(space + 1), TokenType::kNormal);
  }
  for (const char* character :
       {"\u2581", "a", "b", "u", "s", "t", "e", "r", "[", "I", "N", "<", "|", "i", "m", "é", "."}) {
    add(character, TokenType::kNormal);
  }
  if (kind == TokenizerKind::kCharacterBpe) vocabulary.scores.clear();
  if (kind == TokenizerKind::kSentencePiece) vocabulary.merges.clear();
  return vocabulary;
}

inline std::unique_ptr<Tokenizer> MakeTokenizer(const ChatFamily& family, Vocabulary vocabulary) {
  auto tokenizer = CreateTokenizer(WithControls(family, std::move(vocabulary)));
  EXPECT_TRUE(tokenizer.ok()) << family.name << ": " << tokenizer.status();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

}  // namespace cascade
