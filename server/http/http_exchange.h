// One request and the place of its response.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "server/http/http_message.h"

namespace cascade {

// What answers a request holds it until it has answered; dropped without an answer, the client gets 500.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;

  const HttpRequest& request() const { return request_; }
  HttpRequest& request() { return request_; }

  // The whole response. Any thread; one answer only.
  virtual void Send(HttpResponse response) = 0;
  // Runs `job` on the I/O thread, soon. Any thread.
  virtual void Post(std::function<void()> job) = 0;

  // The rest is for the I/O thread only.

  // Instead of Send: a body that comes in parts. Then Write, again when `on_written` has run, the last one with `last`.
  virtual void BeginStream(const HttpResponse& head) = 0;
  virtual void Write(std::string part, bool last, std::function<void()> on_written) = 0;
  // The client is gone, and so is what is written from now on. `on_gone` runs once, at once if that is so already; not
  // after the last Write or Send.
  virtual void NotifyWhenGone(std::function<void()> on_gone) = 0;

 protected:
  explicit HttpExchange(HttpRequest request) : request_(std::move(request)) {}

 private:
  HttpRequest request_;
};

using HttpHandler = std::function<void(std::shared_ptr<HttpExchange>)>;

}  // namespace cascade
