// How the process ends, for scripts and supervisors (sysexits.h where it has a fitting number).
#pragma once

#include <string>

#include "absl/status/status.h"

namespace cascade {

enum class ExitCode : int {
  kOk = 0,              // clean stop or full drain
  kUsage = 64,          // unknown flag or unreadable value
  kModel = 66,          // model file missing or corrupt
  kPortInUse = 69,      // cannot listen
  kFault = 70,          // engine or device fault: restart me
  kDevice = 71,         // device missing, too old or too small
  kDrainTimedOut = 75,  // turns were cut, or sessions not parked
  kConfig = 78,         // readable but impossible or contradictory, also against the model
};

// An error that stops the start, with the exit code that it causes.
absl::Status ExitError(ExitCode code, const std::string& message);
// kConfig, about a flag: "--FLAG: WHAT".
absl::Status FlagError(const std::string& flag, const std::string& what);
// Of a status made by ExitError; kFault for any other error.
ExitCode ExitCodeOf(const absl::Status& status);

}  // namespace cascade
