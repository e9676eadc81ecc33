#include "engine/model/tokenizer_files.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "engine/model/json_fields.h"
#include "engine/model/json_text.h"
#include "engine/model/tokenizer_added.h"
#include "engine/model/tokenizer_json.h"
#include "engine/text/sentencepiece_model.h"
#include "engine/text/utf8.h"

namespace cascade {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxConfigBytes = 10'000'000;  // with all special tokens and the template: a megabyte

// A token by its text, "" where no file names one.
struct NamedToken {
  std::string text;
  std::string file;
};

// tokenizer_config.json, and the names in special_tokens_map.json.
struct Config {
  NamedToken bos;
  NamedToken eos;
  NamedToken unknown;
  NamedToken pad;
  absl::flat_hash_set<std::string> special;  // the texts of all that are named
  std::optional<bool> add_bos;
  std::optional<bool> add_prefix_space;
  std::optional<bool> legacy;
  std::string chat_template;
};

class Reader {
 public:
  Reader(const TokenizerFiles& files, const std::string& name)
      : files_(files),
        json_name_(absl::StrCat(name, "/tokenizer.json")),
        model_name_(absl::StrCat(name, "/tokenizer.model")),
        config_name_(absl::StrCat(name, "/tokenizer_config.json")),
        map_name_(absl::StrCat(name, "/special_tokens_map.json")),
        added_name_(absl::StrCat(name, "/added_tokens.json")),
        generation_name_(absl::StrCat(name, "/generation_config.json")),
        model_config_name_(absl::StrCat(name, "/config.json")),
        name_(name) {}

