#include "engine/model/tokenizer_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>

#include "tests/support/heap_peak.h"

namespace cascade {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;

std::string Golden(const std::string& name) {
  const char* folder = std::getenv("CASCADE_GOLDEN_DIR");
  std::ifstream file(std::string(folder == nullptr ? "" : folder) + "/tokenizers/" + name + ".json");
  EXPECT_TRUE(file) << name;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t place = text.find(from);
  EXPECT_NE(place, std::string::npos) << from;
  return place == std::string::npos ? text : text.replace(place, from.size(), to);
}

absl::StatusOr<FolderTokenizer> Read(const std::string& json, const std::string& config = "",
                                     const std::string& generation = "", const std::string& model = "") {
  TokenizerFiles files;
  files.tokenizer_json = json;
  files.tokenizer_config = config;
  files.generation_config = generation;
  files.tokenizer_model = model;
  return ReadTokenizerFiles(files, 2000, "folder");
}

TEST(TokenizerFiles, TellsWhatIsMissing) {
  const absl::Status status = Read("", R"({"bos_token": "<s>"})").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("folder: no tokenizer; expected tokenizer.model (SentencePiece) or tokenizer.json"));
}

TEST(TokenizerFiles, ReadsTheConfig) {
  const std::string config = R"({"bos_token": {"content": "<|im_end|>"}, "eos_token": "<mask>", "unk_token": null,
    "add_bos_token": false, "chat_template": [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}],
    "added_tokens_decoder": {"1900": {"content": "<new>", "special": true}}})";
  auto read = Read(Golden("llama3"), config, R"({"eos_token_id": [5, 1900], "bos_token_id": 7})");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->chat_template, "yes");
  const auto tokenizer = CreateTokenizer(read->vocabulary);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocabulary_size(), 2000);
  EXPECT_EQ((*tokenizer)->TokenText((*tokenizer)->bos_id()), "<|im_end|>");
  EXPECT_EQ((*tokenizer)->TokenText((*tokenizer)->eos_id()), "<mask>");
  EXPECT_TRUE((*tokenizer)->start_ids().empty());
  EXPECT_EQ((*tokenizer)->FindControl("<new>"), 1900);
  EXPECT_THAT((*tokenizer)->end_ids(), ElementsAre(5, (*tokenizer)->bos_id(), (*tokenizer)->eos_id(), 1900));
  EXPECT_EQ((*tokenizer)->TokenText(1999), "");

  TokenizerFiles files;
  const std::string json = Golden("gpt2");
  files.tokenizer_json = json;
  files.tokenizer_config = config;
  files.chat_template = "jinja";
  EXPECT_EQ(ReadTokenizerFiles(files, 2000, "folder")->chat_template, "jinja");
  read = Read(Golden("llama2_metaspace"), R"({"chat_template": "text", "add_bos_token": true})");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->chat_template, "text");
  EXPECT_TRUE(read->vocabulary.add_bos);
}

TEST(TokenizerFiles, PrefersTheSentencePieceModel) {
  auto read = Read("", R"({"added_tokens_decoder": {"2": {"content": "</s>", "special": true}}, "eos_token": "</s>"})",
                   "", "bytes");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->vocabulary.kind, TokenizerKind::kSentencePiece);
  EXPECT_EQ(read->vocabulary.sentencepiece_model, "bytes");
  EXPECT_EQ(read->vocabulary.space_prefix, SpacePrefix::kAlways);
  EXPECT_EQ(read->vocabulary.eos_id, 2);
  EXPECT_TRUE(read->vocabulary.add_bos);
  read = Read(Golden("llama2_metaspace"), "", "", "bytes");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->vocabulary.space_prefix, SpacePrefix::kFirst);
  EXPECT_TRUE(read->vocabulary.tokens.empty());
  EXPECT_GE(read->vocabulary.added.size(), 8u);
  // Where tokenizer.json says where the space is put, "legacy" has no say.
  read = Read(Golden("llama2_prepend"), R"({"legacy": false, "add_bos_token": false})", "", "bytes");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->vocabulary.space_prefix, SpacePrefix::kAlways);
  EXPECT_FALSE(read->vocabulary.add_bos);
  const std::string never =
      Replaced(Golden("llama2_metaspace"), R"("prepend_scheme":"first")", R"("prepend_scheme":"never")");
  EXPECT_EQ(Read(never, "", "", "bytes")->vocabulary.space_prefix, SpacePrefix::kNever);
  EXPECT_EQ(Read("", R"({"legacy": false})", "", "bytes")->vocabulary.space_prefix, SpacePrefix::kFirst);
  EXPECT_EQ(Read("", R"({"legacy": true})", "", "bytes")->vocabulary.space_prefix, SpacePrefix::kAlways);
  read = Read(
      R"({"model": {"type": "Unigram", "vocab": [["a", 0.5]]}, "added_tokens": [{"id": 1, "content": "<s>", "special": true}]})",
      R"({"add_prefix_space": false})", "", "bytes");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->vocabulary.space_prefix, SpacePrefix::kNever);
  EXPECT_EQ(read->vocabulary.added.size(), 1u);
  // Beside a byte-level tokenizer.json it is another format of the same name.
  read = Read(Golden("llama3"), "", "", "bytes");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->vocabulary.kind, TokenizerKind::kByteBpe);
}

