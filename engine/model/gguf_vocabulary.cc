#include "engine/model/gguf_vocabulary.h"

#include <cstring>
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

std::vector<float> ReadScores(GgufFields& fields, size_t tokens) {
  constexpr std::string_view kKey = "tokenizer.ggml.scores";
  const GgufValue* value = fields.Find(kKey, true);
  if (value == nullptr) return {};
  if (!value->is_array || value->type != GgufType::kFloat32) {
    fields.Fail(kKey, "found ", value->Description(), ", expected array of FLOAT32");
    return {};
  }
  if (value->count != tokens) {
    fields.Fail(kKey, "found ", value->count, " scores, expected one for each of the ", tokens, " tokens");
    return {};
  }
  std::vector<float> scores(tokens);
  if (tokens > 0) std::memcpy(scores.data(), value->bytes.data(), tokens * sizeof(float));
  return scores;
}

// A pre-tokenizer's name in a file -> its name with us. What is not here goes on as it is, to be refused by name.
struct PreTokenizerName {
  std::string_view file;
  std::string_view ours;
};
constexpr PreTokenizerName kPreTokenizers[] = {
    {"llama3", "llama-bpe"},       {"llama-v3", "llama-bpe"}, {"falcon3", "llama-bpe"},
    {"deepseek-r1-qwen", "qwen2"}, {"gpt-2", "gpt2"},
};

void ReadByteBpe(GgufFields& fields, Vocabulary* vocabulary) {
  vocabulary->kind = TokenizerKind::kByteBpe;
  // Files from before this key existed are "default" in llama.cpp, with a warning that the text will suffer.
  vocabulary->pre_tokenizer = fields.String("tokenizer.ggml.pre", kMaxNameBytes, "default");
  for (const PreTokenizerName& name : kPreTokenizers) {
    if (vocabulary->pre_tokenizer == name.file) vocabulary->pre_tokenizer = name.ours;
  }
  // No NFC for qwen2: its tokenizer.json asks for it, but no key of a GGUF file does, and llama.cpp has none.
  vocabulary->merges = ReadStrings(fields, "tokenizer.ggml.merges", false);
  // What llama.cpp assumes of Llama 3's vocabulary, whose files say nothing of it.
  const bool llama3 = vocabulary->pre_tokenizer == "llama-bpe";
  vocabulary->ignore_merges = llama3;
  vocabulary->add_bos = llama3 && vocabulary->bos_id >= 0;
}

// The special ids that llama.cpp assumes where a file has no keys for them, if they are of the right type.
void AssumeIds(Vocabulary* vocabulary) {
  const auto assume = [&](int32_t* id, size_t usual, TokenType type) {
    if (*id < 0 && usual < vocabulary->types.size() && vocabulary->types[usual] == type) {
      *id = static_cast<int32_t>(usual);
    }
  };
  assume(&vocabulary->unknown_id, 0, TokenType::kUnknown);
  assume(&vocabulary->bos_id, 1, TokenType::kControl);
  assume(&vocabulary->eos_id, 2, TokenType::kControl);
}

void ReadSentencePiece(GgufFields& fields, Vocabulary* vocabulary) {
  vocabulary->kind = TokenizerKind::kSentencePiece;
  fields.Find("tokenizer.ggml.token_type", true);
  vocabulary->scores = ReadScores(fields, vocabulary->tokens.size());
  AssumeIds(vocabulary);
  vocabulary->add_bos = vocabulary->bos_id >= 0;
  // As llama.cpp has it: every part between two special tokens is a text of its own. It has no use for
  // tokenizer.ggml.remove_extra_whitespaces with this kind of vocabulary, and neither have we.
  const bool prefix = fields.Bool("tokenizer.ggml.add_space_prefix", true);
  vocabulary->space_prefix = prefix ? SpacePrefix::kAlways : SpacePrefix::kNever;
}

}  // namespace

absl::StatusOr<Vocabulary> ReadVocabulary(const GgufFile& file, int rows, const std::string& name) {
  GgufFields fields(file, name);
  Vocabulary vocabulary;
  const std::string model = fields.String("tokenizer.ggml.model", kMaxNameBytes);
  if (!fields.status().ok()) return fields.status();
  if (model != "gpt2" && model != "llama") {
    // First the kind: the tokens of an unknown one may well look wrong.
    fields.FailWith(absl::StatusCode::kUnimplemented, "tokenizer.ggml.model", "found ", Quoted(model),
                    ", which is not supported; supported: 'gpt2' (byte-level BPE), 'llama' (SentencePiece)");
    return fields.status();
  }
  vocabulary.size = rows;
  vocabulary.tokens = ReadStrings(fields, "tokenizer.ggml.tokens", true);
  const int64_t count = static_cast<int64_t>(vocabulary.tokens.size());
  if (count != rows) {
    fields.Fail("tokenizer.ggml.tokens", "found ", count, " tokens, expected the ", rows,
                " rows of tensor 'token_embd.weight'");
  }
  if (!fields.status().ok()) return fields.status();
  vocabulary.types = ReadTypes(fields, vocabulary.tokens.size());
  const auto id = [&](std::string_view key) { return static_cast<int32_t>(fields.Integer(key, 0, count - 1, -1)); };
  vocabulary.bos_id = id("tokenizer.ggml.bos_token_id");
  vocabulary.eos_id = id("tokenizer.ggml.eos_token_id");
  vocabulary.eot_id = id("tokenizer.ggml.eot_token_id");
  vocabulary.unknown_id = id("tokenizer.ggml.unknown_token_id");
  // End of message: a model that calls tools ends its part with it.
  if (const int32_t eom = id("tokenizer.ggml.eom_token_id"); eom >= 0) vocabulary.end_ids.push_back(eom);
  if (model == "gpt2") {
    ReadByteBpe(fields, &vocabulary);
  } else {
    ReadSentencePiece(fields, &vocabulary);
  }
  vocabulary.add_bos = fields.Bool("tokenizer.ggml.add_bos_token", vocabulary.add_bos);
  // tokenizer.ggml.add_eos_token says how a text for training ends; a prompt goes on, so that it has no EOS.
  if (!fields.status().ok()) return fields.status();
  return vocabulary;
}

}  // namespace cascade
