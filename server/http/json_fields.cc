#include "server/http/json_fields.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/text/utf8.h"

namespace cascade {

std::string JsonTypeName(const Json& json) {
  switch (json.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "an array";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::boolean:
      return "a boolean";
    default:
      return "a number";
  }
}

std::optional<int64_t> JsonInteger(const Json& json) {
  if (json.is_number_unsigned()) {
    const auto value = json.get<uint64_t>();
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    return static_cast<int64_t>(value);
  }
  if (json.is_number_integer()) return json.get<int64_t>();
  if (!json.is_number_float()) return std::nullopt;
  const auto value = json.get<double>();
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (!(std::abs(value) <= kExact) || value != std::floor(value)) return std::nullopt;
  return static_cast<int64_t>(value);
}

absl::StatusOr<Json> ParseJsonObject(std::string_view text) {
  absl::StatusOr<Json> json = ParseJson(text);
  if (!json.ok() || json->is_object()) return json;
  return absl::InvalidArgumentError(absl::StrCat("the body must be a JSON object, got ", JsonTypeName(*json)));
}

JsonFields::JsonFields(const Json& object, std::string place) : object_(object), place_(std::move(place)) {}

void JsonFields::Fail(const std::string& name, const std::string& what) {
  if (status_.ok()) status_ = absl::InvalidArgumentError(name.empty() ? what : absl::StrCat(place_, name, " ", what));
}

const Json* JsonFields::Find(const std::string& name) {
  known_.insert(name);
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<bool> JsonFields::Bool(const std::string& name) {
  const Json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_boolean()) return value->get<bool>();
  Fail(name, absl::StrCat("must be true or false, got ", JsonTypeName(*value)));
  return std::nullopt;
}

std::optional<int64_t> JsonFields::Int(const std::string& name, int64_t low, int64_t high) {
  const Json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  const std::optional<int64_t> integer = JsonInteger(*value);
  if (integer.has_value() && *integer >= low && *integer <= high) return integer;
  const std::string range = high == std::numeric_limits<int64_t>::max()
                                ? low == std::numeric_limits<int64_t>::min() ? "" : absl::StrCat(" of at least ", low)
                                : absl::StrCat(" in [", low, ", ", high, "]");
  Fail(name, absl::StrCat("must be an integer", range, ", got ",
                          integer.has_value() ? absl::StrCat(*integer) : JsonTypeName(*value)));
  return std::nullopt;
}

std::optional<double> JsonFields::Number(const std::string& name) {
  const Json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_number()) return value->get<double>();
  Fail(name, absl::StrCat("must be a number, got ", JsonTypeName(*value)));
  return std::nullopt;
}

std::optional<std::string> JsonFields::String(const std::string& name) {
  const Json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  Fail(name, absl::StrCat("must be a string, got ", JsonTypeName(*value)));
  return std::nullopt;
}

std::optional<std::vector<int32_t>> JsonFields::Ids(const std::string& name) {
  const Json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array()) {
    Fail(name, absl::StrCat("must be an array of token ids, got ", JsonTypeName(*value)));
    return std::nullopt;
  }
  std::vector<int32_t> ids;
  ids.reserve(value->size());
  for (const Json& element : *value) {
    const std::optional<int64_t> id = JsonInteger(element);
    if (!id.has_value() || *id < 0 || *id > std::numeric_limits<int32_t>::max()) {
      Fail(absl::StrCat(name, "[", ids.size(), "]"),
           absl::StrCat("must be a token id, got ", id.has_value() ? absl::StrCat(*id) : JsonTypeName(element)));
      return std::nullopt;
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
  return ids;
}

void JsonFields::Unsupported(const std::string& name, const Json& nothing) {
  const Json* value = Find(name);
  if (value == nullptr || *value == nothing || *value == Json(false)) return;
  if ((value->is_array() || value->is_object()) && value->empty()) return;
  std::string accepted = "is not supported";
  if (!nothing.is_null()) absl::StrAppend(&accepted, " but as ", DumpJson(nothing));
  Fail(name, accepted);
}

absl::Status JsonFields::Finish() {
  if (!status_.ok()) return status_;
  for (const auto& [name, value] : object_.items()) {
    if (known_.count(name) != 0 || value.is_null()) continue;
    const bool plain = name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
                         return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
                       });
    return absl::InvalidArgumentError(
        absl::StrCat(place_, plain ? name : QuoteForError(name), " is not a field of this request"));
  }
  return absl::OkStatus();
}

}  // namespace cascade
