#include "engine/model/tokenizer_json.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/model/json_fields.h"
#include "engine/model/json_text.h"
#include "engine/model/tokenizer_added.h"
#include "engine/model/tokenizer_pipeline.h"
#include "engine/text/utf8.h"

namespace cascade {
namespace {

using Json = nlohmann::json;

bool IsByteName(const std::string& text) { return text.size() == 6 && text.starts_with("<0x") && text[5] == '>'; }

// The kind of the model, and what of its settings changes how text is cut.
absl::Status CheckModel(const TokenizerJson& json, const Json& model, JsonFields* fields) {
  const std::string type = OptionalString(fields, "type", json.has_merges ? "BPE" : "");
  if (!fields->status().ok()) return fields->status();
  if (type != "BPE") {
    fields->Refuse("type", "found ", QuoteForError(type),
                   ", expected \"BPE\"; a SentencePiece model is read from the file tokenizer.model");
    return fields->status();
  }
  if (const Json* dropout = fields->Find("dropout"); dropout != nullptr && *dropout != 0.0) {
    fields->Refuse("dropout", "found ", Description(*dropout), ", expected null");
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const std::string affix = OptionalString(fields, key, "");
    if (!affix.empty()) fields->Refuse(key, "found ", QuoteForError(affix), ", expected null");
  }
  if (json.tokens.empty()) fields->Fail("vocab", "expected an object of tokens and their ids");
  return fields->status();
}

absl::Status ReadTokens(TokenizerJson* json, const std::string& name, Vocabulary* vocabulary) {
  // Tokens beyond the model's rows are kept where they are near (merges may name them); gaps are bounded by the model's
  // size and the tokens that the file has.
  const size_t limit = static_cast<size_t>(vocabulary->size) + json->tokens.size();
  size_t count = 0;
  for (const auto& [text, id] : json->tokens) {
    if (static_cast<size_t>(id) < limit) count = std::max(count, static_cast<size_t>(id) + 1);
  }
  vocabulary->tokens.resize(count);
  for (auto& [text, id] : json->tokens) {
    if (static_cast<size_t>(id) >= limit) continue;
    std::string& token = vocabulary->tokens[static_cast<size_t>(id)];
    if (!token.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": model.vocab: id ", id, " is ", QuoteForError(token), " and ", QuoteForError(text)));
    }
    token = std::move(text);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadTokenizerJson(TokenizerJson json, const std::string& name, Vocabulary* vocabulary) {
  JsonFields root(json.rest, name);
  const Json* model = root.Find("model");
  if (model == nullptr || !model->is_object()) root.Fail("model", "missing, expected an object");
  if (!root.status().ok()) return root.status();
  JsonFields fields(*model, name, "model.");
  if (absl::Status status = CheckModel(json, *model, &fields); !status.ok()) return status;
  vocabulary->origin = name;
  vocabulary->ignore_merges = OptionalBool(&fields, "ignore_merges", false);
  const bool byte_fallback = OptionalBool(&fields, "byte_fallback", false);
  const bool fuse_unknown = OptionalBool(&fields, "fuse_unk", false);
  const std::string unknown = OptionalString(&fields, "unk_token", "");
  if (!fields.status().ok()) return fields.status();
  if (absl::Status status = ReadTokens(&json, name, vocabulary); !status.ok()) return status;
  vocabulary->merges = std::move(json.merges);
  if (absl::Status status = ReadAddedTokens(json.rest, name, vocabulary); !status.ok()) return status;
  if (absl::Status status = ReadPipeline(json.rest, name, vocabulary); !status.ok()) return status;
  if (!unknown.empty()) vocabulary->unknown_id = FindTokenId(*vocabulary, unknown);
  if (vocabulary->kind != TokenizerKind::kCharacterBpe) return absl::OkStatus();

  size_t bytes = 0;
  vocabulary->types.assign(vocabulary->tokens.size(), TokenType::kNormal);
  for (size_t id = 0; byte_fallback && id < vocabulary->tokens.size(); ++id) {
    if (!IsByteName(vocabulary->tokens[id])) continue;
    vocabulary->types[id] = TokenType::kByte;
    ++bytes;
  }
  if (!fuse_unknown && bytes != 256) {
    fields.Refuse("fuse_unk", "found false with ", bytes, " of the 256 byte tokens, expected true or all of them");
  }
  return fields.status();
}

}  // namespace cascade
