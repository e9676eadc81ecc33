#include "engine/model/gguf_fields.h"

#include <cmath>

#include "engine/text/utf8.h"

namespace cascade {

const GgufValue* GgufFields::Find(std::string_view key, bool required) {
  const GgufValue* value = file_.FindValue(key);
  if (value == nullptr && required) Fail(key, "missing");
  return value;
}

int64_t GgufFields::Integer(std::string_view key, int64_t min, int64_t max, std::optional<int64_t> fallback) {
  const int64_t otherwise = fallback.value_or(min);
  const GgufValue* value = Find(key, !fallback);
  if (value == nullptr) return otherwise;
  const std::optional<int64_t> number = value->Integer();
  if (!number) {
    Fail(key, "found ", value->Description(), ", expected an integer from ", min, " to ", max);
  } else if (*number < min || *number > max) {
    Fail(key, "found ", *number, ", expected ", min, " to ", max);
  } else {
    return *number;
  }
  return otherwise;
}

float GgufFields::Float(std::string_view key, float min, std::optional<float> fallback) {
  const float otherwise = fallback.value_or(min);
  const GgufValue* value = Find(key, !fallback);
  if (value == nullptr) return otherwise;
  const std::optional<float> number = value->Float();
  if (!number) {
    Fail(key, "found ", value->Description(), ", expected FLOAT32");
  } else if (!std::isfinite(*number) || *number < min) {
    Fail(key, "found ", *number, ", expected a finite number of at least ", min);
  } else {
    return *number;
  }
  return otherwise;
}

bool GgufFields::Bool(std::string_view key, bool fallback) {
  const GgufValue* value = Find(key, false);
  if (value == nullptr) return fallback;
  const std::optional<bool> flag = value->Bool();
  if (!flag) Fail(key, "found ", value->Description(), ", expected BOOL");
  return flag.value_or(fallback);
}

std::string GgufFields::String(std::string_view key, size_t max_bytes, std::optional<std::string> fallback) {
  const GgufValue* value = Find(key, !fallback);
  if (value == nullptr) return fallback.value_or("");
  const std::optional<std::string_view> text = value->String();
  if (!text) {
    Fail(key, "found ", value->Description(), ", expected STRING");
  } else if (text->size() > max_bytes) {
    Fail(key, "found ", text->size(), " bytes, expected at most ", max_bytes);
  } else if (FindInvalidUtf8(*text) != std::string_view::npos) {
    Fail(key, "not valid UTF-8");
  } else {
    return std::string(*text);
  }
  return "";
}

}  // namespace cascade
