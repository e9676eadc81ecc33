#include "server/http/http_message.h"

#include <algorithm>
#include <boost/beast/http/field.hpp>
#include <boost/beast/http/status.hpp>
#include <cctype>
#include <ctime>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace cascade {
namespace {

namespace http = boost::beast::http;

constexpr size_t kMaxRequestId = 128;

std::string Text(boost::beast::string_view view) { return {view.data(), view.size()}; }

std::string WithoutParameters(const std::string& value) {
  return std::string(absl::StripAsciiWhitespace(value.substr(0, value.find(';'))));
}

// "[::1]:80" -> "::1", "host:80" -> "host".
std::string HostName(const std::string& authority) {
  if (!authority.empty() && authority.front() == '[') {
    return absl::AsciiStrToLower(authority.substr(1, authority.find(']') - 1));
  }
  return absl::AsciiStrToLower(authority.substr(0, authority.find(':')));
}

// What comes back in a header must not be able to end it.
bool IsRequestId(std::string_view id) {
  return id.size() <= kMaxRequestId && std::all_of(id.begin(), id.end(), [](char c) { return c > 0x20 && c < 0x7F; });
}

// RFC 9110, 5.6.7.
std::string HttpDate() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  gmtime_r(&now, &parts);
  char text[40];
  return {text, std::strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &parts)};
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = absl::ascii_tolower(static_cast<unsigned char>(c));
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// In a query `+` is a blank.
bool Unescape(std::string_view text, bool query, std::string* out) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      *out += query && text[i] == '+' ? ' ' : text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? HexDigit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? HexDigit(text[i + 2]) : -1;
    if (high < 0 || low < 0) return false;
    *out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return true;
}

}  // namespace

absl::StatusOr<HttpRequest> ToHttpRequest(BeastRequest request) {
  HttpRequest result;
  result.head = request.method() == http::verb::head;
  result.method = result.head ? "GET" : Text(request.method_string());
  result.http_1_0 = request.version() == 10;
  result.keep_alive = request.keep_alive();
  result.host = HostName(Text(request[http::field::host]));
  std::string target = Text(request.target());
  // A proxy's form: http://host/path.
  if (const size_t scheme = target.find("://"); !target.empty() && target.front() != '/' && scheme != target.npos) {
    const size_t path = target.find('/', scheme + 3);
    result.host = HostName(target.substr(scheme + 3, path == target.npos ? path : path - scheme - 3));
    target = path == target.npos ? "/" : target.substr(path);
  }
  if (target.empty() || (target.front() != '/' && target != "*")) {
    return absl::InvalidArgumentError("the request's target must be a path that begins with /");
  }
  target = target.substr(0, target.find('#'));
  const size_t query = target.find('?');
  result.path = target.substr(0, query);
  if (query != target.npos) result.query = target.substr(query + 1);
  result.media_type = absl::AsciiStrToLower(WithoutParameters(Text(request[http::field::content_type])));
  const std::string id = Text(request["x-request-id"]);
  if (IsRequestId(id)) result.request_id = id;
  result.session_id = Text(request["cascade-session-id"]);
  result.body = std::move(request.body());
  return result;
}

std::string ResponseHead(const HttpRequest& request, const HttpResponse& response, bool chunked, bool close) {
  std::string head = absl::StrCat(
      "HTTP/1.1 ", response.status, " ", Text(http::obsolete_reason(static_cast<http::status>(response.status))),
      "\r\nDate: ", HttpDate(), "\r\nServer: cascade\r\nX-Content-Type-Options: nosniff\r\n");
  if (!response.media_type.empty()) absl::StrAppend(&head, "Content-Type: ", response.media_type, "\r\n");
  if (chunked && !request.http_1_0) {
    head += "Transfer-Encoding: chunked\r\n";
  } else if (!chunked && response.status != 204) {
    absl::StrAppend(&head, "Content-Length: ", response.body.size(), "\r\n");
  }
  if (close) {
    head += "Connection: close\r\n";
  } else if (request.http_1_0) {
    head += "Connection: keep-alive\r\n";
  }
  if (!request.request_id.empty()) absl::StrAppend(&head, "x-request-id: ", request.request_id, "\r\n");
  for (const auto& [name, value] : response.headers) absl::StrAppend(&head, name, ": ", value, "\r\n");
  head += "\r\n";
  return head;
}

absl::StatusOr<std::string> UnescapePath(std::string_view path) {
  std::string result;
  if (Unescape(path, false, &result)) return result;
  return absl::InvalidArgumentError("the path must be percent-encoded text");
}

absl::StatusOr<std::optional<std::string>> QueryValue(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    const size_t equals = pair.find('=');
    if (pair.substr(0, equals) != name) continue;
    std::string value;
    if (equals != pair.npos && !Unescape(pair.substr(equals + 1), true, &value)) {
      return absl::InvalidArgumentError(absl::StrCat(std::string(name), " must be percent-encoded text"));
    }
    return value;
  }
  return std::nullopt;
}

}  // namespace cascade
