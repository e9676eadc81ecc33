// Typed, range-checked reading of an object's keys. The first error stays and the reads after it return their fallback,
// so that a caller reads all its fields and asks once.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace cascade {

class JsonFields {
 public:
  // `object` is an object that outlives it. `name` begins every error; `path` comes before keys in them
  // ("rope_scaling.").
  JsonFields(const nlohmann::json& object, std::string name, std::string path = "")
      : object_(object), name_(std::move(name)), path_(std::move(path)) {}

  // Without a fallback the key is required. A null is an error.
  int64_t Integer(std::string_view key, int64_t min, int64_t max, std::optional<int64_t> fallback = std::nullopt);
  // Written as an integer or not.
  double Number(std::string_view key, double min, double max, std::optional<double> fallback = std::nullopt);
  bool Bool(std::string_view key, bool fallback);
  std::string String(std::string_view key, std::optional<std::string> fallback = std::nullopt);

  bool Has(std::string_view key) const { return object_.contains(key); }
  // Null where there is no such key, or its value is null.
  const nlohmann::json* Find(std::string_view key) const;

  // "<file>: key '<key>': <parts>", unless there was an error before.
  template <class... Parts>
  void Fail(std::string_view key, const Parts&... parts) {
    Set(absl::StatusCode::kInvalidArgument, key, absl::StrCat(parts...));
  }
  // UNIMPLEMENTED.
  template <class... Parts>
  void Refuse(std::string_view key, const Parts&... parts) {
    Set(absl::StatusCode::kUnimplemented, key, absl::StrCat(parts...));
  }
  // Takes the error of fields within these.
  void Update(const absl::Status& status) { status_.Update(status); }

  const std::string& name() const { return name_; }
  const absl::Status& status() const { return status_; }

 private:
  void Set(absl::StatusCode code, std::string_view key, const std::string& what);

  const nlohmann::json& object_;
  const std::string name_;
  const std::string path_;
  absl::Status status_;
};

}  // namespace cascade
