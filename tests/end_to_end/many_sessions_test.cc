// 32 sessions chat at once: all finish, and each says what it says alone.
#include <gtest/gtest.h>

#include <thread>

#include "tests/end_to_end/tiny_server.h"

namespace cascade::test {
namespace {

constexpr int kSessions = 32;
constexpr int kTurns = 5;

std::vector<int32_t> TurnIds(int session, int turn) {
  std::vector<int32_t> ids;
  for (int i = 0; i < 5 + (session * 7 + turn * 3) % 40; ++i) ids.push_back(3 + (session * 31 + turn * 17 + i * 11) % 250);
  return ids;
}

std::vector<int32_t> Chat(client::Client& client, int number) {
  v1::Session session;
  EXPECT_TRUE(client.CreateSession({}, &session).ok());
  std::vector<int32_t> said;
  int64_t position = 0;
  for (int turn = 0; turn < kTurns; ++turn) {
    v1::GenerateRequest request = GreedyTurn(session.session_id(), TurnIds(number, turn), 30);
    request.set_expected_position(position);
    const Reply reply = Generate(client, request);
    EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
    position += static_cast<int64_t>(TurnIds(number, turn).size() + reply.ids.size());
    EXPECT_EQ(reply.last.usage().position(), position);
    EXPECT_EQ(reply.last.usage().tokens_resident() + reply.last.usage().tokens_evicted(), position);
    said.insert(said.end(), reply.ids.begin(), reply.ids.end());
  }
  EXPECT_TRUE(client.DeleteSession(session.session_id()).ok());
  return said;
}

TEST(ManySessions, ChatAtOnceAndSayWhatTheySayAlone) {
  TinyServer server;
  std::vector<std::vector<int32_t>> together(kSessions);
  std::vector<std::thread> threads;
  for (int i = 0; i < kSessions; ++i) {
    threads.emplace_back([&, i] { together[static_cast<size_t>(i)] = Chat(server.client(), i); });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < kSessions; ++i) EXPECT_EQ(together[static_cast<size_t>(i)], Chat(server.client(), i)) << "session " << i;
  v1::ServerInfo info;
  ASSERT_TRUE(server.client().GetServerInfo(&info).ok());
  EXPECT_GE(info.sessions_free(), kSessions);
}

// Cancelled calls and passed deadlines leave no slot and no turn behind.
TEST(ManySessions, CancelledAndExpiredCallsLeaveNothing) {
  TinyServer server({"--max-num-sessions", "8"});
  v1::ServerInfo before, after;
  ASSERT_TRUE(server.client().GetServerInfo(&before).ok());
  for (int i = 0; i < 40; ++i) {
    v1::GenerateRequest request = GreedyTurn("", TurnIds(i, 0), 100'000);
    request.mutable_sampling()->set_temperature(1.5);
    auto stream = server.client().Generate(request);
    v1::GenerateResponse response;
    for (int reads = i % 4; reads > 0 && stream->Next(&response); --reads) {
    }
    stream->Cancel();
    const grpc::Status status = stream->Finish();
    EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::CANCELLED) << status.error_message();
  }
  client::Client hurried({.address = server.client().address(), .timeout = std::chrono::milliseconds(30)});
  int expired = 0;
  for (int i = 0; i < 10; ++i) {
    const v1::GenerateRequest request = GreedyTurn("", std::vector<int32_t>(500'000, 40 + i), 1);
    const grpc::Status status = Generate(hurried, request).status;
    expired += status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  }
  EXPECT_GT(expired, 0);
  for (int i = 0; i < 2000; ++i) {
    ASSERT_TRUE(server.client().GetServerInfo(&after).ok());
    if (after.sessions_free() == before.sessions_free()) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(after.sessions_free(), before.sessions_free());
}

}  // namespace
}  // namespace cascade::test
