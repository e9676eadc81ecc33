// One connection of the HTTP port.
//
// DESIGN. All of it runs on the endpoint's one I/O thread, so nothing here is locked. A connection reads one request,
// hands it on as an exchange, writes the response, and reads the next; what a client sends ahead waits, a bounded part
// of it here and the rest in the network. While a response is made, the socket is read on, since that is how a client
// that leaves is noticed. One timer per connection: for the first byte of a request, its header, its body, a write that
// the client does not take. At most one write is in flight.
#pragma once

#include <array>
#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "server/http/http_exchange.h"

namespace cascade {

struct HttpLimits {
  int max_connections = 1024;
  size_t header_bytes = 16 << 10;
  size_t body_bytes = 16 << 20;
  size_t all_body_bytes = 256 << 20;  // of large bodies that are being read or worked on, together
  std::chrono::milliseconds idle{75'000};
  std::chrono::milliseconds header{10'000};
  std::chrono::milliseconds body{20'000};   // and more for large ones
  std::chrono::milliseconds stall{60'000};  // a client that takes nothing of what is written
};

class HttpConnection;

// What connections share; the endpoint's, which outlives them. I/O thread only, but for the counters.
struct HttpConnections {
  HttpLimits limits;
  HttpHandler handler;
  std::function<void(HttpConnection*)> on_closed;      // once per connection
  std::function<void()> on_answered;                   // an exchange has ended
  bool closing = false;                                // responses from now on end their connections
  int exchanges = 0;                                   // requests that are read and not answered
  std::array<std::atomic<int64_t>, 6> responses = {};  // by the first digit of their status
  // Shared with what works on bodies.
  std::shared_ptr<std::atomic<size_t>> body_bytes = std::make_shared<std::atomic<size_t>>(0);
};

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(boost::asio::ip::tcp::socket socket, HttpConnections& shared);

  void Start();
  // At once, whatever runs.
  void Close();
  // No further request; when nothing runs at once.
  void CloseWhenIdle();

 private:
  class Exchange;
  class BodyClaim;
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;

  // Reading.
  void ReadMore();
  void OnRead(boost::system::error_code error, size_t bytes);
  void ReadHeader();
  void OnHeader(boost::system::error_code error);
  void ReadBody();
  void OnBody(boost::system::error_code error);
  bool ClaimBody();
  void Dispatch();
  void OnBadRequest(boost::system::error_code error);
  void Refuse(int status, const std::string& message, const char* code);

  // Answering. `id`: of the exchange; what comes for an earlier one is dropped.
  void Answer(uint64_t id, HttpResponse response);
  void BeginStream(uint64_t id, const HttpResponse& head);
  void WritePart(uint64_t id, std::string part, bool last, std::function<void()> on_written);
  void NotifyWhenGone(uint64_t id, std::function<void()> on_gone);
  void StartWrite(std::string head, std::string body, std::string tail, bool last, std::function<void()> on_written);
  void FinishExchange();
  void LeaveOpenForReading();
  bool MustClose() const { return shared_.closing || !request_.keep_alive; }

  void SetDeadline(std::chrono::milliseconds patience);
  void OnDeadline();

  boost::asio::ip::tcp::socket socket_;
  HttpConnections& shared_;
  boost::asio::steady_timer deadline_;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  std::shared_ptr<BodyClaim> claim_;  // of the body that is read
  bool open_ = true;
  bool reading_ = false;     // ReadMore is in flight
  bool in_request_ = false;  // a header or a body is being read
  bool timed_out_ = false;
  bool draining_ = false;  // the last response is out; what still comes is thrown away

  HttpRequest request_;         // of the exchange, without its body
  uint64_t last_exchange_ = 0;  // ids
  uint64_t exchange_ = 0;       // the one that is answered now; 0: none
  bool close_after_ = false;
  bool begun_ = false;  // BeginStream
  std::function<void()> on_gone_;

  std::array<std::string, 3> written_;  // in flight
  bool write_in_flight_ = false;
  bool watching_writes_ = false;  // the timer does
  std::chrono::steady_clock::time_point last_progress_;
};

}  // namespace cascade