// Files that call them text: a client could write them into its message.
TEST(TokenizerFiles, MarkersAndEndsAreControlTokens) {
  const std::string config = R"({"eos_token": "[END]", "bos_token": "[BEGIN]", "added_tokens_decoder": {
    "1900": {"content": "<|im_start|>", "special": false}, "1901": {"content": "<\uFF5CUser\uFF5C>", "special": false},
    "1902": {"content": "[END]", "special": false}, "1903": {"content": "[BEGIN]", "special": false},
    "1904": {"content": "[STOP]", "special": false}, "1905": {"content": "<end_of_turn>", "special": false},
    "1906": {"content": "<tool_call>", "special": false}, "1907": {"content": "<||>", "special": false}}})";
  for (const char* golden : {"llama3", "llama2_prepend"}) {
    const auto read = Read(Golden(golden), config, R"({"eos_token_id": [1904]})");
    ASSERT_TRUE(read.ok()) << read.status();
    const auto tokenizer = *CreateTokenizer(read->vocabulary);
    for (const std::string text :
         {"<|im_start|>", "<\uFF5CUser\uFF5C>", "[END]", "[BEGIN]", "[STOP]", "<end_of_turn>"}) {
      const int32_t id = tokenizer->FindControl(text);
      ASSERT_GE(id, 1900) << text;
      EXPECT_TRUE(tokenizer->IsControl(id));
      EXPECT_EQ(tokenizer->TokenBytes(id), "");
      EXPECT_THAT(*tokenizer->Encode(text, false), Not(Contains(id)));
      EXPECT_THAT(*tokenizer->Encode(text, true), Contains(id));
    }
    for (const int32_t id : {1906, 1907}) {
      EXPECT_FALSE(tokenizer->IsControl(id));
      EXPECT_THAT(*tokenizer->Encode(tokenizer->TokenText(id), false), Contains(id));
    }
    EXPECT_THAT(tokenizer->end_ids(), IsSupersetOf({1902, 1904, 1905}));
  }
}

