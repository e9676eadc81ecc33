// 32 sessions chat at once: all finish, and each says what it says alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/end_to_end/tiny_server.h"

namespace cascade::test {
namespace {

constexpr int kSessions = 32;
constexpr int kTurns = 5;

std::vector<int32_t> TurnIds(int session, int turn) {
  std::vector<int32_t> ids;
  for (int i = 0; i < 5 + (session * 7 + turn * 3) % 40; ++i)
    ids.push_back(3 + (session * 31 + turn * 17 + i * 11) % 250);
  return ids;
}

// All ids of a session, and where its replies are.
struct Conversation {
  std::vector<int32_t> ids;
  std::vector<bool> said;
};

Conversation Chat(client::Client& client, int number) {
  v1::Session session;
  EXPECT_TRUE(client.CreateSession({}, &session).ok());
  Conversation conversation;
  const auto add = [&](const std::vector<int32_t>& ids, bool said) {
    conversation.ids.insert(conversation.ids.end(), ids.begin(), ids.end());
    conversation.said.resize(conversation.ids.size(), said);
  };
  for (int turn = 0; turn < kTurns; ++turn) {
    v1::GenerateRequest request = GreedyTurn(session.session_id(), TurnIds(number, turn), 30);
    request.set_expected_position(static_cast<int64_t>(conversation.ids.size()));
    const Reply reply = Generate(client, request);
    EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
    add(TurnIds(number, turn), false);
    add(reply.ids, true);
    const auto position = static_cast<int64_t>(conversation.ids.size());
    EXPECT_EQ(reply.last.usage().position(), position);
    EXPECT_EQ(reply.last.usage().tokens_resident() + reply.last.usage().tokens_evicted(), position);
  }
  EXPECT_TRUE(client.DeleteSession(session.session_id()).ok());
  return conversation;
}

// The best token in the place of ids' last one, and how far it was above the second best.
std::pair<int32_t, double> BestInLastPlace(client::Client& client, const std::vector<int32_t>& ids) {
  v1::ScoreRequest request;
  for (const int32_t id : ids) request.mutable_prompt()->mutable_token_ids()->add_ids(id);
  auto stream = client.Score(request);
  v1::ScoreResponse response;
  std::pair<int32_t, double> best = {-1, INFINITY};
  while (stream->Next(&response)) {
    if (const int last = response.top_ids_size() - 1; last >= 0)
      best = {response.top_ids(last), response.top_margins(last)};
  }
  EXPECT_TRUE(stream->Finish().ok());
  return best;
}

// On CUDA without --deterministic a row may round differently in other company (docs/gpu.md).
bool IsRowInvariant() {
  const char* flags = std::getenv("CASCADE_TEST_SERVER_FLAGS");
  const std::string text = flags == nullptr ? "" : flags;
  return text.find("cuda") == std::string::npos || text.find("--deterministic") != std::string::npos;
}

// The same ids; where rows are not invariant up to the first reply token whose margin 16-bit activations may turn.
void ExpectSaysTheSame(client::Client& client, const Conversation& together, const Conversation& alone) {
  if (IsRowInvariant()) {
    EXPECT_EQ(together.ids, alone.ids);
    return;
  }
  constexpr double kNearTie = 0.3;
  const auto [here, there] =
      std::mismatch(together.ids.begin(), together.ids.end(), alone.ids.begin(), alone.ids.end());
  if (here == together.ids.end() && there == alone.ids.end()) return;
  // A reply may also have ended there, and the other one not.
  const auto place = static_cast<size_t>(here - together.ids.begin());
  const auto was_said = [&](const Conversation& one) { return place < one.ids.size() && one.said[place]; };
  EXPECT_TRUE(was_said(together) || was_said(alone));
  const Conversation& longer = place < alone.ids.size() ? alone : together;
  const auto [best, margin] =
      BestInLastPlace(client, {longer.ids.begin(), longer.ids.begin() + static_cast<std::ptrdiff_t>(place) + 1});
  EXPECT_LT(margin, kNearTie) << "ids differ from place " << place << " on";
  const auto is_best = [&](const Conversation& one) { return place < one.ids.size() && one.ids[place] == best; };
  EXPECT_TRUE(is_best(together) || is_best(alone));
}

TEST(ManySessions, ChatAtOnceAndSayWhatTheySayAlone) {
  TinyServer server;
  std::vector<Conversation> together(kSessions);
  std::vector<std::thread> threads;
  for (int i = 0; i < kSessions; ++i) {
    threads.emplace_back([&, i] { together[static_cast<size_t>(i)] = Chat(server.client(), i); });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < kSessions; ++i) {
    SCOPED_TRACE(testing::Message() << "session " << i);
    ExpectSaysTheSame(server.client(), together[static_cast<size_t>(i)], Chat(server.client(), i));
  }
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
