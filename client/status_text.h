// Errors of the server as one line for a person.
#pragma once

#include <grpcpp/grpcpp.h>

#include <optional>
#include <string>
#include <vector>

namespace cascade::client {

// "invalid argument", "not found", ..
std::string CodeInWords(grpc::StatusCode code);

// What google.rpc error details say beyond the text.
struct ErrorDetails {
  // Names of the request's wrong fields.
  std::vector<std::string> fields;
  std::optional<double> retry_after_seconds;
};
// Empty when there are none, or none that can be read.
ErrorDetails ParseErrorDetails(const grpc::Status& status);

// "invalid argument in sampling.temperature: must be in [0, 2]"; one line, without controls.
std::string StatusText(const grpc::Status& status);

}  // namespace cascade::client
