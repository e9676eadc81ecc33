// The port itself: what is HTTP and what is not, limits, keep-alive, health, its end.
#include <thread>
#include <vector>

#include "tests/server/http/http_fixture.h"

namespace cascade {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class HttpEndpointTest : public HttpFixture {};

TEST_F(HttpEndpointTest, HealthFollowsReadinessAndFaults) {
  EXPECT_EQ(Call("GET", "/health").status, 200);
  EXPECT_EQ(Call("GET", "/health/ready").status, 200);
  endpoint_->SetReady(false);
  EXPECT_EQ(Call("GET", "/health").status, 503);
  EXPECT_EQ(Call("GET", "/health/ready").status, 503);
  EXPECT_EQ(Call("GET", "/health/live").status, 200);
  endpoint_->SetReady(true);
  EXPECT_EQ(Call("GET", "/health").status, 200);
  endpoint_->SetFaulty();
  EXPECT_EQ(Call("GET", "/health/live").status, 503);
  EXPECT_EQ(Call("GET", "/health").status, 503);
}

TEST_F(HttpEndpointTest, ManyRequestsOnOneConnection) {
  HttpClient client(endpoint_->port());
  for (int i = 0; i < 100; ++i) ASSERT_EQ(client.Call("GET", "/health").status, 200);
  EXPECT_EQ(client.Call("GET", "/health", "", "Connection: close\r\n").status, 200);
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(HttpEndpointTest, RequestsSentAheadAreAnsweredInOrder) {
  HttpClient client(endpoint_->port());
  std::string all;
  for (int i = 0; i < 50; ++i) all += HttpClient::Request("GET", i % 2 == 0 ? "/health" : "/nowhere");
  ASSERT_TRUE(client.Send(all));
  for (int i = 0; i < 50; ++i) ASSERT_EQ(client.Read().status, i % 2 == 0 ? 200 : 404) << i;
}

TEST_F(HttpEndpointTest, BytesOneByOne) {
  HttpClient client(endpoint_->port());
  for (const char c : HttpClient::Request("POST", "/tokenize", R"({"prompt": "ab"})")) {
    ASSERT_TRUE(client.Send(std::string(1, c)));
  }
  EXPECT_EQ(client.Read().json()["tokens"], (std::vector<int>{97, 98}));
}

TEST_F(HttpEndpointTest, ChunkedBodies) {
  HttpClient client(endpoint_->port());
  client.Send(
      "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: "
      "chunked\r\n\r\n");
  client.Send("5\r\n{\"pro\r\n");
  client.Send("8;name=x\r\nmpt\":\"ab\r\n2\r\n\"}\r\n0\r\n\r\n");
  EXPECT_EQ(client.Read().json()["count"], 2);
  client.Send("POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
  EXPECT_EQ(client.Read().status, 400);
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(HttpEndpointTest, ExpectContinue) {
  HttpClient client(endpoint_->port());
  client.Send(
      "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 16\r\n"
      "Expect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.ReadHead().status, 100);
  client.Send(R"({"prompt": "ab"})");
  EXPECT_EQ(client.Read().json()["count"], 2);
}

TEST_F(HttpEndpointTest, HeadAndOptions) {
  HttpClient client(endpoint_->port());
  const ClientResponse head = client.Call("HEAD", "/v1/models");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-length"), std::to_string(client.Call("GET", "/v1/models").body.size()));
  const ClientResponse options = client.Call("OPTIONS", "/v1/sessions");
  EXPECT_EQ(options.status, 204);
  EXPECT_EQ(options.headers.at("allow"), "OPTIONS, POST, GET, HEAD");
  EXPECT_EQ(options.headers.count("access-control-allow-origin"), 0u);
  EXPECT_EQ(client.Call("OPTIONS", "/nowhere").status, 404);
}

TEST_F(HttpEndpointTest, RequestIdsComeBack) {
  EXPECT_EQ(Call("GET", "/health", "", "x-request-id: abc-1\r\n").headers["x-request-id"], "abc-1");
  EXPECT_EQ(Call("GET", "/health", "", "x-request-id: a b\r\n").headers.count("x-request-id"), 0u);
  EXPECT_EQ(Call("GET", "/health", "", "x-request-id: " + std::string(200, 'x') + "\r\n").headers.count("x-request-id"),
            0u);
}

TEST_F(HttpEndpointTest, WhatIsNotHttpIsRefusedAndTheServerGoesOn) {
  const std::string cases[] = {
      "GET\r\n\r\n",
      "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
      "GET / HTTP/2.0\r\n\r\n",
      "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
      "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
      "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
      "GET / HTTP/1.1\r\nX: a\r\n b\x01\r\n\r\n",
      "GET nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n",
      std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11) + std::string(64, 'x'),
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      std::string(100, '\0'),
  };
  for (const std::string& bytes : cases) {
    HttpClient client(endpoint_->port());
    client.Send(bytes + "\r\n\r\n");
    const ClientResponse response = client.Read();
    EXPECT_TRUE(response.status == 400 || response.status == 0) << response.status << " for " << bytes;
    EXPECT_TRUE(client.AtEnd()) << bytes;
  }
  EXPECT_EQ(Call("GET", "/health").status, 200);
}

TEST_F(HttpEndpointTest, WrongPathMethodAndMediaType) {
  EXPECT_EQ(Call("GET", "/v2/models").status, 404);
  EXPECT_EQ(ErrorOf(Call("GET", "/v2/models"), "code"), "unknown_path");
  const ClientResponse wrong = Call("GET", "/v1/chat/completions");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.headers.at("allow"), "OPTIONS, POST");
  HttpClient client(endpoint_->port());
  client.Send(
      "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}");
  EXPECT_EQ(client.Read().status, 415);
  EXPECT_EQ(Call("GET", "/v1/models/%zz").status, 400);
}

TEST_F(HttpEndpointTest, OnlyItsOwnNames) {
  HttpClient client(endpoint_->port());
  for (const char* host : {"localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "a.localhost", "10.1.2.3"}) {
    client.Send(std::string("GET /health HTTP/1.1\r\nHost: ") + host + "\r\n\r\n");
    EXPECT_EQ(client.Read().status, 200) << host;
  }
  client.Send("GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n");
  EXPECT_EQ(client.Read().status, 403);
}

TEST_F(HttpEndpointTest, TheOldProtocolVersion) {
  HttpClient client(endpoint_->port());
  client.Send("GET /health HTTP/1.0\r\n\r\n");
  EXPECT_EQ(client.Read().status, 200);
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(HttpEndpointTest, HeadersThatAreTooLarge) {
  HttpClient client(endpoint_->port());
  client.Send("GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(20'000, 'x') + "\r\n\r\n");
  EXPECT_EQ(client.Read().status, 431);
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(HttpEndpointTest, BodiesThatAreTooLargeAreToldBeforeTheyAreSent) {
  HttpClient client(endpoint_->port());
  client.Send(
      "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
      "17000000\r\n\r\n");
  const ClientResponse response = client.Read();
  EXPECT_EQ(response.status, 413);
  EXPECT_THAT(ErrorOf(response, "message"), HasSubstr("16777216"));
}

// Whoever sends first and reads then must get the answer, not a reset.
TEST_F(HttpEndpointTest, BodiesThatAreTooLargeAreToldWhoeverSendsOn) {
  HttpClient client(endpoint_->port());
  client.Send(
      "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
      "17000000\r\n\r\n");
  client.Send(std::string(1'000'000, 'x'));
  EXPECT_EQ(client.Read().status, 413);
}

TEST_F(HttpEndpointTest, LargeBodiesShareTheirMemory) {
  HttpLimits limits;
  limits.all_body_bytes = 3 << 20;
  Restart(limits);
  const auto head = [](int bytes) {
    return "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " +
           std::to_string(bytes) + "\r\n\r\n";
  };
  HttpClient first(endpoint_->port());
  first.Send(head(2 << 20) + "{");
  WaitUntil([&] {
    HttpClient second(endpoint_->port());
    second.Send(head(2 << 20));
    const ClientResponse refused = second.Read();
    return refused.status == 503 && refused.headers.count("retry-after") > 0;
  });
  EXPECT_EQ(Call("POST", "/tokenize", R"({"prompt": "ab"})").status, 200);  // a small one
  first.Close();
  WaitUntil([&] {
    HttpClient third(endpoint_->port());
    third.Send(head(2 << 20) + R"({"prompt": ")" + std::string((2 << 20) - 14, 'x') + "\"}");
    return third.Read().status != 503;
  });
}

TEST_F(HttpEndpointTest, SlowHeadersAndBodiesEnd) {
  HttpLimits limits;
  limits.header = limits.body = std::chrono::milliseconds(50);
  Restart(limits);
  HttpClient header(endpoint_->port());
  header.Send("GET /health HT");
  EXPECT_EQ(header.Read().status, 408);
  EXPECT_TRUE(header.AtEnd());
  HttpClient body(endpoint_->port());
  body.Send("POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n{");
  EXPECT_EQ(body.Read().status, 408);
}

TEST_F(HttpEndpointTest, IdleConnectionsAreClosed) {
  HttpLimits limits;
  limits.idle = std::chrono::milliseconds(50);
  Restart(limits);
  HttpClient silent(endpoint_->port());
  EXPECT_TRUE(silent.AtEnd());
  HttpClient client(endpoint_->port());
  EXPECT_EQ(client.Call("GET", "/health").status, 200);
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(HttpEndpointTest, ConnectionsAtMost) {
  HttpLimits limits;
  limits.max_connections = 4;
  Restart(limits);
  std::vector<std::unique_ptr<HttpClient>> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(std::make_unique<HttpClient>(endpoint_->port()));
    ASSERT_EQ(clients.back()->Call("GET", "/health").status, 200);
  }
  HttpClient fifth(endpoint_->port());
  const ClientResponse refused = fifth.Read();
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(ErrorOf(refused, "code"), "overloaded");
  clients.clear();
  WaitUntil([&] { return Call("GET", "/health").status == 200; });
}

TEST_F(HttpEndpointTest, APortThatIsTaken) {
  const auto second = HttpEndpoint::Start({"127.0.0.1", endpoint_->port()},
                                          {engine_, tokenizer_, chat_template_.get(), {"fake", "", "", 0, 0}});
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), StartsWith("127.0.0.1:"));
}

TEST_F(HttpEndpointTest, WhileItStopsResponsesCloseTheirConnections) {
  HttpClient client(endpoint_->port());
  EXPECT_EQ(client.Call("GET", "/health").headers.count("connection"), 0u);
  endpoint_->SetReady(false);
  WaitUntil([&] { return Call("GET", "/health").headers["connection"] == "close"; });
  EXPECT_EQ(client.Call("GET", "/health").headers["connection"], "close");
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(HttpEndpointTest, StopEndsIdleConnectionsAtOnce) {
  HttpClient client(endpoint_->port());
  EXPECT_EQ(client.Call("GET", "/health").status, 200);
  endpoint_->Stop(std::chrono::hours(1));
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(HttpEndpointTest, ThePageAndWhatItLoads) {
  const ClientResponse page = Call("GET", "/");
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.headers.at("content-type"), "text/html; charset=utf-8");
  EXPECT_THAT(page.headers.at("content-security-policy"), HasSubstr("default-src 'none'"));
  EXPECT_THAT(page.body, StartsWith("<!doctype html>"));
  for (const char* path : {"/page/style.css", "/page/memory.js", "/page/chat.js", "/page/icon.svg"}) {
    EXPECT_THAT(page.body + R"(src="/page/memory.js")", HasSubstr(path));
    EXPECT_EQ(Call("GET", path).status, 200) << path;
  }
}

TEST_F(HttpEndpointTest, MetricsHaveTheirTypes) {
  engine_.mutable_metrics().prompt_tokens = 42;
  engine_.mutable_metrics().journal_sync_us = 1'500'000;
  Call("GET", "/nowhere");
  const ClientResponse response = Call("GET", "/metrics");
  EXPECT_EQ(response.headers.at("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  for (const char* line :
       {"# TYPE cascade_prompt_tokens_total counter\ncascade_prompt_tokens_total 42\n",
        "# TYPE cascade_turns_running gauge\n", "cascade_journal_sync_seconds_total 1.5\n",
        "cascade_build_info{version=\"1.2.3\",model=\"fake\"} 1\n", "cascade_sessions{state=\"resident\"} 0\n",
        "cascade_http_responses_total{status=\"4xx\"} 1\n", "cascade_http_connections "}) {
    EXPECT_THAT(response.body, HasSubstr(line));
  }
  // A name has one HELP and one TYPE, before its values.
  std::map<std::string, int> types;
  for (size_t at = response.body.find("# TYPE "); at != std::string::npos; at = response.body.find("# TYPE ", at + 1)) {
    ++types[response.body.substr(at + 7, response.body.find(' ', at + 7) - at - 7)];
  }
  for (const auto& [name, count] : types) EXPECT_EQ(count, 1) << name;
  EXPECT_EQ(response.body.back(), '\n');
}

}  // namespace
}  // namespace cascade
