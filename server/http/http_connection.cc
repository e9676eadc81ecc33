#include "server/http/http_connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/read.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/http/openai_error.h"

namespace cascade {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

constexpr size_t kReadBytes = 4096;
constexpr size_t kReadAheadBytes = 64 << 10;
// Bodies up to this are so small that all connections together may have one.
constexpr size_t kSmallBodyBytes = 64 << 10;
// What a client must send at least of a large body.
constexpr size_t kBodyBytesPerSecond = 64 << 10;
// For a client that still sends, to read the last response before the connection is reset.
constexpr std::chrono::milliseconds kDrainPatience{2000};
// A client's machine that vanishes is noticed after about a minute and a half, not after TCP's hours.
constexpr int kKeepaliveSeconds = 60;
constexpr int kKeepaliveProbeSeconds = 10;
constexpr int kKeepaliveProbes = 3;
constexpr unsigned int kUnacknowledgedMs = 90'000;
constexpr char kContinue[] = "HTTP/1.1 100 Continue\r\n\r\n";

void SetVanishedTimeout(int socket) {
  const auto set = [socket](int level, int option, auto value) {
    setsockopt(socket, level, option, &value, sizeof(value));
  };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, kKeepaliveSeconds);
  set(IPPROTO_TCP, TCP_KEEPINTVL, kKeepaliveProbeSeconds);
  set(IPPROTO_TCP, TCP_KEEPCNT, kKeepaliveProbes);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, kUnacknowledgedMs);
}

}  // namespace

// A large body's share of all_body_bytes, as long as somebody has the body.
class HttpConnection::BodyClaim {
 public:
  BodyClaim(std::shared_ptr<std::atomic<size_t>> all, size_t bytes) : all_(std::move(all)), bytes_(bytes) {
    all_->fetch_add(bytes_);
  }
  ~BodyClaim() { all_->fetch_sub(bytes_); }
  BodyClaim(const BodyClaim&) = delete;
  BodyClaim& operator=(const BodyClaim&) = delete;

 private:
  const std::shared_ptr<std::atomic<size_t>> all_;
  const size_t bytes_;
};

class HttpConnection::Exchange final : public HttpExchange {
 public:
  Exchange(HttpRequest request, std::shared_ptr<HttpConnection> connection, uint64_t id,
           std::shared_ptr<BodyClaim> claim)
      : HttpExchange(std::move(request)), connection_(std::move(connection)), id_(id), claim_(std::move(claim)) {}
  ~Exchange() override {
    if (!answered_) Send(ErrorResponse(absl::InternalError("a request was dropped")));
  }

  void Send(HttpResponse response) override {
    answered_ = true;
    asio::dispatch(connection_->socket_.get_executor(),
                   [connection = connection_, id = id_, response = std::move(response)]() mutable {
                     connection->Answer(id, std::move(response));
                   });
  }
  void Post(std::function<void()> job) override { asio::post(connection_->socket_.get_executor(), std::move(job)); }
  void BeginStream(const HttpResponse& head) override {
    answered_ = true;
    connection_->BeginStream(id_, head);
  }
  void Write(std::string part, bool last, std::function<void()> on_written) override {
    connection_->WritePart(id_, std::move(part), last, std::move(on_written));
  }
  void NotifyWhenGone(std::function<void()> on_gone) override { connection_->NotifyWhenGone(id_, std::move(on_gone)); }

 private:
  const std::shared_ptr<HttpConnection> connection_;
  const uint64_t id_;
  const std::shared_ptr<BodyClaim> claim_;
  bool answered_ = false;
};

HttpConnection::HttpConnection(asio::ip::tcp::socket socket, HttpConnections& shared)
    : socket_(std::move(socket)),
      shared_(shared),
      deadline_(socket_.get_executor()),
      buffer_(shared.limits.header_bytes + kReadAheadBytes) {}

void HttpConnection::Start() {
  error_code ignored;
  // Each token leaves at once.
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  SetVanishedTimeout(socket_.native_handle());
  SetDeadline(shared_.limits.idle);
  ReadMore();
}

void HttpConnection::Close() {
  if (!open_) return;
  const auto self = shared_from_this();
  open_ = false;
  error_code ignored;
  deadline_.cancel(ignored);
  socket_.close(ignored);
  const std::function<void()> on_gone = std::exchange(on_gone_, nullptr);
  if (exchange_ != 0) {
    exchange_ = 0;
    --shared_.exchanges;
    shared_.on_answered();
  }
  if (on_gone) on_gone();
  shared_.on_closed(this);
}

void HttpConnection::CloseWhenIdle() {
  if (exchange_ == 0 && !in_request_ && !draining_) Close();
}

