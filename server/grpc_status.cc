#include "server/grpc_status.h"

#include <spdlog/spdlog.h>

#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace cascade {
namespace {

// When a client that met a full queue or pool should try again: about the time of a short reply.
constexpr int kRetrySeconds = 1;

bool IsFieldChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '[' || c == ']';
}

std::string CleanMessage(std::string_view message) {
  std::string clean(message.substr(0, kMaxErrorMessageBytes));
  if (clean.size() < message.size()) {
    // Not in the middle of a character: drop trailing continuation bytes, then the lead byte before them.
    while (!clean.empty() && (static_cast<unsigned char>(clean.back()) & 0xC0) == 0x80) clean.pop_back();
    if (!clean.empty() && (static_cast<unsigned char>(clean.back()) & 0x80) != 0) clean.pop_back();
  }
  for (char& c : clean) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  return clean;
}

std::string Details(const absl::Status& status, const std::string& message) {
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(message);
  if (absl::IsInvalidArgument(status)) {
    const std::string_view field = FieldOfMessage(message);
    if (field.empty()) return "";
    google::rpc::BadRequest bad_request;
    auto* violation = bad_request.add_field_violations();
    violation->set_field(std::string(field));
    violation->set_description(message);
    details.add_details()->PackFrom(bad_request);
  } else if (absl::IsResourceExhausted(status)) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(kRetrySeconds);
    details.add_details()->PackFrom(retry);
  } else {
    return "";
  }
  return details.SerializeAsString();
}

}  // namespace

std::string_view FieldOfMessage(std::string_view message) {
  size_t end = 0;
  while (end < message.size() && IsFieldChar(message[end])) ++end;
  const std::string_view rest = message.substr(end);
  const auto follows = [&](std::string_view words) { return rest.substr(0, words.size()) == words; };
  return follows(": ") || follows(" must ") || follows(" is ") ? message.substr(0, end) : "";
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const auto code = static_cast<grpc::StatusCode>(status.code());  // the same numbers
  const std::string_view text(status.message().data(), status.message().size());
  if (absl::IsInternal(status) || absl::IsUnknown(status)) {
    spdlog::error("a call failed: {}", text);
    return grpc::Status(code, "internal error; the server's log says more");
  }
  const std::string message = CleanMessage(text);
  return grpc::Status(code, message, Details(status, message));
}

absl::Status ClientGone() { return absl::CancelledError("the client went away"); }

}  // namespace cascade
