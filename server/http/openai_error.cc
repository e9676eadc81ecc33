#include "server/http/openai_error.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/http/json_text.h"

namespace cascade {
namespace {

constexpr size_t kMaxMessageBytes = 1024;
constexpr char kModelNotFound[] = "the model is not served here; GET /v1/models tells which one is";

struct Renaming {
  std::string_view from, to;
};
// Longest first where one begins with another.
constexpr Renaming kFields[] = {
    {"prompt.token_ids.ids", "prompt"},
    {"prompt.token_ids", "prompt"},
    {"prompt.text", "prompt"},
    {"prompt.messages.messages", "messages"},
    {"prompt.messages", "messages"},
    {"stopping.include_stop", "include_stop_str_in_output"},
    {"stopping.", ""},
    {"sampling.", ""},
    {"response_format.json_schema:", "response_format.json_schema.schema:"},
};

bool IsFieldChar(char c) {
  return absl::ascii_islower(static_cast<unsigned char>(c)) || absl::ascii_isdigit(static_cast<unsigned char>(c)) ||
         c == '_' || c == '.' || c == '[' || c == ']';
}

std::string Clean(std::string_view message) {
  std::string clean(message.substr(0, kMaxMessageBytes));
  for (char& c : clean) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  return clean;
}

// The error's kind by its HTTP status.
std::string TypeOf(int http_status) {
  switch (http_status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 409:
      return "conflict_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "service_unavailable_error";
    case 504:
      return "timeout_error";
    default:
      return http_status < 500 ? "invalid_request_error" : "server_error";
  }
}

int HttpStatus(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    // Not 409: what a client's library repeats by itself would fail again.
    case absl::StatusCode::kFailedPrecondition:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kAlreadyExists:
      return 409;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kUnimplemented:
      return 501;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kCancelled:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

}  // namespace

std::string_view LeadingField(std::string_view message) {
  const size_t end =
      static_cast<size_t>(std::find_if_not(message.begin(), message.end(), IsFieldChar) - message.begin());
  const std::string_view rest = message.substr(end);
  const auto follows = [&](std::string_view words) { return rest.substr(0, words.size()) == words; };
  return follows(": ") || follows(" must ") || follows(" is ") ? message.substr(0, end) : "";
}

std::string WithOpenAiField(std::string_view message) {
  if (LeadingField(message).empty()) return std::string(message);
  for (const auto& [from, to] : kFields) {
    if (message.substr(0, from.size()) == from) return std::string(to).append(message.substr(from.size()));
  }
  return std::string(message);
}

absl::Status ModelNotFound() { return absl::NotFoundError(kModelNotFound); }

OpenAiError ToOpenAiError(const absl::Status& status) {
  OpenAiError error;
  error.http_status = HttpStatus(status.code());
  error.type = TypeOf(error.http_status);
  error.code = absl::AsciiStrToLower(absl::StatusCodeToString(status.code()));
  const std::string_view text(status.message().data(), status.message().size());
  if (absl::IsInternal(status) || absl::IsUnknown(status)) {
    spdlog::error("a request failed: {}", std::string(text));
    error.message = "internal error; the server's log says more";
    return error;
  }
  error.message = Clean(WithOpenAiField(text));
  if (error.http_status == 400) error.param = LeadingField(error.message);
  if (text == kModelNotFound) {
    error.param = "model";
    error.code = "model_not_found";
  }
  return error;
}

std::string ErrorJson(const OpenAiError& error) {
  std::string json = R"({"error":{"message":)";
  AppendJsonString(error.message, &json);
  json += R"(,"type":)";
  AppendJsonString(error.type, &json);
  json += R"(,"param":)";
  if (error.param.empty()) {
    json += "null";
  } else {
    AppendJsonString(error.param, &json);
  }
  json += R"(,"code":)";
  AppendJsonString(error.code, &json);
  json += "}}";
  return json;
}

HttpResponse ErrorResponse(const OpenAiError& error) {
  HttpResponse response;
  response.status = error.http_status;
  response.body = ErrorJson(error);
  // About the time of a short reply; a server that stops needs longer to come back.
  if (error.http_status == 429) response.headers.emplace_back("Retry-After", "1");
  if (error.http_status == 503) response.headers.emplace_back("Retry-After", "5");
  return response;
}

HttpResponse ErrorResponse(const absl::Status& status) { return ErrorResponse(ToOpenAiError(status)); }

HttpResponse ErrorResponse(int http_status, const std::string& message, const std::string& code,
                           const std::string& param) {
  return ErrorResponse(OpenAiError{http_status, message, TypeOf(http_status), param, code});
}

}  // namespace cascade
