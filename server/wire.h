// Bytes to messages and back. The service takes raw bytes because gRPC answers a message that does not parse with
// UNIMPLEMENTED and no text; here a client learns which field is not valid UTF-8.
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include "absl/status/status.h"

namespace cascade {

// Bytes that a request about a session has at most: it may wait in a queue, among many.
inline constexpr size_t kMaxSmallRequestBytes = 64 << 10;
absl::Status CheckSmallRequest(const grpc::ByteBuffer& bytes);  // INVALID_ARGUMENT

// INVALID_ARGUMENT names the field that is not UTF-8, else the message's type.
absl::Status ParseWire(const grpc::ByteBuffer& bytes, google::protobuf::Message* message);

// `bytes` is replaced.
void SerializeWire(const google::protobuf::Message& message, grpc::ByteBuffer* bytes);

}  // namespace cascade