TEST(TokenizerFiles, ReadsTheOlderFiles) {
  const std::string json = Golden("llama3");
  TokenizerFiles files;
  files.tokenizer_json = json;
  files.tokenizer_config =
      R"({"bos_token": null, "eos_token": "<mask>", "chat_template": [{"name": "rag", "template": "x"}]})";
  files.special_tokens_map = R"({"bos_token": {"content": "<new>"}, "eos_token": "<none>", "unk_token": "<none>",
    "pad_token": "[PAD]", "additional_special_tokens": ["[INST]", {"content": "[/INST]"}]})";
  files.added_tokens = R"({"<new>": 1900, "[PAD]": 1901, "[INST]": 1902, "<call>": 1903, "<mask>": 1904, "other": 5})";
  files.model_config = R"({"model_type": 7, "eos_token_id": [1903, 4]})";
  auto read = ReadTokenizerFiles(files, 2000, "folder");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->chat_template, "");  // none of the name that counts
  auto tokenizer = *CreateTokenizer(read->vocabulary);
  EXPECT_EQ(tokenizer->bos_id(), 1900);
  EXPECT_EQ(tokenizer->TokenText(tokenizer->eos_id()), "<mask>");
  EXPECT_LT(tokenizer->eos_id(), 1900);
  EXPECT_EQ(tokenizer->FindControl("[PAD]"), 1901);
  EXPECT_EQ(tokenizer->FindControl("[INST]"), 1902);
  EXPECT_EQ(tokenizer->FindControl("<call>"), 1903);  // it ends a reply
  EXPECT_EQ(tokenizer->TokenText(1904), "");          // that text has an id, and id 5 a text
  EXPECT_NE(tokenizer->TokenText(5), "other");
  EXPECT_THAT(tokenizer->end_ids(), IsSupersetOf({4, 1903}));

  files.model_config = R"({"eos_token_id": 1901})";
  files.generation_config = R"({"eos_token_id": null})";
  EXPECT_THAT(ReadTokenizerFiles(files, 2000, "folder")->vocabulary.end_ids, ElementsAre(1901));
  files.generation_config = R"({"eos_token_id": 1902})";
  read = ReadTokenizerFiles(files, 2000, "folder");
  EXPECT_THAT(read->vocabulary.end_ids, ElementsAre(1902));
  EXPECT_FALSE((*CreateTokenizer(read->vocabulary))->IsControl(1903));

  const auto error = [&](std::string_view TokenizerFiles::*file, std::string_view text) {
    TokenizerFiles changed = files;
    changed.generation_config = "";
    changed.*file = text;
    return std::string(ReadTokenizerFiles(changed, 2000, "folder").status().message());
  };
  EXPECT_THAT(error(&TokenizerFiles::tokenizer_config, R"({"eos_token": "<none>"})"),
              HasSubstr("folder/tokenizer_config.json: key 'eos_token': found \"<none>\", which is no token"));
  EXPECT_THAT(error(&TokenizerFiles::tokenizer_config, "{}"),
              HasSubstr("folder/special_tokens_map.json: key 'eos_token': found \"<none>\", which is no token"));
  EXPECT_THAT(error(&TokenizerFiles::special_tokens_map, R"({"bos_token": 5})"),
              HasSubstr("folder/special_tokens_map.json: key 'bos_token': found 5"));
  EXPECT_THAT(error(&TokenizerFiles::special_tokens_map, R"({"bos_token": "<gone>"})"),
              HasSubstr("folder/special_tokens_map.json: key 'bos_token': found \"<gone>\""));
  EXPECT_THAT(error(&TokenizerFiles::added_tokens, R"({"x": "5"})"), HasSubstr("folder/added_tokens.json: key 'x'"));
  EXPECT_THAT(error(&TokenizerFiles::added_tokens, R"({"x": -5})"), HasSubstr("folder/added_tokens.json: key 'x'"));
  EXPECT_THAT(error(&TokenizerFiles::model_config, R"({"eos_token_id": 2000})"),
              HasSubstr("folder/config.json: key 'eos_token_id': found 2000, expected an id from 0 to 1999"));
  EXPECT_THAT(error(&TokenizerFiles::tokenizer_config, R"({"eos_token": "<mask>", "chat_template": 5})"),
              HasSubstr("key 'chat_template': found 5"));
}

