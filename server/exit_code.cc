#include "server/exit_code.h"

#include "absl/strings/cord.h"

namespace cascade {
namespace {

constexpr char kPayload[] = "cascade.exit_code";

}  // namespace

absl::Status ExitError(ExitCode code, const std::string& message) {
  absl::Status status = absl::FailedPreconditionError(message);
  status.SetPayload(kPayload, absl::Cord(std::to_string(static_cast<int>(code))));
  return status;
}

absl::Status FlagError(const std::string& flag, const std::string& what) {
  return ExitError(ExitCode::kConfig, "--" + flag + ": " + what);
}

ExitCode ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return ExitCode::kOk;
  const auto payload = status.GetPayload(kPayload);
  if (!payload.has_value()) return ExitCode::kFault;
  return static_cast<ExitCode>(std::stoi(std::string(*payload)));
}

}  // namespace cascade
