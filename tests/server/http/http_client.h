// A plain HTTP/1.1 client over one socket, which does no more than it is told.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace cascade {

struct ClientResponse {
  int status = 0;                              // 0: the connection ended before there was one
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  nlohmann::json json() const { return nlohmann::json::parse(body, nullptr, false); }
};

class HttpClient {
 public:
  explicit HttpClient(int port, int receive_buffer = 0) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0) setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    // So that what does not come fails a test instead of holding it.
    const timeval patience = {20, 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  ~HttpClient() { Close(); }
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  void Close() {
    if (socket_ >= 0) close(socket_);
    socket_ = -1;
  }

  // False when the server has closed.
  bool Send(const std::string& bytes) {
    for (size_t sent = 0; sent < bytes.size();) {
      const ssize_t some = send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (some <= 0) return false;
      sent += static_cast<size_t>(some);
    }
    return true;
  }

  static std::string Request(const std::string& method, const std::string& path, const std::string& body = "",
                             const std::string& headers = "") {
    std::string request = method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n" + headers;
    if (!body.empty()) {
      request += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
    }
    return request + "\r\n" + body;
  }

  ClientResponse Call(const std::string& method, const std::string& path, const std::string& body = "",
                      const std::string& headers = "") {
    Send(Request(method, path, body, headers));
    return Read(method == "HEAD");
  }

  // The next response whole, chunks put together.
  ClientResponse Read(bool without_body = false) {
    ClientResponse response = ReadHead();
    if (response.status == 0 || response.status == 204 || without_body) return response;
    if (response.headers["transfer-encoding"] == "chunked") {
      for (std::string part = ReadChunk(); !part.empty(); part = ReadChunk()) response.body += part;
    } else if (response.headers.count("content-length") > 0) {
      response.body = Take(std::stoul(response.headers["content-length"]));
    } else {
      while (Receive()) {
      }
      response.body = std::exchange(buffer_, "");
    }
    return response;
  }

  ClientResponse ReadHead() {
    ClientResponse response;
    std::string line = ReadLine();
    if (line.substr(0, 7) != "HTTP/1.") return response;
    response.status = std::stoi(line.substr(9));
    for (line = ReadLine(); !line.empty(); line = ReadLine()) {
      const size_t colon = line.find(':');
      std::string name = line.substr(0, colon);
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
      response.headers[name] = line.substr(line.find_first_not_of(' ', colon + 1));
    }
    return response;
  }

  // "": the last one.
  std::string ReadChunk() {
    const std::string size = ReadLine();
    if (size.empty()) return "";
    std::string chunk = Take(std::stoul(size, nullptr, 16));
    ReadLine();
    return chunk;
  }

  // What follows "data: " in the next event of a stream, which may be a part of a chunk; "" at the end.
  std::string ReadEvent() {
    while (events_.find("\n\n") == std::string::npos) {
      const std::string chunk = ReadChunk();
      if (chunk.empty()) return "";
      events_ += chunk;
    }
    const size_t end = events_.find("\n\n");
    std::string event = events_.substr(0, end);
    events_.erase(0, end + 2);
    EXPECT_EQ(event.substr(0, 6), "data: ");
    return event.substr(6);
  }

  // Whether the server has closed the connection; waits for it.
  bool AtEnd() {
    if (!buffer_.empty()) return false;
    char byte = 0;
    return recv(socket_, &byte, 1, 0) <= 0;
  }

 private:
  bool Receive() {
    char bytes[65536];
    const ssize_t some = recv(socket_, bytes, sizeof(bytes), 0);
    if (some <= 0) return false;
    buffer_.append(bytes, static_cast<size_t>(some));
    return true;
  }
  std::string ReadLine() {
    size_t end = 0;
    while ((end = buffer_.find("\r\n")) == std::string::npos) {
      if (!Receive()) return "";
    }
    const std::string line = buffer_.substr(0, end);
    buffer_.erase(0, end + 2);
    return line;
  }
  std::string Take(size_t size) {
    while (buffer_.size() < size) {
      if (!Receive()) break;
    }
    const std::string taken = buffer_.substr(0, size);
    buffer_.erase(0, taken.size());
    return taken;
  }

  int socket_;
  std::string buffer_;
  std::string events_;
};

}  // namespace cascade
