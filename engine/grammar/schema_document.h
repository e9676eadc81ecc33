// The JSON text of a schema, and places in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace cascade::grammar {

// Keeps the order of properties.
using Json = nlohmann::ordered_json;

// A schema within the document, which must outlive it.
struct SchemaPlace {
  const Json* json = nullptr;
  std::string pointer;  // RFC 6901; "" for the whole document. Long ones are cut.

  SchemaPlace Child(std::string_view key) const { return Child(key, json->at(std::string(key))); }
  SchemaPlace Child(std::string_view key, const Json& value) const;
  SchemaPlace Child(size_t index) const { return Child(std::to_string(index), (*json)[index]); }
  // INVALID_ARGUMENT that begins with the field of the request and the pointer.
  absl::Status Error(const std::string& what) const;
};

// The document, and how much more may be done with it: schemas can refer to each other so that they grow without end.
struct SchemaDocument {
  Json json;
  int64_t work_left = 0;
  int64_t pattern_steps_left = 0;

  // False when there is no more.
  bool Spend(int64_t work) { return (work_left -= work) >= 0; }
};

// INVALID_ARGUMENT: larger than `max_bytes`, not JSON (says where), a key twice in one object, more than 64 objects and
// arrays within each other, more than 1,000 keys in one object.
absl::StatusOr<Json> ParseSchema(std::string_view text, size_t max_bytes);

// What the "$ref" of `place` refers to: "#", "#/$defs/NAME" or "#/definitions/NAME".
absl::StatusOr<SchemaPlace> ResolveReference(const Json& document, const SchemaPlace& place);

// Equal for values that JSON Schema calls equal: 1 and 1.0, objects in whatever order.
std::string ValueKey(const Json& value);

}  // namespace cascade::grammar
