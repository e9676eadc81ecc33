// Errors on their way to the client.
#pragma once

#include <grpcpp/support/status.h>

#include <string_view>

#include "absl/status/status.h"

namespace cascade {

// Longer error messages are cut: they travel in HTTP/2 trailers, which are bounded.
inline constexpr size_t kMaxErrorMessageBytes = 512;

// The same code; the message capped and on one line. INVALID_ARGUMENT carries google.rpc.BadRequest with the field,
// RESOURCE_EXHAUSTED google.rpc.RetryInfo. What is our own fault (INTERNAL, UNKNOWN) is logged and reaches the client
// without its text, which may hold more than a client should see. DATA_LOSS is of a session's files or of what is
// imported, and the client's to know; a lost device comes as UNAVAILABLE. Any thread.
grpc::Status ToGrpcStatus(const absl::Status& status);

// CANCELLED: for calls that nobody waits for any more.
absl::Status ClientGone();

// The field that an INVALID_ARGUMENT message begins with: "sampling.top_p must ..", "messages[2].role: ..", "page_token
// is ..". "" when it begins with none.
std::string_view FieldOfMessage(std::string_view message);

}  // namespace cascade
