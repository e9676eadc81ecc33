#include "engine/model/json_text.h"

#include <set>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/model/gguf.h"

namespace cascade {
namespace {

using Json = nlohmann::json;

// Follows the parser through the text and stops it at the first fault. The parser keeps its own stack, so that depth
// costs it nothing; what is built from the text later is copied and printed by recursion, though.
class Checker {
 public:
  const std::string& fault() const { return fault_; }

  bool null() { return true; }
  bool boolean(bool) { return true; }
  bool number_integer(Json::number_integer_t) { return true; }
  bool number_unsigned(Json::number_unsigned_t) { return true; }
  bool number_float(Json::number_float_t, const std::string&) { return true; }
  bool string(std::string&) { return true; }
  bool binary(Json::binary_t&) { return true; }
  bool start_object(size_t) { return Enter(); }
  bool end_object() { return Leave(); }
  bool start_array(size_t) { return Enter(); }
  bool end_array() { return Leave(); }
  bool key(std::string& key) {
    if (keys_.back().insert(key).second) return true;
    fault_ = absl::StrCat("key ", Quoted(key), ": found twice in one object");
    return false;
  }
  bool parse_error(size_t position, const std::string&, const Json::exception&) {
    fault_ = absl::StrCat("not valid JSON at byte ", position);
    return false;
  }

 private:
  bool Enter() {
    keys_.emplace_back();
    if (keys_.size() <= static_cast<size_t>(kMaxJsonDepth)) return true;
    fault_ = absl::StrCat("more than ", kMaxJsonDepth, " objects and arrays within each other");
    return false;
  }
  bool Leave() {
    keys_.pop_back();
    return true;
  }

  std::vector<std::set<std::string>> keys_;  // of the objects that are open; empty for arrays
  std::string fault_;
};

}  // namespace

absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text, size_t max_bytes, const std::string& name) {
  if (text.size() > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": found ", text.size(), " bytes, expected at most ", max_bytes));
  }
  Checker checker;
  if (!Json::sax_parse(text.begin(), text.end(), &checker)) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", checker.fault()));
  }
  Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": found ", Description(json), ", expected an object"));
  }
  return json;
}

std::string Description(const nlohmann::json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  if (const std::string* text = value.get_ptr<const std::string*>()) return Quoted(*text);
  return value.dump();
}

}  // namespace cascade
