#include "server/http/http_endpoint.h"

#include <spdlog/spdlog.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/http/chat_page.h"
#include "server/http/metrics_text.h"
#include "server/http/openai_error.h"
#include "server/http/openai_service.h"
#include "server/http/session_service.h"

namespace cascade {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr int kQuickThreads = 2;
constexpr int kWorkerThreads = 2;
constexpr int kWaitingThreads = 4;
constexpr size_t kMaxQueuedSmall = 1024;
constexpr size_t kMaxQueuedLarge = 16;  // each may hold 16 MiB
// After accept failed, as when descriptors ran out.
constexpr std::chrono::milliseconds kAcceptPause{100};
constexpr char kFull[] =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\nConnection: close\r\n"
    "Content-Length: 132\r\n\r\n"
    R"({"error":{"message":"too many connections are open; try again","type":"service_unavailable_error",)"
    R"("param":null,"code":"overloaded"}})";

std::string WithoutBrackets(const std::string& host) {
  return host.size() > 2 && host.front() == '[' ? host.substr(1, host.size() - 2) : host;
}

HttpResponse Health(bool ok) {
  HttpResponse response;
  response.status = ok ? 200 : 503;
  response.body = ok ? R"({"status":"ok"})" : R"({"status":"unavailable"})";
  response.headers.emplace_back("Cache-Control", "no-store");
  return response;
}

}  // namespace

HttpEndpoint::HttpEndpoint(const HttpEndpointOptions& options, HttpServed served)
    : options_(options),
      model_(std::move(served.model)),
      work_(asio::make_work_guard(io_)),
      ready_queue_(io_),
      quick_(std::make_unique<WorkerPool>(kQuickThreads, kMaxQueuedSmall)),
      workers_(std::make_unique<WorkerPool>(kWorkerThreads, kMaxQueuedLarge)),
      waiters_(std::make_unique<WorkerPool>(kWaitingThreads, kMaxQueuedSmall)),
      context_{
          served.engine, served.tokenizer, served.chat_template, model_, RandomSource::System(), ready_queue_, *quick_,
          *workers_,     *waiters_} {}

absl::StatusOr<std::unique_ptr<HttpEndpoint>> HttpEndpoint::Start(const HttpEndpointOptions& options,
                                                                  HttpServed served) {
  std::unique_ptr<HttpEndpoint> endpoint(new HttpEndpoint(options, std::move(served)));
  if (absl::Status status = endpoint->Listen(); !status.ok()) return status;
  endpoint->AddRoutes();
  HttpEndpoint* raw = endpoint.get();
  raw->shared_.limits = options.limits;
  raw->shared_.handler = [raw](std::shared_ptr<HttpExchange> exchange) { raw->Handle(std::move(exchange)); };
  raw->shared_.on_closed = [raw](HttpConnection* connection) {
    raw->connections_.erase(connection);
    raw->open_connections_ = static_cast<int>(raw->connections_.size());
  };
  raw->shared_.on_answered = [raw] {
    if (raw->shared_.exchanges > 0) return;
    MutexLock lock(raw->mutex_);
    raw->idle_ = true;
    raw->answered_.NotifyAll();
  };
  for (tcp::acceptor& acceptor : raw->acceptors_) raw->Accept(acceptor);
  raw->thread_ = std::thread([raw] { raw->io_.run(); });
  return endpoint;
}

HttpEndpoint::~HttpEndpoint() { Stop(std::chrono::milliseconds(0)); }

std::string HttpEndpoint::url() const {
  const std::string host = WithoutBrackets(options_.host);
  return absl::StrContains(host, ':') ? absl::StrCat("http://[", host, "]:", port_, "/")
                                      : absl::StrCat("http://", host, ":", port_, "/");
}

absl::Status HttpEndpoint::Listen() {
  error_code error;
  tcp::resolver resolver(io_);
  const auto found = resolver.resolve(WithoutBrackets(options_.host), std::to_string(options_.port),
                                      tcp::resolver::passive | tcp::resolver::numeric_service, error);
  std::string why = error.message();
  port_ = options_.port;
  loopback_ = true;
  // A name may stand for an IPv4 and an IPv6 address, one of which this machine may not have.
  for (const auto& entry : found) {
    tcp::endpoint endpoint = entry.endpoint();
    endpoint.port(static_cast<uint16_t>(port_));
    tcp::acceptor acceptor(io_);
    acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
    if (!error && endpoint.address().is_v6()) acceptor.set_option(asio::ip::v6_only(false), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) {
      why = error.message();
      if (error != asio::error::address_in_use) continue;
      acceptors_.clear();
      break;
    }
    port_ = acceptor.local_endpoint().port();
    loopback_ = loopback_ && endpoint.address().is_loopback();
    acceptors_.push_back(std::move(acceptor));
  }
  if (!acceptors_.empty()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(options_.host, ":", options_.port, ": ", why));
}

