#include "tests/engine/grammar/plain_checker.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <vector>

namespace cascade {
namespace {

bool Matches(std::string pattern, const std::string& text) {
  // PCRE's \s is ASCII's, JavaScript's is not.
  for (size_t at = pattern.find("\\s"); at != std::string::npos; at = pattern.find("\\s")) {
    pattern.replace(at, 2, "[\\u0009-\\u000d \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff]");
  }
  int error = 0;
  size_t offset = 0;
  const auto* bytes = reinterpret_cast<const unsigned char*>(pattern.data());
  pcre2_code* code =
      pcre2_compile(bytes, pattern.size(), PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_ALT_BSUX, &error, &offset, nullptr);
  if (code == nullptr) std::abort();
  pcre2_match_data* data = pcre2_match_data_create_from_pattern(code, nullptr);
  const int found =
      pcre2_match(code, reinterpret_cast<const unsigned char*>(text.data()), text.size(), 0, 0, data, nullptr);
  pcre2_match_data_free(data);
  pcre2_code_free(code);
  return found > 0;
}

bool IsDate(const std::string& text) {
  int year = 0, month = 0, day = 0, end = 0;
  if (std::sscanf(text.c_str(), "%4d-%2d-%2d%n", &year, &month, &day, &end) != 3) return false;
  constexpr int kDays[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  if (end != 10 || text.size() != 10 || year < 1 || month < 1 || month > 12 || day < 1) return false;
  return day <= kDays[month - 1] && (month != 2 || day <= 28 || leap);
}

bool HasFormat(const std::string& format, const std::string& text) {
  if (format == "date") return IsDate(text);
  if (format == "uuid") return Matches("^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", text);
  if (format == "ipv4") {
    int parts[4], end = 0;
    if (std::sscanf(text.c_str(), "%3d.%3d.%3d.%3d%n", &parts[0], &parts[1], &parts[2], &parts[3], &end) != 4)
      return false;
    for (const int part : parts) {
      if (part < 0 || part > 255) return false;
    }
    return static_cast<size_t>(end) == text.size();
  }
  if (format == "date-time") return text.size() >= 20 && text[10] == 'T' && IsDate(text.substr(0, 10));
  std::abort();
}

size_t Length(const std::string& text) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

bool HasType(const std::string& type, const Json& value) {
  if (type == "null") return value.is_null();
  if (type == "boolean") return value.is_boolean();
  if (type == "string") return value.is_string();
  if (type == "array") return value.is_array();
  if (type == "object") return value.is_object();
  if (type == "number") return value.is_number();
  return value.is_number_integer() ||
         (value.is_number_float() && value.get<double>() == std::trunc(value.get<double>()));
}

class Checker {
 public:
  explicit Checker(const Json& root) : root_(root) {}

  std::string Check(const Json& schema, const Json& value) const {
    if (schema.is_boolean()) return schema.get<bool>() ? "" : "false";
    for (const auto& item : schema.items()) {
      const std::string fault = CheckKeyword(item.key(), item.value(), schema, value);
      if (!fault.empty()) return "/" + item.key() + fault;
    }
    return "";
  }

 private:
  std::string CheckKeyword(const std::string& key, const Json& with, const Json& schema, const Json& value) const {
    const auto failed = [&](bool ok) { return ok ? std::string() : " of " + value.dump(); };
    if (key == "$ref") {
      const std::string to = with.get<std::string>().substr(1);
      return Check(to.empty() ? root_ : root_.at(Json::json_pointer(to)), value);
    }
    if (key == "type") {
      if (with.is_string()) return failed(HasType(with, value));
      for (const Json& type : with) {
        if (HasType(type, value)) return "";
      }
      return failed(false);
    }
    if (key == "const") return failed(value == with);
    if (key == "enum") {
      for (const Json& one : with) {
        if (one == value) return "";
      }
      return failed(false);
    }
    if (key == "anyOf" || key == "oneOf" || key == "allOf") {
      size_t fits = 0;
      for (const Json& branch : with) fits += Check(branch, value).empty();
      return failed(key == "anyOf" ? fits > 0 : key == "oneOf" ? fits == 1 : fits == with.size());
    }
    if (value.is_number()) {
      if (key == "minimum") return failed(value >= with);
      if (key == "maximum") return failed(value <= with);
      if (key == "exclusiveMinimum") return failed(value > with);
      if (key == "exclusiveMaximum") return failed(value < with);
    }
    if (value.is_string()) {
      const std::string text = value;
      if (key == "minLength") return failed(Length(text) >= with.get<size_t>());
      if (key == "maxLength") return failed(Length(text) <= with.get<size_t>());
      if (key == "pattern") return failed(Matches(with, text));
      if (key == "format") return failed(HasFormat(with, text));
    }
    if (value.is_array()) {
      if (key == "minItems") return failed(value.size() >= with.get<size_t>());
      if (key == "maxItems") return failed(value.size() <= with.get<size_t>());
      const size_t listed = schema.contains("prefixItems") ? schema["prefixItems"].size() : 0;
      for (size_t i = 0; i < value.size(); ++i) {
        std::string fault;
        if (key == "prefixItems" && i < listed) fault = Check(with[i], value[i]);
        if (key == "items" && i >= listed) fault = Check(with, value[i]);
        if (!fault.empty()) return fault;
      }
    }
    if (value.is_object()) {
      if (key == "required") {
        for (const Json& name : with) {
          if (!value.contains(name.get<std::string>())) return failed(false);
        }
      }
      for (const auto& item : value.items()) {
        const bool listed = schema.contains("properties") && schema["properties"].contains(item.key());
        std::string fault;
        if (key == "properties" && listed) fault = Check(with[item.key()], item.value());
        if (key == "additionalProperties" && !listed) fault = Check(with, item.value());
        if (!fault.empty()) return "/" + item.key() + fault;
      }
    }
    return "";
  }

  const Json& root_;
};

}  // namespace

std::string WhyNot(const Json& schema, const std::string& text) {
  std::vector<std::set<std::string>> keys;
  bool twice = false;
  const auto count = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) twice = !keys.back().insert(parsed.get<std::string>()).second || twice;
    return true;
  };
  const Json value = Json::parse(text, count, /*allow_exceptions=*/false);
  if (value.is_discarded()) return "not JSON";
  if (twice) return "a key twice";
  return Checker(schema).Check(schema, value);
}

}  // namespace cascade
