#include "engine/model/json_fields.h"

#include "engine/model/gguf.h"
#include "engine/model/json_text.h"

namespace cascade {

void JsonFields::Set(absl::StatusCode code, std::string_view key, const std::string& what) {
  if (!status_.ok()) return;
  status_ = absl::Status(code, absl::StrCat(name_, ": key ", Quoted(path_ + std::string(key)), ": ", what));
}

const nlohmann::json* JsonFields::Find(std::string_view key) const {
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

int64_t JsonFields::Integer(std::string_view key, int64_t min, int64_t max, std::optional<int64_t> fallback) {
  const int64_t otherwise = fallback.value_or(min);
  const auto it = object_.find(key);
  const std::string expected = absl::StrCat("expected an integer from ", min, " to ", max);
  if (it == object_.end()) {
    if (!fallback) Fail(key, "missing, ", expected);
    return otherwise;
  }
  const uint64_t* const positive = it->get_ptr<const uint64_t*>();
  const int64_t* const any = it->get_ptr<const int64_t*>();
  // The library keeps numbers without a sign as uint64_t, and then also shows them as an int64_t.
  const bool fits = positive != nullptr ? *positive <= static_cast<uint64_t>(INT64_MAX) : any != nullptr;
  const int64_t value = !fits ? 0 : positive != nullptr ? static_cast<int64_t>(*positive) : *any;
  if (!fits || value < min || value > max) {
    Fail(key, "found ", Description(*it), ", ", expected);
    return otherwise;
  }
  return value;
}

double JsonFields::Number(std::string_view key, double min, double max, std::optional<double> fallback) {
  const double otherwise = fallback.value_or(min);
  const auto it = object_.find(key);
  const std::string expected = absl::StrCat("expected a number from ", min, " to ", max);
  if (it == object_.end()) {
    if (!fallback) Fail(key, "missing, ", expected);
    return otherwise;
  }
  const double value = it->is_number() ? it->get<double>() : 0;
  if (!it->is_number() || !(value >= min && value <= max)) {
    Fail(key, "found ", Description(*it), ", ", expected);
    return otherwise;
  }
  return value;
}

bool JsonFields::Bool(std::string_view key, bool fallback) {
  const auto it = object_.find(key);
  if (it == object_.end()) return fallback;
  if (!it->is_boolean()) {
    Fail(key, "found ", Description(*it), ", expected true or false");
    return fallback;
  }
  return it->get<bool>();
}

std::string JsonFields::String(std::string_view key, std::optional<std::string> fallback) {
  const auto it = object_.find(key);
  if (it == object_.end()) {
    if (!fallback) Fail(key, "missing, expected a string");
    return fallback.value_or("");
  }
  const std::string* const text = it->get_ptr<const std::string*>();
  if (text == nullptr) Fail(key, "found ", Description(*it), ", expected a string");
  return text == nullptr ? fallback.value_or("") : *text;
}

}  // namespace cascade
