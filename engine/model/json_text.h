// JSON that nobody vouches for: checked before anything is built from it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace cascade {

// Objects and arrays within each other; the files of models have five at most.
inline constexpr int kMaxJsonDepth = 32;

// The object that `text` is. INVALID_ARGUMENT, beginning with `name`: more than `max_bytes`, not JSON (with the place),
// deeper than kMaxJsonDepth, a key twice in one object, not an object.
absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text, size_t max_bytes, const std::string& name);

// What a value is, for messages: "'silu'", "12", "null", "an array", "an object".
std::string Description(const nlohmann::json& value);

}  // namespace cascade