TEST(TokenizerFiles, NamesWhatIsNotKnown) {
  using absl::StatusCode;
  const std::string gpt2 = Golden("gpt2");
  const std::string llama3 = Golden("llama3");
  const std::string prepend = Golden("llama2_prepend");
  const struct {
    std::string json;
    StatusCode code;
    std::string message;
  } cases[] = {
      {"", StatusCode::kInvalidArgument, "no tokenizer"},
      {"{", StatusCode::kInvalidArgument, "folder/tokenizer.json: not valid JSON at byte"},
      {"[]", StatusCode::kInvalidArgument, "expected an object"},
      {"{}", StatusCode::kInvalidArgument, "'model'"},
      {R"({"model": {"type": "Unigram", "vocab": []}})", StatusCode::kUnimplemented,
       "\"Unigram\", expected \"BPE\"; a SentencePiece"},
      {R"({"model": {"type": "BPE", "vocab": {"a": 4000000000}}})", StatusCode::kInvalidArgument,
       "found 4000000000 for \"a\""},
      {R"({"model": {"type": "BPE", "vocab": {"a": -1}}})", StatusCode::kInvalidArgument, "found -1 for \"a\""},
      {R"({"model": {"type": "BPE", "vocab": {"a": 1.5}}})", StatusCode::kInvalidArgument, "found 1.5 for \"a\""},
      {R"({"model": {"type": "BPE", "vocab": {"a": {}}}})", StatusCode::kInvalidArgument, "found an object for \"a\""},
      {R"({"model": {"type": "BPE", "vocab": {"a": 1, "b": 1}}})", StatusCode::kInvalidArgument,
       "id 1 is \"a\" and \"b\""},
      {R"({"model": {"type": "BPE", "merges": [["a", "b", "c"]]}})", StatusCode::kInvalidArgument,
       "model.merges[0]: expected two tokens"},
      {R"({"model": {"type": "BPE", "merges": [["a", "b"], ["a"]]}})", StatusCode::kInvalidArgument,
       "model.merges[1]: expected two tokens"},
      {R"({"model": {"type": "BPE", "merges": [7]}})", StatusCode::kInvalidArgument,
       "model.merges[0]: expected two tokens"},
      {R"({"a": 1, "a": 2})", StatusCode::kInvalidArgument, "key \"a\": found twice"},
      {std::string(1000000, '['), StatusCode::kInvalidArgument, "objects and arrays within each other"},
      {Replaced(gpt2, "\"normalizer\":null", R"("normalizer":{"type":"Lowercase"})"), StatusCode::kUnimplemented,
       "'normalizer.type': found \"Lowercase\""},
      {Replaced(gpt2, "\"pre_tokenizer\":{\"type\":\"ByteLevel\"", R"("pre_tokenizer":{"type":"Whitespace")"),
       StatusCode::kUnimplemented, "'pre_tokenizer.type': found \"Whitespace\""},
      {Replaced(llama3, "{1,3}", "{1,4}"), StatusCode::kUnimplemented, "\\p{N}{1,4}"},
      {Replaced(llama3, "\"single_word\":false", "\"single_word\":true"), StatusCode::kUnimplemented,
       "'added_tokens[0].single_word'"},
      {Replaced(llama3, "\"dropout\":null", "\"dropout\":0.1"), StatusCode::kUnimplemented,
       "'model.dropout': found 0.1"},
      {Replaced(llama3, "\"TemplateProcessing\"", "\"BertProcessing\""), StatusCode::kUnimplemented,
       "'post_processor.type': found \"BertProcessing\""},
      {Replaced(llama3, "\"decoder\":{\"type\":\"ByteLevel\"", R"("decoder":{"type":"CTC")"),
       StatusCode::kUnimplemented, "'decoder.type': found \"CTC\""},
      {Replaced(prepend, "\"prepend\":\"\u2581\"", "\"prepend\":\"_\""), StatusCode::kUnimplemented,
       "found \"_\", expected"},
      {Replaced(prepend, "\"<0x0A>\":", "\"<0xXX>\":"), StatusCode::kOk, ""},
  };
  for (const auto& [json, code, message] : cases) {
    const absl::Status status = Read(json).status();
    EXPECT_EQ(status.code(), code) << message << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
  EXPECT_THAT(
      std::string(Read(gpt2, R"({"bos_token": "<none>", "add_bos_token": true, "eos_token": 5})").status().message()),
      HasSubstr("tokenizer_config.json: key 'eos_token': found 5"));
  EXPECT_THAT(std::string(Read(gpt2, "", R"({"eos_token_id": 2000})").status().message()),
              HasSubstr("generation_config.json: key 'eos_token_id': found 2000, expected an id from 0 to 1999"));
}

// An error that says something, or a tokenizer that works.
void ExpectErrorOrTokenizer(const absl::StatusOr<FolderTokenizer>& read, int* valid) {
  if (!read.ok()) {
    ASSERT_FALSE(read.status().message().empty());
    return;
  }
  const auto tokenizer = CreateTokenizer(read->vocabulary);
  if (!tokenizer.ok()) {
    ASSERT_FALSE(tokenizer.status().message().empty());
    return;
  }
  ++*valid;
  const auto ids = (*tokenizer)->Encode("The <|im_end|> caf\u00E9 [NOTE] \u1112\u1161 123\n\n x", true);
  ASSERT_TRUE(ids.ok()) << ids.status();
  for (const int32_t id : *ids) ASSERT_TRUE(id >= 0 && id < (*tokenizer)->vocabulary_size());
  DecodeText(**tokenizer, *ids);
}

std::string Mutated(std::string text, std::mt19937& random) {
  static const char* const kParts[] = {"\"",  "{",           "}",       "[",       "]",    ",",    ":",    "null", "-1",
                                       "4e9", "99999999999", "\\u0000", "\\ud800", "\xFF", "1999", "true", "\"\"", " "};
  for (uint32_t changes = 1 + random() % 4; changes > 0 && !text.empty(); --changes) {
    const size_t place = random() % text.size();
    switch (random() % 5) {
      case 0:
        text[place] = static_cast<char>(random());
        break;
      case 1:
        text.erase(place, 1 + random() % 40);
        break;
      case 2:
        text.insert(place, kParts[random() % std::size(kParts)]);
        break;
      case 3:
        text.insert(place, text.substr(random() % text.size(), random() % 60));
        break;
      default:  // a digit, so that ids change
        if (const size_t digit = text.find_first_of("0123456789", place); digit != std::string::npos) {
          text[digit] = static_cast<char>('0' + random() % 10);
        }
    }
  }
  return text;
}

TEST(TokenizerFiles, SurvivesMutations) {
  std::mt19937 random(17);
  std::vector<std::string> originals;
  for (const char* name : {"gpt2", "llama3", "qwen2", "llama2_prepend", "llama2_metaspace", "llama2_words"}) {
    originals.push_back(Golden(name));
  }
  const std::string config = R"({"bos_token": {"content": "<|im_end|>"}, "eos_token": "<mask>", "unk_token": null,
    "add_bos_token": true, "legacy": false, "chat_template": [{"name": "default", "template": "yes"}],
    "added_tokens_decoder": {"1900": {"content": "<new>", "lstrip": true, "special": true}}})";
  const std::string generation = R"({"eos_token_id": [5, 1900], "bos_token_id": 7})";
  int valid = 0;
  for (int round = 0; round < 2000; ++round) {
    const std::string& original = originals[random() % originals.size()];
    // Half of the changes in the small part that says how the pieces fit.
    const size_t vocab = original.find("\"vocab\"");
    const std::string json = round % 2 == 0 ? Mutated(original, random)
                                            : Mutated(original.substr(0, vocab), random) + original.substr(vocab);
    const test::HeapPeak peak;
    const auto read = Read(json, config);
    // Nine times was seen.
    EXPECT_LT(peak.bytes(), 16 * (json.size() + config.size()) + (64 << 10));
    ExpectErrorOrTokenizer(read, &valid);
  }
  EXPECT_GE(valid, 50);
  int valid_configs = 0;
  for (int round = 0; round < 2000; ++round) {
    ExpectErrorOrTokenizer(
        Read(originals[1], Mutated(config, random), round % 4 == 0 ? Mutated(generation, random) : ""), &valid_configs);
  }
  EXPECT_GE(valid_configs, 50);
}

