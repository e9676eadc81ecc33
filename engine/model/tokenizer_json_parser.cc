#include <cstdint>
#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/model/json_text.h"
#include "engine/model/tokenizer_json.h"
#include "engine/text/utf8.h"

namespace cascade {
namespace {

using Json = nlohmann::json;

// Builds JSON values of everything but the vocabulary and the merges. The parser that calls it has a stack of its own,
// so that depth costs nothing; it is bounded because what is built is walked by recursion later.
class Builder {
 public:
  explicit Builder(TokenizerJson* out) : out_(out) {}
  const std::string& fault() const { return fault_; }

  bool null() { return Value(nullptr); }
  bool boolean(bool value) { return Value(value); }
  bool number_integer(Json::number_integer_t value) { return place_ == Place::kVocab ? BadId(value) : Value(value); }
  bool number_unsigned(Json::number_unsigned_t value) {
    if (place_ != Place::kVocab) return Value(value);
    if (value > static_cast<uint64_t>(std::numeric_limits<int32_t>::max())) return BadId(value);
    out_->tokens.emplace_back(std::move(key_), static_cast<int32_t>(value));
    return true;
  }
  bool number_float(Json::number_float_t value, const std::string&) { return Value(value); }
  bool binary(Json::binary_t&) { return false; }
  bool string(std::string& value) {
    if (place_ == Place::kMerges) {
      out_->merges.push_back(std::move(value));
      return true;
    }
    if (place_ != Place::kPair) return Value(std::move(value));
    // A space within a part would make "left right" mean something else.
    if (++parts_ > 2 || value.empty() || value.find(' ') != std::string::npos) return BadMerge();
    if (parts_ == 1) {
      out_->merges.push_back(std::move(value));
    } else {
      out_->merges.back().append(" ").append(value);
    }
    return true;
  }

  bool start_object(size_t) {
    if (place_ == Place::kElsewhere && IsInModel() && key_ == "vocab") {
      if (seen_vocab_) return Twice();
      seen_vocab_ = true;
      place_ = Place::kVocab;
      return true;
    }
    return Open(Json::object());
  }
  bool start_array(size_t) {
    if (place_ == Place::kElsewhere && IsInModel() && key_ == "merges") {
      if (out_->has_merges) return Twice();
      out_->has_merges = true;
      place_ = Place::kMerges;
      return true;
    }
    if (place_ == Place::kMerges) {
      place_ = Place::kPair;
      parts_ = 0;
      return true;
    }
    return Open(Json::array());
  }
  bool end_object() {
    if (place_ == Place::kVocab) {
      place_ = Place::kElsewhere;
      return true;
    }
    open_.pop_back();
    return true;
  }
  bool end_array() {
    if (place_ == Place::kPair) {
      if (parts_ != 2) return BadMerge();
      place_ = Place::kMerges;
      return true;
    }
    if (place_ == Place::kMerges) {
      place_ = Place::kElsewhere;
      return true;
    }
    open_.pop_back();
    return true;
  }
  bool key(std::string& key) {
    key_ = std::move(key);
    return place_ == Place::kVocab || !open_.back()->contains(key_) || Twice();
  }
  bool parse_error(size_t position, const std::string&, const Json::exception&) {
    fault_ = absl::StrCat("not valid JSON at byte ", position);
    return false;
  }

 private:
  enum class Place { kElsewhere, kVocab, kMerges, kPair };

  bool IsInModel() const {
    return open_.size() == 2 && open_[0]->is_object() && open_[1]->is_object() && root_key_ == "model";
  }
  bool Fail(std::string what) {
    fault_ = std::move(what);
    return false;
  }
  bool Twice() { return Fail(absl::StrCat("key ", QuoteForError(key_), ": found twice in one object")); }
  template <class Number>
  bool BadId(Number value) {
    return Fail(absl::StrCat("model.vocab: found ", value, " for ", QuoteForError(key_), ", expected an id from 0 to ",
                             std::numeric_limits<int32_t>::max()));
  }
  bool BadMerge() {
    const size_t index = out_->merges.size() - (place_ == Place::kPair && parts_ > 0 ? 1 : 0);
    return Fail(absl::StrCat("model.merges[", index, "]: expected two tokens without spaces"));
  }

  // Puts a value where the parser is; null if it does not belong there.
  Json* Put(Json value) {
    if (place_ == Place::kVocab) {
      Fail(absl::StrCat("model.vocab: found ", Description(value), " for ", QuoteForError(key_), ", expected an id"));
      return nullptr;
    }
    if (place_ != Place::kElsewhere) {
      BadMerge();
      return nullptr;
    }
    if (open_.empty()) return &(out_->rest = std::move(value));
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    if (open_.size() == 1) root_key_ = key_;
    return &(parent[key_] = std::move(value));
  }
  bool Value(Json value) { return Put(std::move(value)) != nullptr; }
  bool Open(Json value) {
    if (open_.size() >= static_cast<size_t>(kMaxJsonDepth)) {
      return Fail(absl::StrCat("more than ", kMaxJsonDepth, " objects and arrays within each other"));
    }
    Json* const added = Put(std::move(value));
    if (added != nullptr) open_.push_back(added);
    return added != nullptr;
  }

  TokenizerJson* const out_;
  std::vector<Json*> open_;  // objects and arrays that are not closed yet
  std::string key_;          // the last one
  std::string root_key_;     // the last one of the outermost object
  Place place_ = Place::kElsewhere;
  int parts_ = 0;  // of the pair that is open
  bool seen_vocab_ = false;
  std::string fault_;
};

}  // namespace

absl::StatusOr<TokenizerJson> ParseTokenizerJson(std::string_view text, const std::string& name) {
  TokenizerJson json;
  Builder builder(&json);
  const bool parsed = Json::sax_parse(text.begin(), text.end(), &builder);
  if (!parsed) return absl::InvalidArgumentError(absl::StrCat(name, ": ", builder.fault()));
  if (!json.rest.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": found ", Description(json.rest), ", expected an object"));
  }
  return json;
}

}  // namespace cascade
