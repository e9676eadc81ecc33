// Reading the fields of a JSON object, each by its type.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/http/json_text.h"

namespace cascade {

// A field that is null is not there. The first thing that is wrong stays in status(), as INVALID_ARGUMENT that begins
// with the field's name; what is read after it is of no use. The object must outlive it. One thread.
class JsonFields {
 public:
  // `place`: before the names in errors: "messages[2]."; "" for the body.
  explicit JsonFields(const Json& object, std::string place = "");

  const Json* Find(const std::string& name);  // null: not there
  std::optional<bool> Bool(const std::string& name);
  std::optional<int64_t> Int(const std::string& name, int64_t low, int64_t high);
  std::optional<double> Number(const std::string& name);
  std::optional<std::string> String(const std::string& name);
  std::optional<std::vector<int32_t>> Ids(const std::string& name);  // an array of integers
  // Accepted, and of no consequence.
  void Ignore(const std::string& name) { known_.insert(name); }
  // Accepted where it asks for nothing: null, false, or `nothing`.
  void Unsupported(const std::string& name, const Json& nothing = nullptr);

  void Fail(const std::string& name, const std::string& what);  // "NAME WHAT"; without a name WHAT is all
  const absl::Status& status() const { return status_; }
  // status(), or which field is not known.
  absl::Status Finish();

 private:
  const Json& object_;
  const std::string place_;
  std::set<std::string> known_;
  absl::Status status_;
};

// "a string", "an array", ..
std::string JsonTypeName(const Json& json);
// An integer, also one that is written as 3.0.
std::optional<int64_t> JsonInteger(const Json& json);

// The body as an object.
absl::StatusOr<Json> ParseJsonObject(std::string_view text);

}  // namespace cascade
