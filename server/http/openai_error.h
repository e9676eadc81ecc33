// Errors on their way to an HTTP client, in OpenAI's shape: {"error": {"message", "type", "param", "code"}}.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/http/http_message.h"

namespace cascade {

struct OpenAiError {
  int http_status = 500;
  std::string message;
  std::string type;
  std::string param;  // "": null
  std::string code;
};

// What is our own fault (INTERNAL, UNKNOWN) is logged and reaches the client without its text. A message's field
// ("sampling.top_p must ..") becomes `param`, by its name in this API. Any thread.
OpenAiError ToOpenAiError(const absl::Status& status);
// {"error": ..}
std::string ErrorJson(const OpenAiError& error);

HttpResponse ErrorResponse(const OpenAiError& error);
HttpResponse ErrorResponse(const absl::Status& status);
HttpResponse ErrorResponse(int http_status, const std::string& message, const std::string& code,
                           const std::string& param = "");

// NOT_FOUND for a model that is not served; its code is OpenAI's.
absl::Status ModelNotFound();

// A message that begins with a field of the engine or of gRPC, with the field's name in this API: "sampling.top_p must
// .." is "top_p must ..".
std::string WithOpenAiField(std::string_view message);
// The field that a message begins with; "" if it begins with none.
std::string_view LeadingField(std::string_view message);

}  // namespace cascade