// Vocabularies as a damaged GGUF file could bring them.
TEST(Vocabulary, SurvivesMutations) {
  std::mt19937 random(23);
  std::vector<Vocabulary> originals;
  for (const char* name : {"gpt2", "llama3", "llama2_prepend", "llama2_words"}) {
    originals.push_back(Read(Golden(name))->vocabulary);
  }
  int valid = 0;
  for (int round = 0; round < 2000; ++round) {
    Vocabulary v = originals[random() % originals.size()];
    for (uint32_t changes = 1 + random() % 3; changes > 0; --changes) {
      const auto id = [&] { return static_cast<int32_t>(random() % 2200) - 50; };
      const auto token = [&]() -> std::string& { return v.tokens[random() % v.tokens.size()]; };
      switch (random() % 16) {
        case 0:
          token() = "";
          break;
        case 1:
          token() = token();
          break;
        case 2:
          token() = "\xC3";
          break;
        case 3:
          v.tokens.resize(random() % v.tokens.size() + 1);
          break;
        case 4:
          v.types.assign(v.tokens.size(), static_cast<TokenType>(random() % 6));
          break;
        case 5:
          v.merges[random() % v.merges.size()] = "a b c";
          break;
        case 6:
          v.merges.insert(v.merges.begin(), v.merges[random() % v.merges.size()]);
          break;
        case 7:
          v.merges.resize(random() % v.merges.size() + 1);
          break;
        case 8:
          v.bos_id = id();
          break;
        case 9:
          v.eos_id = id();
          v.end_ids = {id()};
          break;
        case 10:
          v.unknown_id = id();
          break;
        case 11:
          v.size = id();
          break;
        case 12:
          v.added[random() % v.added.size()].id = id();
          break;
        case 13:
          v.added[random() % v.added.size()].text = random() % 2 == 0 ? "" : "a";
          break;
        case 14:
          v.kind = static_cast<TokenizerKind>(random() % 3);
          break;
        default:
          v.added[random() % v.added.size()].normalized = true;
      }
    }
    ExpectErrorOrTokenizer(FolderTokenizer{std::move(v), ""}, &valid);
  }
  EXPECT_GE(valid, 50);
}

}  // namespace
}  // namespace cascade
