#include "engine/model/gguf_vocabulary.h"

#include <optional>

#include "engine/model/gguf_fields.h"

namespace cascade {
namespace {

constexpr size_t kMaxNameBytes = 1024;

std::vector<std::string> ReadStrings(GgufFields& fields, std::string_view key, bool required) {
  const GgufValue* value = fields.Find(key, required);
  if (value == nullptr) return {};
  const std::optional<std::vector<std::string_view>> strings = value->Strings();
  if (!strings) {
    fields.Fail(key, "found ", value->Description(), ", expected array of STRING");
    return {};
  }
  return {strings->begin(), strings->end()};
}

std::vector<TokenType> ReadTypes(GgufFields& fields, size_t tokens) {
  constexpr std::string_view kKey = "tokenizer.ggml.token_type";
  // As numbered in the file, from 1 on.
  static constexpr TokenType kTypes[] = {TokenType::kNormal,      TokenType::kUnknown, TokenType::kControl,
                                         TokenType::kUserDefined, TokenType::kUnused,  TokenType::kByte};
  constexpr int32_t kNumTypes = static_cast<int32_t>(std::size(kTypes));
  const GgufValue* value = fields.Find(kKey, false);
  if (value == nullptr) return {};
  const std::optional<std::vector<int32_t>> numbers = value->Int32s();
  if (!numbers) {
    fields.Fail(kKey, "found ", value->Description(), ", expected array of INT32");
    return {};
  }
  if (numbers->size() != tokens) {
    fields.Fail(kKey, "found ", numbers->size(), " types, expected one for each of the ", tokens, " tokens");
    return {};
  }
  std::vector<TokenType> types;
  types.reserve(numbers->size());
  for (const int32_t number : *numbers) {
    if (number < 1 || number > kNumTypes) {
      fields.Fail(kKey, "found ", number, " at index ", types.size(), ", expected 1 to ", kNumTypes);
      return {};
    }
    types.push_back(kTypes[number - 1]);
  }
  return types;
}

}  // namespace

absl::StatusOr<Vocabulary> ReadVocabulary(const GgufFile& file, int rows, const std::string& name) {
  GgufFields fields(file, name);
  Vocabulary vocabulary;
  vocabulary.model = fields.String("tokenizer.ggml.model", kMaxNameBytes);
  vocabulary.pre_tokenizer = fields.String("tokenizer.ggml.pre", kMaxNameBytes, "");
  vocabulary.tokens = ReadStrings(fields, "tokenizer.ggml.tokens", true);
  const int64_t count = static_cast<int64_t>(vocabulary.tokens.size());
  if (count != rows) {
    fields.Fail("tokenizer.ggml.tokens", "found ", count, " tokens, expected the ", rows,
                " rows of tensor 'token_embd.weight'");
  }
  if (!fields.status().ok()) return fields.status();
  vocabulary.types = ReadTypes(fields, vocabulary.tokens.size());
  vocabulary.merges = ReadStrings(fields, "tokenizer.ggml.merges", false);
  const auto id = [&](std::string_view key) { return static_cast<int32_t>(fields.Integer(key, 0, count - 1, -1)); };
  vocabulary.bos_id = id("tokenizer.ggml.bos_token_id");
  vocabulary.eos_id = id("tokenizer.ggml.eos_token_id");
  vocabulary.eot_id = id("tokenizer.ggml.eot_token_id");
  vocabulary.add_bos = fields.Bool("tokenizer.ggml.add_bos_token", false);
  if (!fields.status().ok()) return fields.status();
  return vocabulary;
}

}  // namespace cascade
