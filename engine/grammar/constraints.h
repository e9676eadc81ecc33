// What one or several schemas ask of a value together, read from their keywords.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/grammar/numbers.h"
#include "engine/grammar/schema_document.h"

namespace cascade::grammar {

// Bits of a set of types. What JSON Schema calls "number" is both of kInteger and kFraction.
enum Types : uint8_t {
  kNull = 1,
  kBoolean = 2,
  kInteger = 4,
  kFraction = 8,
  kString = 16,
  kArray = 32,
  kObject = 64,
  kAnyType = 127,
};
uint8_t TypeOf(const Json& value);

struct Constraints {
  // The keywords of one schema that speak of the members of objects, and of arrays: they know only their own
  // neighbours.
  struct Members {
    std::vector<std::pair<std::string, SchemaPlace>> properties;  // in the order of the schema
    std::optional<SchemaPlace> additional;
  };
  struct Items {
    std::vector<SchemaPlace> prefix;
    std::optional<SchemaPlace> rest;
  };

  // Of anyOf or oneOf.
  struct Choice {
    SchemaPlace branches;
    bool is_one_of = false;
  };

  uint8_t types = kAnyType;
  std::optional<std::vector<const Json*>> values;  // of enum and const
  std::vector<NumberBound> bounds;
  int64_t min_length = 0, min_items = 0;
  std::optional<int64_t> max_length, max_items;
  std::vector<std::pair<SchemaPlace, std::string>> patterns;  // where, and what it says or its format means
  std::vector<Items> items;
  std::vector<Members> members;
  std::vector<std::string> required;  // no name twice
  std::vector<Choice> choices;        // of each of which one branch holds as well

  // Whether anything but types and values is asked.
  bool OnlyValues() const;
};

// Adds the schema at `place`, which holds beside what is there already; follows $ref and allOf. INVALID_ARGUMENT names
// the place of a keyword that is not known or not supported, or that does not have the form it should, or where the
// document's work is spent.
absl::Status AddSchema(SchemaDocument* document, const SchemaPlace& place, Constraints* constraints);

// The only assertion of a schema if it is `$ref`, "anyOf" or "oneOf", else "".
std::string LoneKeyword(const Json& schema);

// For a oneOf: fails unless no value can fit two of the branches, by their types, their values or those of a property
// that both require.
absl::Status CheckDisjoint(SchemaDocument* document, const SchemaPlace& branches);

}  // namespace cascade::grammar
