// SIGKILL at random moments of a server under load, again and again on one folder: no acknowledged turn is lost, none is
// half there, and a session's next tokens are those that it would have had.
//
// The clients write down what was acknowledged before they ask for more. CASCADE_KILLS: how often, 60 if not said.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/token_digest.h"
#include "tests/end_to_end/tiny_server.h"

namespace cascade::test {
namespace {

constexpr int kSessions = 6;

// What the client knows of a session: its ids up to the last acknowledgement, and those of a turn that it asked for and
// whose end it has not seen.
struct Chat {
  std::string id;
  std::vector<int32_t> ids;
  std::vector<int32_t> asked;
  int acknowledged = 0;
};

class KillTest : public ::testing::Test {
 protected:
  KillTest() : folder_(::testing::TempDir() + "kill-" + std::to_string(getpid())), model_(folder_ + ".gguf") {
    std::filesystem::remove_all(folder_);
    WriteTinyModel(model_);
  }
  ~KillTest() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
    std::filesystem::remove(model_);
  }
  void Start() {
    server_ = std::make_unique<ServerProcess>(std::vector<std::string>{
        "--model", model_, "--port", "0", "--threads", "1", "--cache-tokens", "128", "--cache-memory-bytes", "2MiB",
        "--data-dir", folder_});
    address_ = server_->WaitUntilReady();
    ASSERT_NE(address_, "") << server_->Output();
  }

  const std::string folder_, model_;
  std::unique_ptr<ServerProcess> server_;
  std::string address_;
};

// Turns until the server is gone.
void Talk(const std::string& address, Chat& chat, uint64_t seed, std::atomic<bool>& stop) {
  std::mt19937_64 random(seed);
  client::Client client({.address = address});
  while (!stop.load()) {
    if (chat.id.empty()) {
      v1::Session session;
      if (!client.CreateSession({}, &session).ok()) return;
      chat.id = session.session_id();
    }
    chat.asked.clear();
    for (uint64_t i = 1 + random() % 60; i > 0; --i) chat.asked.push_back(3 + static_cast<int32_t>(random() % 250));
    v1::GenerateRequest request = GreedyTurn(chat.id, chat.asked, static_cast<int>(random() % 12));
    request.set_expected_position(static_cast<int64_t>(chat.ids.size()));
    const Reply reply = Generate(client, request);
    if (!reply.status.ok()) return;
    chat.ids.insert(chat.ids.end(), chat.asked.begin(), chat.asked.end());
    chat.ids.insert(chat.ids.end(), reply.ids.begin(), reply.ids.end());
    chat.asked.clear();
    ++chat.acknowledged;
    EXPECT_EQ(reply.last.acknowledgement().digest(), ExtendTokenDigest(0, chat.ids));
  }
}

// All that a server says of a session after its death fits what the client knows.
void Check(client::Client& client, Chat& chat) {
  if (chat.id.empty()) return;
  v1::Session session;
  const grpc::Status status = client.GetSession(chat.id, &session);
  ASSERT_TRUE(status.ok()) << status.error_message();
  const auto position = static_cast<size_t>(session.position());
  ASSERT_GE(position, chat.ids.size());
  if (position > chat.ids.size()) {
    // The turn that was under way is there, wholly, but its acknowledgement did not arrive: its ids are in its digest.
    ASSERT_GE(position, chat.ids.size() + chat.asked.size());
    v1::ResumeTurnRequest request;
    request.set_session_id(chat.id);
    auto stream = client.ResumeTurn(request);
    std::vector<int32_t> sampled;
    v1::GenerateResponse response;
    while (stream->Next(&response)) {
      sampled.insert(sampled.end(), response.token_ids().begin(), response.token_ids().end());
    }
    ASSERT_TRUE(stream->Finish().ok());
    chat.ids.insert(chat.ids.end(), chat.asked.begin(), chat.asked.end());
    chat.ids.insert(chat.ids.end(), sampled.begin(), sampled.end());
  }
  ASSERT_EQ(position, chat.ids.size());
  ASSERT_EQ(session.digest(), ExtendTokenDigest(0, chat.ids));
  chat.asked.clear();
}

TEST_F(KillTest, NoAcknowledgedTurnIsLost) {
  const char* wanted = std::getenv("CASCADE_KILLS");
  const int kills = wanted == nullptr ? 60 : std::atoi(wanted);
  std::mt19937_64 random(7);
  std::vector<Chat> chats(kSessions);
  for (int kill = 0; kill < kills && !HasFatalFailure(); ++kill) {
    SCOPED_TRACE(kill);
    Start();
    if (HasFatalFailure()) return;
    client::Client client({.address = address_});
    for (Chat& chat : chats) {
      Check(client, chat);
      if (HasFatalFailure()) return;
    }
    // One session's next tokens are those of a one-shot turn with all of its ids.
    Chat& one = chats[random() % chats.size()];
    if (kill % 5 == 0 && !one.ids.empty()) {
      const Reply alone = Generate(client, GreedyTurn("", one.ids, 8)), next = Generate(client, GreedyTurn(one.id, {}, 8));
      ASSERT_TRUE(alone.status.ok() && next.status.ok()) << next.status.error_message();
      ASSERT_EQ(next.ids, alone.ids);
      one.ids.insert(one.ids.end(), next.ids.begin(), next.ids.end());
    }
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (Chat& chat : chats) threads.emplace_back(Talk, address_, std::ref(chat), random(), std::ref(stop));
    std::this_thread::sleep_for(std::chrono::milliseconds(5 + random() % 250));
    server_->Signal(SIGKILL);
    stop.store(true);
    for (std::thread& thread : threads) thread.join();
    server_->Wait();
  }
  Start();
  client::Client client({.address = address_});
  int turns = 0;
  for (Chat& chat : chats) {
    Check(client, chat);
    turns += chat.acknowledged;
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
  }
  std::printf("kills %d, acknowledged turns %d, restarts %d, lost 0\n", kills, turns, kills + 1);
  EXPECT_GE(turns, 5 * kills);
}

}  // namespace
}  // namespace cascade::test
