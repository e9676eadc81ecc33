#include "engine/model/tokenizer_added.h"

#include <algorithm>
#include <limits>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/model/json_text.h"
#include "engine/text/utf8.h"

namespace cascade {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxId = std::numeric_limits<int32_t>::max();

AddedToken ReadToken(JsonFields* fields) {
  AddedToken token;
  token.text = fields->String("content");
  if (token.text.empty()) fields->Fail("content", "empty or missing, expected a token's text");
  token.special = OptionalBool(fields, "special", false);
  token.strip_left = OptionalBool(fields, "lstrip", false);
  token.strip_right = OptionalBool(fields, "rstrip", false);
  token.normalized = OptionalBool(fields, "normalized", !token.special);
  if (OptionalBool(fields, "single_word", false)) {
    fields->Refuse("single_word", "found true for ", QuoteForError(token.text), ", which is not supported");
  }
  return token;
}

}  // namespace

bool OptionalBool(JsonFields* fields, std::string_view key, bool fallback) {
  return fields->Find(key) == nullptr ? fallback : fields->Bool(key, fallback);
}

std::string OptionalString(JsonFields* fields, std::string_view key, std::string fallback) {
  return fields->Find(key) == nullptr ? fallback : fields->String(key, fallback);
}

int32_t FindTokenId(const Vocabulary& vocabulary, std::string_view text) {
  if (text.empty()) return -1;
  for (const AddedToken& token : vocabulary.added) {
    if (token.text == text) return token.id < vocabulary.size ? token.id : -1;
  }
  const size_t count = std::min(vocabulary.tokens.size(), static_cast<size_t>(vocabulary.size));
  const auto end = vocabulary.tokens.begin() + static_cast<std::ptrdiff_t>(count);
  const auto it = std::find(vocabulary.tokens.begin(), end, text);
  return it == end ? -1 : static_cast<int32_t>(it - vocabulary.tokens.begin());
}

absl::Status ReadAddedTokens(const Json& root, const std::string& name, Vocabulary* vocabulary) {
  JsonFields fields(root, name);
  const Json* list = fields.Find("added_tokens");
  if (list == nullptr) return absl::OkStatus();
  if (!list->is_array()) {
    fields.Fail("added_tokens", "found ", Description(*list), ", expected an array");
    return fields.status();
  }
  for (size_t i = 0; i < list->size(); ++i) {
    const Json& entry = (*list)[i];
    const std::string path = absl::StrCat("added_tokens[", i, "]");
    if (!entry.is_object()) {
      fields.Fail(path, "found ", Description(entry), ", expected an object");
      return fields.status();
    }
    JsonFields token_fields(entry, name, path + ".");
    AddedToken token = ReadToken(&token_fields);
    token.id = static_cast<int32_t>(token_fields.Integer("id", 0, kMaxId));
    if (!token_fields.status().ok()) return token_fields.status();
    vocabulary->added.push_back(std::move(token));
  }
  return absl::OkStatus();
}

absl::Status ReadAddedTokensDecoder(const Json& root, const std::string& name, Vocabulary* vocabulary) {
  JsonFields fields(root, name);
  const Json* map = fields.Find("added_tokens_decoder");
  if (map == nullptr) return absl::OkStatus();
  if (!map->is_object()) {
    fields.Fail("added_tokens_decoder", "found ", Description(*map), ", expected an object");
    return fields.status();
  }
  absl::flat_hash_map<int32_t, size_t> places;
  for (size_t i = 0; i < vocabulary->added.size(); ++i) places[vocabulary->added[i].id] = i;
  for (const auto& [key, entry] : map->items()) {
    int32_t id = -1;
    if (!absl::SimpleAtoi(key, &id) || id < 0 || !entry.is_object()) {
      fields.Fail("added_tokens_decoder", "found ", QuoteForError(key), ": ", Description(entry),
                  ", expected an id and an object");
      return fields.status();
    }
    JsonFields token_fields(entry, name, absl::StrCat("added_tokens_decoder.", id, "."));
    AddedToken token = ReadToken(&token_fields);
    token.id = id;
    if (!token_fields.status().ok()) return token_fields.status();
    const auto [it, is_new] = places.try_emplace(id, vocabulary->added.size());
    if (is_new) {
      vocabulary->added.push_back(std::move(token));
    } else {
      vocabulary->added[it->second] = std::move(token);
    }
  }
  return absl::OkStatus();
}

absl::Status ReadAddedTokensMap(const Json& root, const std::string& name,
                                const absl::flat_hash_set<std::string>& special, Vocabulary* vocabulary) {
  JsonFields fields(root, name);
  absl::flat_hash_set<int32_t> ids;
  absl::flat_hash_set<std::string> texts;
  for (const AddedToken& token : vocabulary->added) {
    ids.insert(token.id);
    texts.insert(token.text);
  }
  for (const auto& [text, value] : root.items()) {
    AddedToken token;
    token.id = static_cast<int32_t>(fields.Integer(text, 0, kMaxId));
    token.text = text;
    if (text.empty()) fields.Fail(text, "a token without a text");
    if (!fields.status().ok()) return fields.status();
    const size_t place = static_cast<size_t>(token.id);
    const std::string own = place < vocabulary->tokens.size() ? vocabulary->tokens[place] : "";
    const bool is_taken = !own.empty() && own != text;
    if (is_taken || texts.contains(text) || !ids.insert(token.id).second) continue;
    token.special = special.contains(text) || text == "<unk>" || text == "<s>" || text == "</s>";
    vocabulary->added.push_back(std::move(token));
  }
  return absl::OkStatus();
}

}  // namespace cascade
