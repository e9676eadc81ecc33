// Typed, range-checked reading of a GGUF file's keys. The first error stays and the reads after it return their
// fallback, so that a caller reads all its fields and asks once.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/model/gguf.h"

namespace cascade {

class GgufFields {
 public:
  // Both must outlive it; `name` begins every error.
  GgufFields(const GgufFile& file, const std::string& name) : file_(file), name_(name) {}

  // Without a fallback the key is required.
  int64_t Integer(std::string_view key, int64_t min, int64_t max, std::optional<int64_t> fallback = std::nullopt);
  // Finite and at least `min`.
  float Float(std::string_view key, float min, std::optional<float> fallback = std::nullopt);
  bool Bool(std::string_view key, bool fallback);
  // Valid UTF-8, at most `max_bytes`.
  std::string String(std::string_view key, size_t max_bytes, std::optional<std::string> fallback = std::nullopt);

  // The value if it is there; null, and an error if it is required, otherwise.
  const GgufValue* Find(std::string_view key, bool required);
  // INVALID_ARGUMENT "<file>: key '<key>': <parts>", unless there was an error before.
  template <class... Parts>
  void Fail(std::string_view key, const Parts&... parts) {
    FailWith(absl::StatusCode::kInvalidArgument, key, parts...);
  }
  template <class... Parts>
  void FailWith(absl::StatusCode code, std::string_view key, const Parts&... parts) {
    if (status_.ok()) status_ = absl::Status(code, absl::StrCat(name_, ": key ", Quoted(key), ": ", parts...));
  }
  // The same about a tensor that says what a key might.
  template <class... Parts>
  void FailTensor(absl::StatusCode code, std::string_view tensor, const Parts&... parts) {
    if (status_.ok()) status_ = absl::Status(code, absl::StrCat(name_, ": tensor ", Quoted(tensor), ": ", parts...));
  }

  const GgufFile& file() const { return file_; }
  const std::string& name() const { return name_; }
  const absl::Status& status() const { return status_; }

 private:
  const GgufFile& file_;
  const std::string& name_;
  absl::Status status_;
};

}  // namespace cascade