void HttpConnection::ReadMore() {
  if (reading_ || !open_) return;
  reading_ = true;
  socket_.async_read_some(buffer_.prepare(kReadBytes),
                          [self = shared_from_this()](error_code error, size_t bytes) { self->OnRead(error, bytes); });
}

void HttpConnection::OnRead(error_code error, size_t bytes) {
  reading_ = false;
  if (!open_) return;
  const bool cancelled = error == asio::error::operation_aborted && exchange_ == 0 && buffer_.size() > 0;
  if (error && !cancelled) return Close();
  if (draining_) return ReadMore();  // what is not committed is gone
  buffer_.commit(bytes);
  if (exchange_ == 0) return ReadHeader();
  if (buffer_.size() + kReadBytes <= kReadAheadBytes) ReadMore();
}

void HttpConnection::ReadHeader() {
  in_request_ = true;
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(shared_.limits.header_bytes));
  parser_->body_limit(shared_.limits.body_bytes);
  SetDeadline(shared_.limits.header);
  http::async_read_header(socket_, buffer_, *parser_,
                          [self = shared_from_this()](error_code error, size_t) { self->OnHeader(error); });
}

void HttpConnection::OnHeader(error_code error) {
  if (!open_) return;
  if (error) return OnBadRequest(error);
  if (!ClaimBody()) return;
  if (parser_->is_done()) return OnBody({});
  if (!absl::EqualsIgnoreCase(std::string(parser_->get()[http::field::expect]), "100-continue")) return ReadBody();
  asio::async_write(socket_, asio::buffer(kContinue, sizeof(kContinue) - 1),
                    [self = shared_from_this()](error_code failed, size_t) {
                      if (!self->open_) return;
                      if (failed) return self->Close();
                      self->ReadBody();
                    });
}

bool HttpConnection::ClaimBody() {
  const bool chunked = parser_->chunked();
  const size_t bytes = chunked ? shared_.limits.body_bytes : static_cast<size_t>(parser_->content_length().value_or(0));
  SetDeadline(shared_.limits.body + std::chrono::seconds(bytes / kBodyBytesPerSecond));
  if (bytes <= kSmallBodyBytes) return true;
  if (shared_.body_bytes->load() + bytes > shared_.limits.all_body_bytes) {
    Refuse(503, "too many large requests are being read; try again", "overloaded");
    return false;
  }
  claim_ = std::make_shared<BodyClaim>(shared_.body_bytes, bytes);
  return true;
}

void HttpConnection::ReadBody() {
  http::async_read(socket_, buffer_, *parser_,
                   [self = shared_from_this()](error_code error, size_t) { self->OnBody(error); });
}

void HttpConnection::OnBody(error_code error) {
  if (!open_) return;
  if (error) return OnBadRequest(error);
  Dispatch();
}

void HttpConnection::OnBadRequest(error_code error) {
  if (timed_out_) {
    return Refuse(408, "the request did not arrive in time", "request_timeout");
  }
  if (error == http::error::header_limit) {
    return Refuse(431, absl::StrCat("the header must be at most ", shared_.limits.header_bytes, " bytes"),
                  "header_too_large");
  }
  if (error == http::error::body_limit) {
    return Refuse(413, absl::StrCat("the body must be at most ", shared_.limits.body_bytes, " bytes"),
                  "body_too_large");
  }
  const bool ours = error.category() == make_error_code(http::error::bad_version).category();
  if (!ours || error == http::error::end_of_stream || error == http::error::partial_message) return Close();
  Refuse(400, absl::StrCat("this is no HTTP/1.1 request: ", error.message()), "bad_request");
}

void HttpConnection::Refuse(int status, const std::string& message, const char* code) {
  in_request_ = false;
  request_ = {};
  exchange_ = ++last_exchange_;
  ++shared_.exchanges;
  timed_out_ = false;
  deadline_.cancel();
  Answer(exchange_, ErrorResponse(status, message, code));
}

void HttpConnection::Dispatch() {
  in_request_ = false;
  deadline_.cancel();
  absl::StatusOr<HttpRequest> request = ToHttpRequest(parser_->release());
  parser_.reset();
  if (!request.ok()) return Refuse(400, std::string(request.status().message()), "bad_request");
  std::string body = std::move(request->body);
  request->body.clear();
  request_ = *request;
  request->body = std::move(body);
  exchange_ = ++last_exchange_;
  ++shared_.exchanges;
  auto exchange =
      std::make_shared<Exchange>(*std::move(request), shared_from_this(), exchange_, std::exchange(claim_, nullptr));
  const uint64_t id = exchange_;
  shared_.handler(std::move(exchange));
  if (open_ && exchange_ == id && buffer_.size() + kReadBytes <= kReadAheadBytes) ReadMore();
}