  absl::StatusOr<FolderTokenizer> Read(int32_t size) {
    if (files_.tokenizer_json.empty() && files_.tokenizer_model.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          name_,
          ": no tokenizer; expected tokenizer.model (SentencePiece) or tokenizer.json (BPE) beside config.json"));
    }
    vocabulary_.size = size;
    vocabulary_.origin = json_name_;
    if (absl::Status status = ReadModel(); !status.ok()) return status;
    if (absl::Status status = ReadConfig(); !status.ok()) return status;
    if (absl::Status status = ReadTokensMap(); !status.ok()) return status;
    if (absl::Status status = ReadAddedFile(); !status.ok()) return status;
    if (absl::Status status = ResolveConfig(); !status.ok()) return status;
    if (absl::Status status = ReadGeneration(); !status.ok()) return status;
    if (absl::Status status = ReadModelConfig(); !status.ok()) return status;
    FolderTokenizer tokenizer{std::move(vocabulary_), std::move(config_.chat_template)};
    if (!files_.chat_template.empty()) {
      if (FindInvalidUtf8(files_.chat_template) != std::string_view::npos) {
        return absl::InvalidArgumentError(absl::StrCat(name_, "/chat_template.jinja: not UTF-8"));
      }
      tokenizer.chat_template = std::string(files_.chat_template);
    }
    return tokenizer;
  }

 private:
  // tokenizer.model where it is the same tokenizer as tokenizer.json's: what stands beside a byte-level one is another
  // format under that name.
  absl::Status ReadModel() {
    if (!files_.tokenizer_json.empty()) {
      absl::StatusOr<TokenizerJson> json = ParseTokenizerJson(files_.tokenizer_json, json_name_);
      if (!json.ok()) return json.status();
      Vocabulary read = vocabulary_;
      const Json rest = files_.tokenizer_model.empty() ? Json() : json->rest;
      has_template_ = rest.contains("post_processor") && !rest["post_processor"].is_null();
      absl::Status status = ReadTokenizerJson(*std::move(json), json_name_, &read);
      if (status.ok()) vocabulary_ = std::move(read);
      if (files_.tokenizer_model.empty() || (status.ok() && vocabulary_.kind == TokenizerKind::kByteBpe)) return status;
      has_json_ = status.ok();
      if (!has_json_) {
        // Of another kind (Unigram) than we read from there: only its added tokens matter beside tokenizer.model.
        if (absl::Status added = ReadAddedTokens(rest, json_name_, &vocabulary_); !added.ok()) return added;
      }
    }
    // tokenizer.json alone says where the space is put; without it, as its Llama tokenizers have always done.
    if (!has_json_) vocabulary_.space_prefix = SpacePrefix::kAlways;
    vocabulary_.kind = TokenizerKind::kSentencePiece;
    vocabulary_.origin = model_name_;
    vocabulary_.pre_tokenizer.clear();
    pieces_ = std::exchange(vocabulary_.tokens, {});
    vocabulary_.types.clear();
    vocabulary_.merges.clear();
    vocabulary_.ignore_merges = false;
    vocabulary_.unknown_id = -1;
    // What these tokenizers do where no file says otherwise.
    if (!has_json_ || !has_template_) vocabulary_.add_bos = true;
    vocabulary_.sentencepiece_model = std::string(files_.tokenizer_model);
    return absl::OkStatus();
  }

  // A token's text, which is written as such or as an added token.
  static std::string TokenText(JsonFields* fields, const char* key) {
    const Json* value = fields->Find(key);
    return value == nullptr ? "" : TokenText(fields, key, *value);
  }
  static std::string TokenText(JsonFields* fields, const char* key, const Json& value) {
    const Json& content = value.is_object() && value.contains("content") ? value["content"] : value;
    if (const std::string* text = content.get_ptr<const std::string*>()) return *text;
    fields->Fail(key, "found ", Description(content), ", expected a token's text");
    return "";
  }

  // Keeps the names that are there already.
  void ReadNames(JsonFields* fields) {
    const std::pair<const char*, NamedToken*> names[] = {{"bos_token", &config_.bos},
                                                         {"eos_token", &config_.eos},
                                                         {"unk_token", &config_.unknown},
                                                         {"pad_token", &config_.pad}};
    for (const auto& [key, token] : names) {
      const std::string text = TokenText(fields, key);
      if (text.empty() || !token->text.empty()) continue;
      *token = {text, fields->name()};
      config_.special.insert(text);
    }
    constexpr char kMore[] = "additional_special_tokens";
    const Json* more = fields->Find(kMore);
    if (more == nullptr || !more->is_array()) return;
    for (const Json& token : *more) config_.special.insert(TokenText(fields, kMore, token));
  }

  static std::optional<bool> Choice(JsonFields* fields, const char* key) {
    if (fields->Find(key) == nullptr) return std::nullopt;
    return fields->Bool(key, false);
  }

  // A string, or a list of named ones of which "default" counts: the others are for tools and the like, and a list of
  // only such is no template.
  static std::string ChatTemplate(JsonFields* fields) {
    const Json* value = fields->Find("chat_template");
    if (value == nullptr) return "";
    if (const std::string* text = value->get_ptr<const std::string*>()) return *text;
    if (!value->is_array()) {
      fields->Fail("chat_template", "found ", Description(*value), ", expected a text or a list");
      return "";
    }
    for (const Json& entry : *value) {
      if (!entry.is_object() || !entry.contains("name") || !entry.contains("template")) continue;
      const std::string* text = entry["template"].get_ptr<const std::string*>();
      if (entry["name"] == "default" && text != nullptr) return *text;
    }
    return "";
  }

  absl::Status ReadConfig() {
    if (files_.tokenizer_config.empty()) return absl::OkStatus();
    absl::StatusOr<Json> json = ParseJsonObject(files_.tokenizer_config, kMaxConfigBytes, config_name_);
    if (!json.ok()) return json.status();
    JsonFields fields(*json, config_name_);
    ReadNames(&fields);
    config_.add_bos = Choice(&fields, "add_bos_token");
    config_.add_prefix_space = Choice(&fields, "add_prefix_space");
    config_.legacy = Choice(&fields, "legacy");
    config_.chat_template = ChatTemplate(&fields);
    if (!fields.status().ok()) return fields.status();
    return ReadAddedTokensDecoder(*json, config_name_, &vocabulary_);
  }

  absl::Status ReadTokensMap() {
    if (files_.special_tokens_map.empty()) return absl::OkStatus();
    absl::StatusOr<Json> json = ParseJsonObject(files_.special_tokens_map, kMaxConfigBytes, map_name_);
    if (!json.ok()) return json.status();
    JsonFields fields(*json, map_name_);
    ReadNames(&fields);
    return fields.status();
  }

  absl::Status ReadAddedFile() {
    if (files_.added_tokens.empty()) return absl::OkStatus();
    absl::StatusOr<Json> json = ParseJsonObject(files_.added_tokens, kMaxConfigBytes, added_name_);
    if (!json.ok()) return json.status();
    return ReadAddedTokensMap(*json, added_name_, config_.special, &vocabulary_);
  }

  // Sets `*id`, if a file names the token.
  absl::Status Resolve(const char* key, const NamedToken& token, int32_t* id) {
    if (token.text.empty()) return absl::OkStatus();
    int32_t found = FindTokenId(vocabulary_, token.text);
    if (found < 0 && vocabulary_.kind == TokenizerKind::kSentencePiece) {
      if (pieces_.empty()) ReadPieces();
      if (pieces_.empty()) return absl::OkStatus();
      const auto it = std::find(pieces_.begin(), pieces_.end(), token.text);
      if (it - pieces_.begin() < std::min<std::ptrdiff_t>(std::ssize(pieces_), vocabulary_.size)) {
        found = static_cast<int32_t>(it - pieces_.begin());
      }
    }
    if (found < 0) {
      return absl::InvalidArgumentError(absl::StrCat(token.file, ": key '", key, "': found ", QuoteForError(token.text),
                                                     ", which is no token of the model"));
    }
    *id = found;
    return absl::OkStatus();
  }

  // A tokenizer.model that does not fit is left to CreateTokenizer, which says why.
  void ReadPieces() {
    const absl::StatusOr<SentencePieceModel> model = SentencePieceModel::Create(vocabulary_);
    if (!model.ok()) return;
    for (const SentencePieceModel::Piece& piece : model->pieces) pieces_.push_back(piece.text);
  }

  absl::Status ResolveConfig() {
    if (absl::Status status = Resolve("bos_token", config_.bos, &vocabulary_.bos_id); !status.ok()) return status;
    if (absl::Status status = Resolve("eos_token", config_.eos, &vocabulary_.eos_id); !status.ok()) return status;
    if (vocabulary_.unknown_id < 0) vocabulary_.unknown_id = FindTokenId(vocabulary_, config_.unknown.text);
    if (vocabulary_.kind == TokenizerKind::kSentencePiece) {
      // What tokenizer.json says was made with it.
      if (!has_json_ && config_.legacy.has_value() && !*config_.legacy) {
        vocabulary_.space_prefix = SpacePrefix::kFirst;
      }
      if (config_.add_prefix_space.has_value() && !*config_.add_prefix_space) {
        vocabulary_.space_prefix = SpacePrefix::kNever;
      }
    }
    if (config_.add_bos.has_value()) vocabulary_.add_bos = *config_.add_bos;
    const bool has_own_bos = vocabulary_.kind == TokenizerKind::kSentencePiece;
    if (vocabulary_.add_bos && vocabulary_.bos_id < 0 && !has_own_bos) {
      return absl::InvalidArgumentError(
          absl::StrCat(config_name_, ": key 'add_bos_token': found true, but no file names a bos_token"));
    }
    return absl::OkStatus();
  }

  // One id or several.
  std::vector<int32_t> Ids(JsonFields* fields, const char* key) const {
    const Json* value = fields->Find(key);
    if (value == nullptr) return {};
    std::vector<int32_t> ids;
    const auto add = [&](const Json& id) {
      const uint64_t* const number = id.get_ptr<const uint64_t*>();
      if (number == nullptr || *number >= static_cast<uint64_t>(vocabulary_.size)) {
        fields->Fail(key, "found ", Description(id), ", expected an id from 0 to ", vocabulary_.size - 1);
        return;
      }
      ids.push_back(static_cast<int32_t>(*number));
    };
    if (!value->is_array()) {
      add(*value);
      return ids;
    }
    for (const Json& id : *value) add(id);
    return ids;
  }

  absl::Status ReadGeneration() {
    if (files_.generation_config.empty()) return absl::OkStatus();
    absl::StatusOr<Json> json = ParseJsonObject(files_.generation_config, kMaxConfigBytes, generation_name_);
    if (!json.ok()) return json.status();
    JsonFields fields(*json, generation_name_);
    const std::vector<int32_t> bos = Ids(&fields, "bos_token_id");
    vocabulary_.end_ids = Ids(&fields, "eos_token_id");
    if (vocabulary_.bos_id < 0 && bos.size() == 1) vocabulary_.bos_id = bos[0];
    if (vocabulary_.eos_id < 0 && !vocabulary_.end_ids.empty()) vocabulary_.eos_id = vocabulary_.end_ids[0];
    return fields.status();
  }

  absl::Status ReadModelConfig() {
    if (!vocabulary_.end_ids.empty() || files_.model_config.empty()) return absl::OkStatus();
    absl::StatusOr<Json> json = ParseJsonObject(files_.model_config, kMaxConfigBytes, model_config_name_);
    if (!json.ok()) return json.status();
    JsonFields fields(*json, model_config_name_);
    vocabulary_.end_ids = Ids(&fields, "eos_token_id");
    if (vocabulary_.eos_id < 0 && !vocabulary_.end_ids.empty()) vocabulary_.eos_id = vocabulary_.end_ids[0];
    return fields.status();
  }

  const TokenizerFiles& files_;
  const std::string json_name_;
  const std::string model_name_;
  const std::string config_name_;
  const std::string map_name_;
  const std::string added_name_;
  const std::string generation_name_;
  const std::string model_config_name_;
  const std::string name_;
  Vocabulary vocabulary_;
  std::vector<std::string> pieces_;  // of tokenizer.model, as far as anyone looked
  Config config_;
  bool has_json_ = false;      // beside tokenizer.model, and understood
  bool has_template_ = false;  // tokenizer.json says what comes before a text
};

}  // namespace

absl::StatusOr<FolderTokenizer> ReadTokenizerFiles(const TokenizerFiles& files, int32_t size, const std::string& name) {
  if (size < 1) return absl::InvalidArgumentError(absl::StrCat(name, ": the model has ", size, " rows for tokens"));
  return Reader(files, name).Read(size);
}

}  // namespace cascade
