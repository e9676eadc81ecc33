// The HTTP port: listening, the I/O thread, health, and its end.
//
// DESIGN. One I/O thread reads, writes and serialises for all connections; it never waits and does nothing long. Small
// requests are parsed and tokenised by one pool, large ones by another, and what waits for the engine or for files by a
// third, so that none starves the others. The engine thread wakes the I/O thread once per step.
#pragma once

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "server/http/http_connection.h"
#include "server/http/http_context.h"
#include "server/http/router.h"

namespace cascade {

struct HttpEndpointOptions {
  std::string host = "127.0.0.1";
  int port = 0;  // 0: any free one
  HttpLimits limits = {};
};

// What is served; all but the model outlives the endpoint.
struct HttpServed {
  Engine& engine;
  const Tokenizer& tokenizer;
  const ChatTemplate* chat_template;  // may be null
  ServedModel model;
};

// Used by one thread unless a method says otherwise.
class HttpEndpoint {
 public:
  // Listens, and is ready when this returns. UNAVAILABLE when it cannot listen there.
  static absl::StatusOr<std::unique_ptr<HttpEndpoint>> Start(const HttpEndpointOptions& options, HttpServed served);
  // Ends all calls.
  ~HttpEndpoint();

  int port() const { return port_; }
  std::string url() const;  // "http://127.0.0.1:8000/"

  // /health and /health/ready; from the first `false` on each response closes its connection. Any thread.
  void SetReady(bool ready);
  // Neither ready nor alive from now on, whatever SetReady says later. Any thread.
  void SetFaulty() { faulty_ = true; }
  // Running calls get until `grace` from now to send what they have; then connections are cut. Idempotent.
  void Stop(std::chrono::milliseconds grace);

 private:
  HttpEndpoint(const HttpEndpointOptions& options, HttpServed served);

  absl::Status Listen();
  void AddRoutes();
  void Accept(boost::asio::ip::tcp::acceptor& acceptor);
  void Take(boost::asio::ip::tcp::socket socket);
  void Handle(std::shared_ptr<HttpExchange> exchange);
  bool IsOurName(const std::string& host) const;
  void CloseAll();

  const HttpEndpointOptions options_;
  const ServedModel model_;
  int port_ = 0;
  bool loopback_ = false;  // nobody else's machine can connect
  boost::asio::io_context io_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  ReadyQueue ready_queue_;
  std::unique_ptr<WorkerPool> quick_, workers_, waiters_;
  HttpContext context_;
  Router router_;

  // I/O thread.
  std::vector<boost::asio::ip::tcp::acceptor> acceptors_;
  HttpConnections shared_;
  std::unordered_map<HttpConnection*, std::shared_ptr<HttpConnection>> connections_;
  bool accepting_ = true;

  std::atomic<bool> ready_{true};
  std::atomic<bool> faulty_{false};
  std::atomic<int> open_connections_{0};
  Mutex mutex_;
  CondVar answered_;
  bool idle_ CASCADE_GUARDED_BY(mutex_) = true;  // no exchange
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace cascade
