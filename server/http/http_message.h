// Requests and responses of the HTTP port as plain values.
#pragma once

#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace cascade {

struct HttpRequest {
  std::string method;      // "GET"; HEAD arrives as GET
  std::string path;        // as sent, without the query
  std::string query;       // as sent, without '?'
  std::string media_type;  // of Content-Type, in lower case, without parameters
  std::string host;        // without the port, in lower case
  std::string request_id;  // x-request-id, if it is fit to be sent back
  std::string session_id;  // cascade-session-id
  std::string body;

  // Of the connection.
  bool head = false;        // a HEAD: the body is left out of the response
  bool http_1_0 = false;    // knows no chunks
  bool keep_alive = false;  // the client wants the connection to stay
};

struct HttpResponse {
  int status = 200;
  std::string media_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers = {};  // more of them; names and values are ours
};

using BeastRequest = boost::beast::http::request<boost::beast::http::string_body>;

// INVALID_ARGUMENT for a target that is no path of ours to read.
absl::StatusOr<HttpRequest> ToHttpRequest(BeastRequest request);

// The first bytes of a response, up to its body. Chunked: the body's size is not known yet.
std::string ResponseHead(const HttpRequest& request, const HttpResponse& response, bool chunked, bool close);

// A part of a path. INVALID_ARGUMENT where %-escapes are broken.
absl::StatusOr<std::string> UnescapePath(std::string_view path);
// One value of a query; nothing: it is not there. The same errors.
absl::StatusOr<std::optional<std::string>> QueryValue(std::string_view query, std::string_view name);

}  // namespace cascade