void HttpEndpoint::AddRoutes() {
  AddOpenAiRoutes(context_, router_);
  AddSessionRoutes(context_, router_);
  AddChatPage(router_);
  const auto health = [this](bool alive_only) {
    return [this, alive_only](const std::shared_ptr<HttpExchange>& exchange, const std::string&) {
      exchange->Send(Health(!faulty_ && (alive_only || ready_)));
    };
  };
  router_.Add("GET", "/health", health(false));
  router_.Add("GET", "/health/ready", health(false));
  router_.Add("GET", "/health/live", health(true));
  router_.Add("GET", "/metrics", [this](std::shared_ptr<HttpExchange> exchange, const std::string&) {
    // Counting sessions takes the store's lock.
    auto job = [this, exchange] {
      HttpResponse response;
      response.media_type = "text/plain; version=0.0.4; charset=utf-8";
      response.body =
          EngineMetricsText(context_.engine, model_) + HttpMetricsText(open_connections_.load(), shared_.responses);
      exchange->Send(std::move(response));
    };
    if (const absl::Status posted = context_.quick.Post(std::move(job)); !posted.ok()) {
      exchange->Send(ErrorResponse(posted));
    }
  });
}

void HttpEndpoint::Accept(tcp::acceptor& acceptor) {
  acceptor.async_accept([this, &acceptor](error_code error, tcp::socket socket) {
    if (!accepting_) return;
    if (!error) {
      Take(std::move(socket));
      return Accept(acceptor);
    }
    auto timer = std::make_shared<asio::steady_timer>(io_, kAcceptPause);
    timer->async_wait([this, &acceptor, timer](error_code) {
      if (accepting_) Accept(acceptor);
    });
  });
}

void HttpEndpoint::Take(tcp::socket socket) {
  if (static_cast<int>(connections_.size()) >= options_.limits.max_connections) {
    error_code ignored;
    socket.non_blocking(true, ignored);
    socket.write_some(asio::buffer(kFull, sizeof(kFull) - 1), ignored);
    return;
  }
  auto connection = std::make_shared<HttpConnection>(std::move(socket), shared_);
  connections_.emplace(connection.get(), connection);
  open_connections_ = static_cast<int>(connections_.size());
  connection->Start();
}

// A web page elsewhere can make a browser on this machine talk to it, by a name of its own that stands for 127.0.0.1. A
// server that listens on loopback alone therefore answers to no other names.
bool HttpEndpoint::IsOurName(const std::string& host) const {
  if (!loopback_ || host.empty() || host == "localhost" || absl::EndsWith(host, ".localhost")) return true;
  error_code no_address;
  asio::ip::make_address(host, no_address);
  return !no_address || host == options_.host;
}

void HttpEndpoint::Handle(std::shared_ptr<HttpExchange> exchange) {
  {
    MutexLock lock(mutex_);
    idle_ = false;
  }
  if (!IsOurName(exchange->request().host)) {
    return exchange->Send(ErrorResponse(403,
                                        "Host must be localhost or an address, since the server listens on this "
                                        "machine alone; --host 0.0.0.0 lifts this",
                                        "foreign_host"));
  }
  router_.Handle(std::move(exchange));
}

void HttpEndpoint::SetReady(bool ready) {
  ready_ = ready;
  asio::post(io_, [this, ready] { shared_.closing = !ready; });
}

void HttpEndpoint::CloseAll() {
  std::vector<std::shared_ptr<HttpConnection>> all;
  for (const auto& [raw, connection] : connections_) all.push_back(connection);
  for (const auto& connection : all) connection->Close();
}

void HttpEndpoint::Stop(std::chrono::milliseconds grace) {
  if (stopped_) return;
  stopped_ = true;
  const auto deadline = std::chrono::steady_clock::now() + grace;
  asio::post(io_, [this] {
    accepting_ = false;
    shared_.closing = true;
    error_code ignored;
    for (tcp::acceptor& acceptor : acceptors_) acceptor.close(ignored);
    std::vector<std::shared_ptr<HttpConnection>> all;
    for (const auto& [raw, connection] : connections_) all.push_back(connection);
    for (const auto& connection : all) connection->CloseWhenIdle();
  });
  if (thread_.joinable()) {
    {
      MutexLock lock(mutex_);
      while (!idle_ && answered_.WaitUntil(mutex_, deadline)) {
      }
    }
    asio::post(io_, [this] { CloseAll(); });
  } else {
    work_.reset();
    io_.run();  // nothing was started
  }
  // Their jobs may still hand things to the I/O thread.
  quick_.reset();
  workers_.reset();
  waiters_.reset();
  work_.reset();
  if (thread_.joinable()) thread_.join();
}

}  // namespace cascade