void HttpConnection::Answer(uint64_t id, HttpResponse response) {
  if (!open_ || exchange_ != id || id == 0 || write_in_flight_ || begun_) return;
  close_after_ = MustClose();
  std::string head = ResponseHead(request_, response, false, close_after_);
  if (request_.head || response.status == 204) response.body.clear();
  ++shared_.responses[static_cast<size_t>(response.status / 100) % 6];
  StartWrite(std::move(head), std::move(response.body), "", true, nullptr);
}

void HttpConnection::BeginStream(uint64_t id, const HttpResponse& head) {
  if (!open_ || exchange_ != id || id == 0) return;
  close_after_ = MustClose() || request_.http_1_0;
  begun_ = true;
  ++shared_.responses[static_cast<size_t>(head.status / 100) % 6];
  // Goes out with the first part.
  written_[0] = ResponseHead(request_, head, true, close_after_);
}

void HttpConnection::WritePart(uint64_t id, std::string part, bool last, std::function<void()> on_written) {
  if (!open_ || exchange_ != id || id == 0 || write_in_flight_) return;
  std::string head = std::exchange(written_[0], "");
  std::string tail;
  if (!request_.http_1_0) {
    if (!part.empty()) {
      absl::StrAppend(&head, absl::Hex(part.size()), "\r\n");
      tail = "\r\n";
    }
    if (last) tail += "0\r\n\r\n";
  }
  StartWrite(std::move(head), std::move(part), std::move(tail), last, std::move(on_written));
}

void HttpConnection::StartWrite(std::string head, std::string body, std::string tail, bool last,
                                std::function<void()> on_written) {
  written_ = {std::move(head), std::move(body), std::move(tail)};
  write_in_flight_ = true;
  last_progress_ = std::chrono::steady_clock::now();
  if (!watching_writes_) {
    SetDeadline(shared_.limits.stall);
    watching_writes_ = true;
  }
  const std::array<asio::const_buffer, 3> buffers = {asio::buffer(written_[0]), asio::buffer(written_[1]),
                                                     asio::buffer(written_[2])};
  const auto progress = [self = shared_from_this()](error_code error, size_t) -> size_t {
    self->last_progress_ = std::chrono::steady_clock::now();
    return error ? 0 : kReadAheadBytes;  // written at once at most
  };
  asio::async_write(socket_, buffers, progress,
                    [self = shared_from_this(), last, on_written = std::move(on_written)](error_code error, size_t) {
                      self->write_in_flight_ = false;
                      if (!self->open_) return;
                      if (error) return self->Close();
                      self->written_ = {};
                      if (last) return self->FinishExchange();
                      if (on_written) on_written();
                    });
}

void HttpConnection::FinishExchange() {
  exchange_ = 0;
  begun_ = false;
  on_gone_ = nullptr;
  watching_writes_ = false;
  --shared_.exchanges;
  shared_.on_answered();
  if (!open_) return;
  if (close_after_) return LeaveOpenForReading();
  SetDeadline(shared_.limits.idle);
  if (buffer_.size() == 0) return ReadMore();
  if (!reading_) return ReadHeader();
  // The next request, or its begin, is here; nothing more may come.
  error_code ignored;
  socket_.cancel(ignored);
}

// A close with unread bytes resets the connection, and the client may lose the response.
void HttpConnection::LeaveOpenForReading() {
  error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  draining_ = true;
  SetDeadline(kDrainPatience);
  buffer_.clear();
  ReadMore();
}

void HttpConnection::NotifyWhenGone(uint64_t id, std::function<void()> on_gone) {
  if (!open_ || exchange_ != id) return on_gone();
  on_gone_ = std::move(on_gone);
}

void HttpConnection::SetDeadline(std::chrono::milliseconds patience) {
  watching_writes_ = false;
  timed_out_ = false;
  deadline_.expires_after(patience);
  deadline_.async_wait([self = shared_from_this()](error_code error) {
    if (!error && self->open_) self->OnDeadline();
  });
}

void HttpConnection::OnDeadline() {
  const auto now = std::chrono::steady_clock::now();
  if (deadline_.expiry() > now) return;  // set anew when this was on its way already
  if (watching_writes_) {
    watching_writes_ = false;
    if (!write_in_flight_) return;  // the next one sets it again
    const auto left = last_progress_ + shared_.limits.stall - now;
    if (left <= std::chrono::milliseconds(0)) return Close();
    SetDeadline(std::chrono::ceil<std::chrono::milliseconds>(left));
    watching_writes_ = true;
    return;
  }
  if (!in_request_) return Close();
  // What reads then fails, and says so to the client.
  timed_out_ = true;
  error_code ignored;
  socket_.cancel(ignored);
}

}  // namespace cascade
