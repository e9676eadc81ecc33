#include "server/http/router.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/http/openai_error.h"

namespace cascade {

void Router::Add(const std::string& method, const std::string& pattern, Handler handler) {
  Route route{method, pattern, "", false, false, std::move(handler)};
  const size_t id = pattern.find("{id");
  if (id != pattern.npos) {
    const size_t end = pattern.find('}', id);
    route.has_id = true;
    route.rest = absl::StrContains(pattern, "{id..}");
    route.before = pattern.substr(0, id);
    route.after = pattern.substr(end + 1);
  }
  routes_.push_back(std::move(route));
}

bool Router::Matches(const Route& route, const std::string& path, std::string* id) {
  if (!route.has_id) return path == route.before;
  if (path.size() <= route.before.size() + route.after.size() || !absl::StartsWith(path, route.before) ||
      !absl::EndsWith(path, route.after)) {
    return false;
  }
  *id = path.substr(route.before.size(), path.size() - route.before.size() - route.after.size());
  return route.rest || !absl::StrContains(*id, '/');
}

void Router::Handle(std::shared_ptr<HttpExchange> exchange) const {
  const HttpRequest& request = exchange->request();
  std::vector<std::string> allowed;
  for (const Route& route : routes_) {
    std::string id;
    if (!Matches(route, request.path, &id)) continue;
    if (route.method != request.method) {
      allowed.push_back(route.method);
      if (route.method == "GET") allowed.emplace_back("HEAD");
      continue;
    }
    if (!request.body.empty() && request.media_type != "application/json") {
      return exchange->Send(
          ErrorResponse(415, "the body must be JSON, with Content-Type: application/json", "unsupported_media_type"));
    }
    absl::StatusOr<std::string> unescaped = UnescapePath(id);
    if (!unescaped.ok()) return exchange->Send(ErrorResponse(unescaped.status()));
    return route.handler(std::move(exchange), *unescaped);
  }
  if (allowed.empty()) {
    return exchange->Send(ErrorResponse(404, "there is nothing at this path", "unknown_path"));
  }
  HttpResponse response;
  if (request.method == "OPTIONS") {
    response.status = 204;
    response.media_type.clear();
  } else {
    response = ErrorResponse(405, "this path has other methods, see Allow", "method_not_allowed");
  }
  std::string allow = "OPTIONS";
  for (const std::string& method : allowed) absl::StrAppend(&allow, ", ", method);
  response.headers.emplace_back("Allow", allow);
  exchange->Send(std::move(response));
}

}  // namespace cascade
