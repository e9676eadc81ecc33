// Which handler answers which path.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/http/http_exchange.h"

namespace cascade {

// Filled once, then any thread.
class Router {
 public:
  // `id`: what stands for {id} in the path, unescaped.
  using Handler = std::function<void(std::shared_ptr<HttpExchange>, const std::string& id)>;

  // `pattern`: a path in which one segment may be {id}; {id} at the end of it takes all the rest, slashes as well, if
  // the pattern says {id..}.
  void Add(const std::string& method, const std::string& pattern, Handler handler);

  // 404 for an unknown path, 405 with Allow for another method, 204 with Allow for OPTIONS, 415 for a body that is not
  // said to be JSON: a page of another origin can send any other without asking first.
  void Handle(std::shared_ptr<HttpExchange> exchange) const;

 private:
  struct Route {
    std::string method, before, after;  // of {id}
    bool has_id = false, rest = false;
    Handler handler;
  };
  static bool Matches(const Route& route, const std::string& path, std::string* id);

  std::vector<Route> routes_;
};

}  // namespace cascade
