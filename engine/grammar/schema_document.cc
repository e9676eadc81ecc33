#include "engine/grammar/schema_document.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace cascade::grammar {
namespace {

constexpr char kField[] = "response_format.json_schema: ";
constexpr size_t kMaxPointer = 300;
constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxKeys = 1000;

// Follows the parser through the text and stops it at the first fault: what is built from the text later is copied and
// destroyed by recursion.
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
    if (keys_.back().size() >= kMaxKeys) return Fault(absl::StrCat("more than ", kMaxKeys, " keys in one object"));
    if (keys_.back().insert(key).second) return true;
    return Fault(absl::StrCat("key \"", absl::Utf8SafeCEscape(key.substr(0, kMaxPointer)), "\" twice in one object"));
  }
  bool parse_error(size_t position, const std::string&, const Json::exception&) {
    return Fault(absl::StrCat("not valid JSON at byte ", position));
  }

 private:
  bool Fault(std::string what) {
    fault_ = std::move(what);
    return false;
  }
  bool Enter() {
    keys_.emplace_back();
    if (keys_.size() <= kMaxDepth) return true;
    return Fault(absl::StrCat("more than ", kMaxDepth, " objects and arrays within each other"));
  }
  bool Leave() {
    keys_.pop_back();
    return true;
  }

  std::vector<absl::flat_hash_set<std::string>> keys_;  // of the objects that are open; empty for arrays
  std::string fault_;
};

}  // namespace

SchemaPlace SchemaPlace::Child(std::string_view key, const Json& value) const {
  if (pointer.size() >= kMaxPointer) return {&value, pointer};
  SchemaPlace child = {&value,
                       absl::StrCat(pointer, "/", absl::StrReplaceAll(std::string(key), {{"~", "~0"}, {"/", "~1"}}))};
  if (child.pointer.size() >= kMaxPointer) {
    size_t cut = kMaxPointer;
    while ((static_cast<unsigned char>(child.pointer[cut - 1]) & 0xC0) == 0x80) --cut;  // not within a character
    child.pointer = absl::StrCat(child.pointer.substr(0, cut - 1), "..", std::string(kMaxPointer + 1 - cut, '.'));
  }
  return child;
}

absl::Status SchemaPlace::Error(const std::string& what) const {
  if (pointer.empty()) return absl::InvalidArgumentError(absl::StrCat(kField, what));
  return absl::InvalidArgumentError(absl::StrCat(kField, absl::Utf8SafeCEscape(pointer), ": ", what));
}

absl::StatusOr<Json> ParseSchema(std::string_view text, size_t max_bytes) {
  if (text.size() > max_bytes) {
    return SchemaPlace().Error(absl::StrCat("found ", text.size(), " bytes, expected at most ", max_bytes));
  }
  Checker checker;
  if (!Json::sax_parse(text.begin(), text.end(), &checker)) return SchemaPlace().Error(checker.fault());
  return Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
}

absl::StatusOr<SchemaPlace> ResolveReference(const Json& document, const SchemaPlace& place) {
  const SchemaPlace at = place.Child("$ref");
  if (!at.json->is_string()) return at.Error("expected a string");
  const std::string& reference = at.json->get_ref<const std::string&>();
  if (reference == "#") return SchemaPlace{&document, ""};
  for (const std::string folder : {"$defs", "definitions"}) {
    const std::string prefix = absl::StrCat("#/", folder, "/");
    if (!reference.starts_with(prefix)) continue;
    // Percent signs are those of URIs.
    std::string name = reference.substr(prefix.size());
    for (size_t i = name.find('%'); i != std::string::npos; i = name.find('%', i + 1)) {
      if (i + 2 >= name.size() || !absl::ascii_isxdigit(static_cast<unsigned char>(name[i + 1])) ||
          !absl::ascii_isxdigit(static_cast<unsigned char>(name[i + 2]))) {
        continue;
      }
      name.replace(i, 3, absl::HexStringToBytes(name.substr(i + 1, 2)));
    }
    if (name.find('/') != std::string::npos) break;
    name = absl::StrReplaceAll(name, {{"~1", "/"}, {"~0", "~"}});
    if (!document.contains(folder) || !document[folder].is_object() || !document[folder].contains(name)) {
      return at.Error("refers to nothing in this schema");
    }
    return SchemaPlace{&document, ""}.Child(folder).Child(name);
  }
  return at.Error("only #, #/$defs/NAME and #/definitions/NAME are supported");
}

// The recursion is as deep as the document, which was checked.
std::string ValueKey(const Json& value) {
  if (value.is_number()) {
    const double number = value.get<double>();
    if (value.is_number_float() && number == std::trunc(number) && std::abs(number) < 9e15) {
      return std::to_string(static_cast<int64_t>(number));
    }
    return value.dump();
  }
  if (!value.is_structured()) return value.dump();
  std::vector<std::string> parts;
  for (const auto& item : value.items()) {
    parts.push_back(value.is_object() ? absl::StrCat(Json(item.key()).dump(), ":", ValueKey(item.value()))
                                      : ValueKey(item.value()));
  }
  if (value.is_object()) std::sort(parts.begin(), parts.end());
  std::string key = value.is_object() ? "{" : "[";
  for (const std::string& part : parts) absl::StrAppend(&key, part, ",");
  return key + (value.is_object() ? "}" : "]");
}

}  // namespace cascade::grammar
