// Sessions as JSON, and the numbers behind the picture of a session's memory.
#include "server/http/session_service.h"

#include <future>

#include "tests/server/http/http_fixture.h"

namespace cascade {
namespace {

using nlohmann::json;

class SessionServiceTest : public HttpFixture {};

TEST_F(SessionServiceTest, MadeListedAndDeleted) {
  const json made = Call("POST", "/v1/sessions", R"({"label": "mine"})").json();
  EXPECT_EQ(made["object"], "session");
  EXPECT_EQ(made["label"], "mine");
  EXPECT_EQ(made["position"], 7);
  EXPECT_EQ(made["digest"], "123456789abcdef0");
  EXPECT_EQ(made["created"], 1.5);
  EXPECT_EQ(made["geometry"]["sub_cache_tokens"], json::array({16, 16}));
  const std::string path = "/v1/sessions/" + made["id"].get<std::string>();
  EXPECT_EQ(Call("GET", path).json()["id"], made["id"]);
  EXPECT_EQ(Call("POST", "/v1/sessions").status, 200);  // without a body
  EXPECT_EQ(Call("GET", "/v1/sessions?page_size=10").json()["data"].size(), 2u);
  EXPECT_EQ(Call("DELETE", path).json()["deleted"], true);
  EXPECT_EQ(Call("GET", path).status, 404);
  EXPECT_EQ(Call("DELETE", path).status, 404);
}

TEST_F(SessionServiceTest, ForkedAndRewound) {
  const std::string id = Call("POST", "/v1/sessions").json()["id"];
  const json fork = Call("POST", "/v1/sessions/" + id + "/fork", R"({"label": "copy", "expected_position": 7})").json();
  EXPECT_NE(fork["id"], id);
  EXPECT_EQ(fork["label"], "copy");
  EXPECT_EQ(Call("POST", "/v1/sessions/" + id + "/rewind").status, 200);
  EXPECT_EQ(Call("POST", "/v1/sessions/" + id + "/rewind", R"({"to_turn": 2, "allow_replay": true})").status, 200);
  const std::vector<RewindRequest> rewinds = engine_.rewinds();
  ASSERT_EQ(rewinds.size(), 2u);
  EXPECT_EQ(rewinds[0].take_back, 1);
  EXPECT_EQ(rewinds[1].to_turn, 2);
  EXPECT_TRUE(rewinds[1].allow_replay);
}

TEST_F(SessionServiceTest, BadRequestsNameTheField) {
  const std::string id = Call("POST", "/v1/sessions").json()["id"];
  const struct {
    const char* method;
    std::string path, body, param;
  } cases[] = {
      {"POST", "/v1/sessions", R"({"label": 5})", "label"},
      {"POST", "/v1/sessions", R"({"label": "no blanks"})", "label"},
      {"POST", "/v1/sessions", R"({"durability": "gold"})", "durability"},
      {"POST", "/v1/sessions", R"({"ttl": 5})", "ttl"},
      {"POST", "/v1/sessions", "[", "null"},
      {"GET", "/v1/sessions?page_size=0", "", "page_size"},
      {"GET", "/v1/sessions?page_size=x", "", "page_size"},
      {"GET", "/v1/sessions?page_token=%zz", "", "page_token"},
      {"POST", "/v1/sessions/" + id + "/rewind", R"({"to_turn": 1, "take_back": 1})", "take_back"},
      {"POST", "/v1/sessions/" + id + "/rewind", R"({"take_back": 0})", "take_back"},
      {"POST", "/v1/sessions/" + id + "/fork", R"({"expected_position": -1})", "expected_position"},
      {"GET", "/v1/sessions/" + id + "/memory?buckets=5000", "", "buckets"},
  };
  for (const auto& bad : cases) {
    const ClientResponse response = Call(bad.method, bad.path, bad.body);
    EXPECT_EQ(response.status, 400) << bad.path << " " << bad.body;
    EXPECT_EQ(ErrorOf(response, "param"), bad.param) << response.body;
  }
  EXPECT_EQ(Call("GET", "/v1/sessions/none/memory").status, 404);
  EXPECT_EQ(Call("GET", "/v1/sessions/").status, 404);
}

TEST_F(SessionServiceTest, ASessionThatNobodyWaitsForIsTakenBack) {
  std::promise<void> waiting, go;
  std::shared_future<void> may_go = go.get_future().share();
  std::atomic<bool> first{true};
  engine_.OnWait([&] {
    if (!first.exchange(false)) return;
    waiting.set_value();
    may_go.wait();
  });
  HttpClient client(endpoint_->port());
  client.Send(HttpClient::Request("POST", "/v1/sessions"));
  waiting.get_future().wait();
  client.Close();
  WaitUntil([&] { return Call("GET", "/metrics").body.find("cascade_http_connections 1\n") != std::string::npos; });
  go.set_value();
  WaitUntil([&] { return Call("GET", "/v1/sessions").json()["data"].empty(); });
}

TEST(MemorySummaryTest, CountsTokensByPlaceAndPartOfTheHistory) {
  CascadeGeometry geometry;
  geometry.num_sinks = 2;
  geometry.sub_cache_tokens = {4, 4};
  geometry.stride = 4;
  // Two heads that differ in what the second sub-cache held.
  HeadView one{0, 0, {}}, two{0, 1, {}};
  for (HeadView* view : {&one, &two}) {
    for (const int64_t token : {0, 1}) view->tokens.push_back({.token = token, .sub_cache = -1});
    view->tokens.push_back({.token = view == &one ? 2 : 6, .sub_cache = 1});
    for (const int64_t token : {10, 11, 12, 13}) view->tokens.push_back({.token = token, .sub_cache = 0});
    view->tokens.push_back({.token = 14, .sub_cache = 2});
  }
  const Json summary = MemorySummary(geometry, 15, {one, two}, 8);
  EXPECT_EQ(summary["bucket_tokens"], 2);
  EXPECT_EQ(summary["tokens_resident"], 8);
  EXPECT_EQ(summary["tokens_evicted"], 7);
  EXPECT_EQ(summary["sinks"]["tokens"], 2);
  EXPECT_EQ(summary["sinks"]["held"], Json({1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0}));
  EXPECT_EQ(summary["sub_caches"][0]["held"], Json({0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0}));
  EXPECT_EQ(summary["sub_caches"][1]["held"], Json({0.0, 0.25, 0.0, 0.25, 0.0, 0.0, 0.0, 0.0}));
  EXPECT_EQ(summary["open_stride"]["held"].back(), 0.5);
  EXPECT_EQ(MemorySummary(geometry, 0, {}, 8)["sinks"]["held"], Json::array());
}

}  // namespace
}  // namespace cascade
