// JSON as the HTTP port writes and reads it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace cascade {

// Members keep their order: a schema's says in which order a reply has them.
using Json = nlohmann::ordered_json;

// Appends `text` in quotes. What is no UTF-8 becomes U+FFFD.
void AppendJsonString(std::string_view text, std::string* out);
// Finite; nine digits tell any two floats apart.
void AppendJsonNumber(double value, std::string* out);

inline constexpr int kMaxJsonDepth = 64;
inline constexpr int kMaxJsonMembers = 1024;  // of one object
// A body. INVALID_ARGUMENT with the place where it is no JSON, or with the limit that it is beyond.
absl::StatusOr<Json> ParseJson(std::string_view text);

// Without spaces; never throws.
std::string DumpJson(const Json& json);

}  // namespace cascade
