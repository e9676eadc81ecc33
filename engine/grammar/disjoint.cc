#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "engine/grammar/constraints.h"

namespace cascade::grammar {
namespace {

using Values = absl::flat_hash_set<std::string>;

// What is known of the values that fit a branch; they may be fewer.
struct Summary {
  uint8_t types = kAnyType;
  std::optional<Values> values;
  absl::flat_hash_map<std::string, Values> tags;  // required properties with few values
};

std::optional<Values> ValuesOf(const Constraints& constraints) {
  if (!constraints.values) return std::nullopt;
  Values values;
  for (const Json* value : *constraints.values) values.insert(ValueKey(*value));
  return values;
}

absl::StatusOr<Summary> Summarize(SchemaDocument* document, const SchemaPlace& branch) {
  Constraints constraints;
  if (absl::Status status = AddSchema(document, branch, &constraints); !status.ok()) return status;
  Summary summary = {.types = constraints.types, .values = ValuesOf(constraints), .tags = {}};
  if (summary.values) {
    uint8_t types = 0;
    for (const Json* value : *constraints.values) types |= TypeOf(*value);
    summary.types &= types;
  }
  const absl::flat_hash_set<std::string> required(constraints.required.begin(), constraints.required.end());
  for (const Constraints::Members& members : constraints.members) {
    for (const auto& [name, place] : members.properties) {
      if (!required.contains(name)) continue;
      Constraints property;
      if (absl::Status status = AddSchema(document, place, &property); !status.ok()) return status;
      if (std::optional<Values> values = ValuesOf(property)) summary.tags[name] = *std::move(values);
    }
  }
  return summary;
}

bool Apart(const Values& a, const Values& b) {
  const Values& fewer = a.size() < b.size() ? a : b;
  const Values& more = a.size() < b.size() ? b : a;
  for (const std::string& value : fewer) {
    if (more.contains(value)) return false;
  }
  return true;
}

bool Apart(const Summary& a, const Summary& b) {
  if ((a.types & b.types) == 0) return true;
  if (a.values && b.values && Apart(*a.values, *b.values)) return true;
  if ((a.types & b.types) != kObject) return false;
  for (const auto& [name, values] : a.tags) {
    const auto other = b.tags.find(name);
    if (other != b.tags.end() && Apart(values, other->second)) return true;
  }
  return false;
}

}  // namespace

absl::Status CheckDisjoint(SchemaDocument* document, const SchemaPlace& branches) {
  std::vector<Summary> summaries;
  for (size_t i = 0; i < branches.json->size(); ++i) {
    absl::StatusOr<Summary> summary = Summarize(document, branches.Child(i));
    if (!summary.ok()) return summary.status();
    for (const Summary& before : summaries) {
      if (Apart(before, *summary)) continue;
      return branches.Child(i).Error(
          "a value may fit an earlier branch of oneOf as well; branches must differ in their types, or in the values "
          "of "
          "const or enum of a property that all of them require (or say anyOf)");
    }
    summaries.push_back(*std::move(summary));
  }
  return absl::OkStatus();
}

}  // namespace cascade::grammar
