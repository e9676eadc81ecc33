#include "tests/engine/grammar/schema_maker.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>

namespace cascade {
namespace {

struct PatternExamples {
  const char* pattern;
  std::vector<std::string> examples;
};

const std::vector<PatternExamples>& Patterns() {
  static const std::vector<PatternExamples> all = {
      {"^[a-z]{2,5}$", {"ab", "xyzzy", "cat"}},
      {"^(red|green|blue)$", {"red", "green", "blue"}},
      {"[0-9]+", {"7", "room 12", "0x"}},
      {"^\\d{3}-\\d{4}$", {"555-1234", "000-0000"}},
      {"^[^\"\\\\]*$", {"", "plain", "gr\xC3\xBC\xC3\x9F", "a\nb"}},
      {"^a.c$",
       {"abc", "a\"c",
        "a\xE2\x82\xAC"
        "c",
        "a\\c"}},
      {"^\\w+@\\w+\\.(com|org)$", {"me@home.org", "a_1@b.com"}},
      {"\xC3\xA9+$", {"\xC3\xA9", "caf\xC3\xA9\xC3\xA9"}},
      {"^\\s*x\\s*$", {"x", " x\n", "\t\tx "}},
      {"^(?:ab)*$", {"", "ab", "ababab"}},
      {"^$", {""}},
      {"a|^b|c$", {"xax", "by", "zc"}},
      {"^[\\u0041-\\u005A]+?[\\x30-\\x39]?$", {"A", "ZED9"}},
      {"^(x(y(z)?)?)?$", {"", "x", "xy", "xyz"}},
      {"^[\xF0\x9F\x98\x80-\xF0\x9F\x98\x84]{1,2}$", {"\xF0\x9F\x98\x80", "\xF0\x9F\x98\x82\xF0\x9F\x98\x84"}},
  };
  return all;
}

size_t Length(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

// A value of a few hundredths that is written with at most two digits behind the point.
SchemaMaker::Json Hundredths(int64_t value) {
  char text[40];
  std::snprintf(text, sizeof text, "%s%lld.%02lld", value < 0 ? "-" : "", std::llabs(value) / 100,
                std::llabs(value) % 100);
  return SchemaMaker::Json::parse(text);
}

}  // namespace

SchemaMaker::Json SchemaMaker::Schema() {
  Json schema = Chance(70) ? Object(3) : Any(3);
  if (!schema.is_object()) schema = Json::object();
  // A tree and a list for $ref; each has a way out first in its anyOf.
  schema["$defs"] = {
      {"list",
       {{"type", "object"},
        {"properties",
         {{"value", {{"type", "integer"}}}, {"next", {{"anyOf", {{{"type", "null"}}, {{"$ref", "#/$defs/list"}}}}}}}},
        {"required", {"value", "next"}},
        {"additionalProperties", false}}},
      {"tree", {{"type", "array"}, {"items", {{"$ref", "#/$defs/tree"}}}, {"maxItems", 3}}},
      {"a/b~c", {{"enum", {"slash", "tilde"}}}},
  };
  if (Chance(30)) schema["title"] = "A title";
  if (Chance(20)) schema["$schema"] = "https://json-schema.org/draft/2020-12/schema";
  return schema;
}

SchemaMaker::Json SchemaMaker::Any(int depth) {
  switch (Below(depth <= 0 ? 8 : 15)) {
    case 0:
    case 1:
      return String();
    case 2:
      return Number(true);
    case 3:
      return Number(false);
    case 4:
      return {{"type", Chance(70) ? "boolean" : "null"}};
    case 5: {
      Json all = Json::array({"one", "two words", "q\"uote\\", 3, 4.5, true, nullptr, "\xC3\xA4\n", -17});
      Json some = Json::array();
      for (size_t i = 0; i <= Below(4); ++i) some.push_back(all[Below(all.size())]);
      return Chance(20) ? Json{{"enum", {{{"a", 1}, {"b", {1, "x"}}}, {1, 2}}}} : Json{{"enum", some}};
    }
    case 6:
      return {{"const", Chance(50) ? Json("fixed") : Json{{"k", {1, nullptr}}}}};
    case 7:
      return {{"$ref", Chance(40) ? "#/$defs/list" : Chance(50) ? "#/$defs/tree" : "#/$defs/a~1b~0c"}};
    case 8:
    case 9:
    case 10:
      return Object(depth - 1);
    case 11:
      return Array(depth - 1);
    case 12:
      return Choice(depth - 1);
    case 13:
      return {{"type", {"string", "null"}}, {"description", "may be missing"}};
    default:
      return Chance(50) ? Json(true) : Json::object();
  }
}

SchemaMaker::Json SchemaMaker::String() {
  Json schema = {{"type", "string"}};
  const size_t kind = Below(6);
  if (kind == 0) {
    const PatternExamples& pattern = Patterns()[Below(Patterns().size())];
    schema["pattern"] = pattern.pattern;
    const size_t length = Length(pattern.examples[Below(pattern.examples.size())]);
    if (Chance(30)) schema["minLength"] = length;
    if (Chance(30)) schema["maxLength"] = length;
  } else if (kind == 1) {
    const char* formats[] = {"date", "date-time", "uuid", "ipv4"};
    schema["format"] = formats[Below(4)];
  } else if (kind <= 3) {
    const size_t min = Below(5);
    if (Chance(70)) schema["minLength"] = min;
    if (Chance(70)) schema["maxLength"] = min + Below(20);
  }
  return schema;
}

SchemaMaker::Json SchemaMaker::Number(bool integer) {
  Json schema = {{"type", integer ? "integer" : "number"}};
  const int64_t low = static_cast<int64_t>(Below(4000)) - 2000;
  const int64_t high = low + 2 + static_cast<int64_t>(Below(Chance(50) ? 10 : 100000));
  const auto bound = [&](int64_t value) { return integer || Chance(50) ? Json(value) : Hundredths(100 * value + 25); };
  if (Chance(60)) schema[Chance(50) ? "minimum" : "exclusiveMinimum"] = bound(low);
  if (Chance(60)) schema[Chance(50) ? "maximum" : "exclusiveMaximum"] = bound(high);
  return schema;
}

SchemaMaker::Json SchemaMaker::Array(int depth) {
  Json schema = {{"type", "array"}};
  size_t listed = 0;
  if (Chance(30)) {
    schema["prefixItems"] = Json::array();
    listed = 1 + Below(3);
    for (size_t i = 0; i < listed; ++i) schema["prefixItems"].push_back(Any(depth));
  }
  if (listed > 0 && Chance(40)) {
    schema["items"] = false;
    if (Chance(50)) schema["minItems"] = Below(listed + 1);
    return schema;
  }
  if (Chance(80)) schema["items"] = Any(depth);
  const size_t min = Below(4);
  if (Chance(50)) schema["minItems"] = min;
  if (Chance(50)) schema["maxItems"] = min + Below(5);
  return schema;
}

SchemaMaker::Json SchemaMaker::Object(int depth, const std::string& prefix) {
  const char* names[] = {"name", "na", "a", "", "two words", "q\"\\", "\xC3\xA4", "tab\t", "\x01", "list", "id"};
  Json schema = {{"type", "object"}, {"properties", Json::object()}, {"required", Json::array()}};
  for (size_t i = Below(6); i > 0; --i) {
    const std::string name = prefix + names[Below(std::size(names))];
    if (schema["properties"].contains(name)) continue;
    schema["properties"][name] = Any(depth);
    if (Chance(50)) schema["required"].push_back(name);
  }
  if (prefix.empty() && Chance(10)) schema["required"].push_back("only required");
  const size_t other = Below(prefix.empty() ? 4 : 1);
  const bool needs_more = !schema["required"].empty() && schema["required"].back() == "only required";
  if (other == 1 && !needs_more) schema["additionalProperties"] = false;
  if (other == 2) schema["additionalProperties"] = Chance(30) ? Json(true) : Any(depth - 1);
  return schema;
}

SchemaMaker::Json SchemaMaker::Choice(int depth) {
  switch (Below(5)) {
    case 0:
      return {{"anyOf", {Any(depth), Any(depth), String()}}};
    case 1:
      return {{"oneOf", {String(), Number(Chance(50)), Object(depth), Array(depth)}}};
    case 2: {  // told apart by a tag
      Json branches = Json::array();
      for (const char* tag : {"cat", "dog", "cow"}) {
        Json branch = Object(depth, "of ");
        branch["properties"]["kind"] = {{"const", tag}};
        branch["required"].push_back("kind");
        branches.push_back(branch);
      }
      return {{"oneOf", branches}, {"discriminator", {{"propertyName", "kind"}}}};
    }
    case 3:
      return {{"allOf", {Object(depth, "first "), Object(depth, "second ")}}};
    default: {  // a choice beside other keywords
      Json schema = Object(depth, "base ");
      schema["anyOf"] = {Object(depth, "left "), Object(depth, "right ")};
      return schema;
    }
  }
}

std::string SchemaMaker::Text(size_t min, size_t max) {
  const std::vector<std::string> characters = {
      "a", "b", "Z", "0", " ", "\"", "\\", "\n", "\x02", "/", "\x7F", "\xC3\xA4", "\xE2\x82\xAC", "\xF0\x9F\x98\x80",
      "{", ","};
  std::string text;
  for (size_t i = min + Below(std::min<size_t>(max - min, 12) + 1); i > 0; --i)
    text += characters[Below(characters.size())];
  return text;
}

SchemaMaker::Json SchemaMaker::FreeValue(int depth) {
  switch (Below(depth > 8 ? 4 : 6)) {
    case 0:
      return Text(0, 10);
    case 1:
      return static_cast<int64_t>(random_() % 2000000) - 1000000;
    case 2:
      return Hundredths(static_cast<int64_t>(Below(100000)) - 50000);
    case 3:
      return Chance(50) ? Json(nullptr) : Json(Chance(50));
    case 4: {
      Json array = Json::array();
      for (size_t i = Below(3); i > 0; --i) array.push_back(FreeValue(depth + 1));
      return array;
    }
    default: {
      Json object = Json::object();
      for (size_t i = Below(3); i > 0; --i) object[Text(0, 5)] = FreeValue(depth + 1);
      return object;
    }
  }
}

SchemaMaker::Json SchemaMaker::ObjectValue(const Json& schema, int depth) {
  Json value = Json::object();
  const Json none = Json::object();
  const Json& properties = schema.contains("properties") ? schema["properties"] : none;
  const Json required = schema.value("required", Json::array());
  const auto needed = [&](const std::string& name) {
    return std::find(required.begin(), required.end(), name) != required.end();
  };
  for (const auto& item : properties.items()) {
    if (needed(item.key()) || (depth < 8 && Chance(50))) value[item.key()] = Value(item.value(), depth + 1);
  }
  const Json other = schema.value("additionalProperties", Json(true));
  for (const Json& name : required) {
    if (!value.contains(name.get<std::string>())) value[name.get<std::string>()] = Value(other, depth + 1);
  }
  if (other == false || depth >= 8) return value;
  for (size_t i = Below(3); i > 0; --i) {
    const std::string name = Text(0, 6);
    if (!properties.contains(name) && !value.contains(name)) value[name] = Value(other, depth + 1);
  }
  return value;
}

SchemaMaker::Json SchemaMaker::Value(const Json& schema, int depth) {
  if (schema.is_boolean() || schema.empty()) return FreeValue(depth);
  if (schema.contains("$ref")) {
    return Value(root_.at(Json::json_pointer(schema["$ref"].get<std::string>().substr(1))), depth + 1);
  }
  if (schema.contains("const")) return schema["const"];
  if (schema.contains("enum")) return schema["enum"][Below(schema["enum"].size())];
  if (schema.contains("allOf") || (schema.contains("anyOf") && schema.contains("type"))) {
    std::vector<Json> parts;
    if (schema.contains("allOf")) {
      parts = {schema["allOf"][0], schema["allOf"][1]};
    } else {
      Json base = schema;
      base.erase("anyOf");
      parts = {base, schema["anyOf"][Below(2)]};
    }
    Json value = Json::object();
    for (Json& part : parts) {
      part["additionalProperties"] = false;  // of the others nothing but what they list
      const Json members = ObjectValue(part, depth);
      for (const auto& item : members.items()) value[item.key()] = item.value();
    }
    return value;
  }
  for (const char* choice : {"anyOf", "oneOf"}) {
    if (schema.contains(choice)) return Value(schema[choice][depth >= 8 ? 0 : Below(schema[choice].size())], depth + 1);
  }
  if (!schema.contains("type")) return FreeValue(depth);
  if (schema["type"].is_array()) return Chance(50) ? Json(nullptr) : Json(Text(0, 10));
  const std::string type = schema["type"];
  if (type == "null") return nullptr;
  if (type == "boolean") return Chance(50);
  if (type == "object") return ObjectValue(schema, depth);
  if (type == "string") {
    const size_t min = schema.value("minLength", size_t{0});
    const size_t max = schema.value("maxLength", size_t{1000});
    if (schema.contains("format")) {
      const std::string format = schema["format"];
      if (format == "date") return Chance(50) ? "2024-12-31" : "1999-02-28";
      if (format == "date-time") return Chance(50) ? "2024-04-30T23:59:59Z" : "1999-02-28T00:00:00.125+01:00";
      if (format == "uuid") return "123e4567-e89b-12d3-a456-426614174000";
      return Chance(50) ? "192.168.0.255" : "8.8.8.8";
    }
    if (!schema.contains("pattern")) return Text(min, max);
    std::vector<std::string> fitting;
    for (const PatternExamples& pattern : Patterns()) {
      if (schema["pattern"] != pattern.pattern) continue;
      for (const std::string& example : pattern.examples) {
        if (Length(example) >= min && Length(example) <= max) fitting.push_back(example);
      }
    }
    if (fitting.empty()) return nullptr;  // there may be none: the caller checks
    return fitting[Below(fitting.size())];
  }
  if (type == "array") {
    const size_t listed = schema.contains("prefixItems") ? schema["prefixItems"].size() : 0;
    const size_t min = schema.value("minItems", size_t{0});
    size_t max = schema.value("maxItems", min + 4);
    const bool closed = schema.contains("items") && schema["items"] == false;
    if (closed) max = std::min(max, listed);
    Json value = Json::array();
    for (size_t i = depth >= 8 ? min : min + Below(max - min + 1); i > 0; --i) {
      const size_t index = value.size();
      value.push_back(
          Value(index < listed ? schema["prefixItems"][index] : schema.value("items", Json(true)), depth + 1));
    }
    return value;
  }
  // Numbers, in hundredths.
  const int64_t unit = type == "integer" ? 100 : 1;
  const auto hundredths = [](const Json& number) {
    return static_cast<int64_t>(std::llround(number.get<double>() * 100));
  };
  std::optional<int64_t> low, high;
  if (schema.contains("minimum")) low = hundredths(schema["minimum"]);
  if (schema.contains("exclusiveMinimum")) low = hundredths(schema["exclusiveMinimum"]) + unit;
  if (schema.contains("maximum")) high = hundredths(schema["maximum"]);
  if (schema.contains("exclusiveMaximum")) high = hundredths(schema["exclusiveMaximum"]) - unit;
  if (!low) low = high ? *high - 100 * static_cast<int64_t>(Below(1000)) : -500000;
  if (!high) high = *low + 100 * static_cast<int64_t>(Below(10000));
  if (unit == 1) return Hundredths(*low + static_cast<int64_t>(Below(static_cast<size_t>(*high - *low + 1))));
  return *low / 100 + static_cast<int64_t>(Below(static_cast<size_t>((*high - *low) / 100 + 1)));
}

void SchemaMaker::Write(const Json& value, std::string* text) {
  if (!value.is_structured()) {
    *text += value.dump();
    return;
  }
  *text += value.is_object() ? '{' : '[';
  bool first = true;
  for (const auto& item : value.items()) {
    if (!first) *text += Chance(50) ? "," : ", ";
    first = false;
    if (value.is_object()) *text += Json(item.key()).dump() + (Chance(50) ? ":" : ": ");
    Write(item.value(), text);
  }
  *text += value.is_object() ? '}' : ']';
}

std::string SchemaMaker::Document(const Json& schema) {
  root_ = schema;
  std::string text;
  Write(Value(schema, 0), &text);
  return text;
}

}  // namespace cascade
