#include "engine/grammar/constraints.h"

#include <algorithm>
#include <cmath>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "engine/grammar/pattern.h"

namespace cascade::grammar {
namespace {

constexpr int kMaxReferences = 32;  // $ref and allOf within each other, without a value between them
constexpr size_t kMaxBranches = 256;
constexpr int64_t kMaxCount = 1'000'000'000;

// Says something to people or other programs, nothing about the value.
bool IsAnnotation(std::string_view keyword) {
  static const absl::flat_hash_set<std::string_view> known = {
      "$comment",         "$defs",        "$id",      "$schema",  "default", "definitions", "deprecated",
      "description",      "example",      "examples", "readOnly", "title",   "writeOnly",   "contentEncoding",
      "contentMediaType", "discriminator"};
  return known.contains(keyword);
}

uint8_t TypeNamed(const std::string& name) {
  static const absl::flat_hash_map<std::string_view, uint8_t> known = {
      {"null", kNull},     {"boolean", kBoolean}, {"integer", kInteger}, {"number", kInteger | kFraction},
      {"string", kString}, {"array", kArray},     {"object", kObject}};
  const auto found = known.find(name);
  return found == known.end() ? 0 : found->second;
}

absl::Status CheckSchema(const SchemaPlace& place) {
  if (place.json->is_object() || place.json->is_boolean()) return absl::OkStatus();
  return place.Error("expected a schema: an object, true or false");
}

absl::Status CheckSchemas(const SchemaPlace& place) {
  if (!place.json->is_array() || place.json->empty()) return place.Error("expected an array of schemas, not empty");
  if (place.json->size() > kMaxBranches) return place.Error(absl::StrCat("more than ", kMaxBranches, " schemas"));
  for (size_t i = 0; i < place.json->size(); ++i) {
    if (absl::Status status = CheckSchema(place.Child(i)); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// A whole number that is not negative; 2.0 is one.
absl::Status ReadCount(const SchemaPlace& place, int64_t* count) {
  const absl::Status fault = place.Error(absl::StrCat("expected a whole number from 0 to ", kMaxCount));
  if (!place.json->is_number()) return fault;
  const double number = place.json->get<double>();
  if (number < 0 || number > static_cast<double>(kMaxCount) || number != std::trunc(number)) return fault;
  *count = static_cast<int64_t>(number);
  return absl::OkStatus();
}

// Reads one schema; recursion by $ref and allOf only, and counted.
class Reader {
 public:
  Reader(SchemaDocument* document, Constraints* all) : document_(*document), all_(*all) {}

  absl::Status Add(const SchemaPlace& place, int depth) {
    if (depth > kMaxReferences) {
      return place.Error(absl::StrCat("more than ", kMaxReferences, " of $ref and allOf within each other"));
    }
    if (absl::Status status = CheckSchema(place); !status.ok()) return status;
    if (!document_.Spend(1 + static_cast<int64_t>(place.json->size()))) {
      return place.Error("the schema refers to itself in too many ways");
    }
    if (place.json->is_boolean()) {
      if (!place.json->get<bool>()) all_.types = 0;
      return absl::OkStatus();
    }
    members_ = {};
    items_ = {};
    has_members_ = has_items_ = false;
    std::vector<SchemaPlace> more;
    for (const auto& item : place.json->items()) {
      const std::string& keyword = item.key();
      if (IsAnnotation(keyword)) {
        if (keyword == "$id" && !place.pointer.empty()) return place.Child("$id").Error("is not supported here");
        continue;
      }
      const SchemaPlace at = place.Child(keyword, item.value());
      if (keyword == "$ref") {
        auto target = ResolveReference(document_.json, place);
        if (!target.ok()) return target.status();
        more.push_back(*std::move(target));
      } else if (keyword == "allOf") {
        if (absl::Status status = CheckSchemas(at); !status.ok()) return status;
        for (size_t i = 0; i < at.json->size(); ++i) more.push_back(at.Child(i));
      } else if (absl::Status status = AddKeyword(keyword, at); !status.ok()) {
        return status;
      }
    }
    if (has_members_) all_.members.push_back(std::move(members_));
    if (has_items_) all_.items.push_back(std::move(items_));
    for (const SchemaPlace& next : more) {
      if (absl::Status status = Add(next, depth + 1); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  absl::Status AddKeyword(const std::string& keyword, const SchemaPlace& at) {
    if (keyword == "type") return AddType(at);
    if (keyword == "enum" || keyword == "const") return AddValues(keyword, at);
    if (keyword == "anyOf" || keyword == "oneOf") {
      all_.choices.push_back({at, keyword == "oneOf"});
      return CheckSchemas(at);
    }
    if (keyword == "minimum" || keyword == "maximum" || keyword == "exclusiveMinimum" ||
        keyword == "exclusiveMaximum") {
      return AddBound(keyword, at);
    }
    if (keyword == "minLength" || keyword == "minItems") {
      int64_t count = 0;
      if (absl::Status status = ReadCount(at, &count); !status.ok()) return status;
      int64_t& least = keyword == "minLength" ? all_.min_length : all_.min_items;
      least = std::max(least, count);
      return absl::OkStatus();
    }
    if (keyword == "maxLength" || keyword == "maxItems") {
      int64_t count = 0;
      if (absl::Status status = ReadCount(at, &count); !status.ok()) return status;
      std::optional<int64_t>& most = keyword == "maxLength" ? all_.max_length : all_.max_items;
      most = std::min(most.value_or(count), count);
      return absl::OkStatus();
    }
    if (keyword == "pattern" || keyword == "format") return AddPattern(keyword, at);
    if (keyword == "items" || keyword == "prefixItems") return AddItems(keyword, at);
    if (keyword == "properties" || keyword == "additionalProperties") return AddMembers(keyword, at);
    if (keyword == "required") return AddRequired(at);
    if (keyword == "uniqueItems" && *at.json == false) return absl::OkStatus();
    return at.Error("is not supported");
  }

  absl::Status AddType(const SchemaPlace& at) {
    uint8_t types = 0;
    const absl::Status fault =
        at.Error("expected one or several of null, boolean, integer, number, string, array, object");
    if (at.json->is_string()) {
      types = TypeNamed(at.json->get_ref<const std::string&>());
      if (types == 0) return fault;
    } else if (at.json->is_array() && !at.json->empty()) {
      for (const Json& name : *at.json) {
        const uint8_t type = name.is_string() ? TypeNamed(name.get_ref<const std::string&>()) : 0;
        if (type == 0) return fault;
        types |= type;
      }
    } else {
      return fault;
    }
    all_.types &= types;
    return absl::OkStatus();
  }

  absl::Status AddValues(const std::string& keyword, const SchemaPlace& at) {
    std::vector<const Json*> values;
    if (keyword == "const") {
      values.push_back(at.json);
    } else {
      if (!at.json->is_array() || at.json->empty()) return at.Error("expected an array of values, not empty");
      for (const Json& value : *at.json) values.push_back(&value);
      document_.Spend(static_cast<int64_t>(values.size()));
    }
    if (all_.values) {
      absl::flat_hash_set<std::string> before;
      for (const Json* value : *all_.values) before.insert(ValueKey(*value));
      std::erase_if(values, [&](const Json* value) { return !before.contains(ValueKey(*value)); });
    }
    all_.values = std::move(values);
    return absl::OkStatus();
  }

  absl::Status AddBound(const std::string& keyword, const SchemaPlace& at) {
    if (!at.json->is_number()) return at.Error("expected a number");
    NumberBound bound = at.json->is_number_unsigned()  ? MakeBound(at.json->get<uint64_t>())
                        : at.json->is_number_integer() ? MakeBound(at.json->get<int64_t>())
                                                       : MakeBound(at.json->get<double>());
    bound.is_lower = keyword == "minimum" || keyword == "exclusiveMinimum";
    bound.exclusive = keyword.starts_with("exclusive");
    all_.bounds.push_back(bound);
    return absl::OkStatus();
  }

  absl::Status AddPattern(const std::string& keyword, const SchemaPlace& at) {
    if (!at.json->is_string()) return at.Error("expected a string");
    std::string pattern = at.json->get<std::string>();
    if (keyword == "format") {
      pattern = FormatPattern(pattern);
      if (pattern.empty()) return at.Error("is not supported; known are " + std::string(KnownFormats()));
    }
    for (const auto& [place, known] : all_.patterns) {
      if (known == pattern) return absl::OkStatus();
    }
    if (!all_.patterns.empty()) return at.Error("more than one pattern or format for a string is not supported");
    all_.patterns.emplace_back(at, std::move(pattern));
    return absl::OkStatus();
  }

  absl::Status AddItems(const std::string& keyword, const SchemaPlace& at) {
    has_items_ = true;
    if (keyword == "prefixItems") {
      if (absl::Status status = CheckSchemas(at); !status.ok()) return status;
      for (size_t i = 0; i < at.json->size(); ++i) items_.prefix.push_back(at.Child(i));
      return absl::OkStatus();
    }
    if (at.json->is_array()) return at.Error("an array is not supported; its name is prefixItems today");
    items_.rest = at;
    return CheckSchema(at);
  }

  absl::Status AddMembers(const std::string& keyword, const SchemaPlace& at) {
    has_members_ = true;
    if (keyword == "additionalProperties") {
      members_.additional = at;
      return CheckSchema(at);
    }
    if (!at.json->is_object()) return at.Error("expected an object of schemas");
    document_.Spend(static_cast<int64_t>(at.json->size()));
    for (const auto& item : at.json->items()) {
      const SchemaPlace property = at.Child(item.key(), item.value());
      if (absl::Status status = CheckSchema(property); !status.ok()) return status;
      members_.properties.emplace_back(item.key(), property);
    }
    return absl::OkStatus();
  }

  absl::Status AddRequired(const SchemaPlace& at) {
    const absl::Status fault = at.Error("expected an array of strings");
    if (!at.json->is_array()) return fault;
    document_.Spend(static_cast<int64_t>(at.json->size()));
    if (at.json->size() > 1000) return at.Error("more than 1,000 names");
    absl::flat_hash_set<std::string> known(all_.required.begin(), all_.required.end());
    for (const Json& name : *at.json) {
      if (!name.is_string()) return fault;
      if (known.insert(name.get<std::string>()).second) all_.required.push_back(name.get<std::string>());
    }
    return absl::OkStatus();
  }

  SchemaDocument& document_;
  Constraints& all_;
  // Of the schema that is being read.
  Constraints::Members members_;
  Constraints::Items items_;
  bool has_members_ = false;
  bool has_items_ = false;
};

}  // namespace

uint8_t TypeOf(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return kNull;
    case Json::value_t::boolean:
      return kBoolean;
    case Json::value_t::string:
      return kString;
    case Json::value_t::array:
      return kArray;
    case Json::value_t::object:
      return kObject;
    case Json::value_t::number_float: {
      const double number = value.get<double>();
      return number == std::trunc(number) ? kInteger : kFraction;
    }
    default:
      return kInteger;
  }
}

bool Constraints::OnlyValues() const {
  return bounds.empty() && min_length == 0 && min_items == 0 && !max_length && !max_items && patterns.empty() &&
         items.empty() && members.empty() && required.empty();
}

absl::Status AddSchema(SchemaDocument* document, const SchemaPlace& place, Constraints* constraints) {
  return Reader(document, constraints).Add(place, 0);
}

std::string LoneKeyword(const Json& schema) {
  if (!schema.is_object()) return "";
  std::string lone;
  for (const auto& item : schema.items()) {
    if (IsAnnotation(item.key())) continue;
    if (!lone.empty() || (item.key() != "$ref" && item.key() != "anyOf" && item.key() != "oneOf")) return "";
    lone = item.key();
  }
  return lone;
}

}  // namespace cascade::grammar
