#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace cascade {

// Unicode's normalization form C of `text` (valid UTF-8), or nothing where the text has it for sure already, as nearly
// all texts of the Latin script. n log n, whatever the runs of combining marks.
absl::StatusOr<std::string> ToNfc(std::string_view text, bool* changed);

}  // namespace cascade
