// SIGKILL at random moments of a server under load, again and again on one folder: no acknowledged turn is lost, none
// is half there, and a session's next tokens are those that it would have had.
//
// The clients write down what was acknowledged before they ask for more. CASCADE_KILLS: how often, 60 if not said.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <random>
#include <thread>
#include <vector>

#include "tests/end_to_end/durable_chats.h"

namespace cascade::test {
namespace {

constexpr int kSessions = 6;

TEST(KillTest, NoAcknowledgedTurnIsLost) {
  const char* wanted = std::getenv("CASCADE_KILLS");
  const int kills = wanted == nullptr ? 60 : std::atoi(wanted);
  std::mt19937_64 random(7);
  DurableServer server("kill");
  server.Start();
  ASSERT_FALSE(::testing::Test::HasFailure());
  std::vector<Chat> chats = MakeChats(server.client(), kSessions);
  for (int kill = 0; kill < kills; ++kill) {
    SCOPED_TRACE(kill);
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (Chat& chat : chats) {
      const TalkOptions options{.address = server.address(), .seed = random()};
      threads.emplace_back([&chat, &stop, options] { Talk(options, chat, stop); });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5 + random() % 250));
    server.process().Signal(SIGKILL);
    stop.store(true);
    for (std::thread& thread : threads) thread.join();
    server.process().Wait();
    server.Start();
    for (Chat& chat : chats) {
      if (!::testing::Test::HasFailure()) ExpectAsKnown(server.client(), chat, Unseen::kWhole);
    }
    server.ExpectNoOrphans(chats);  // nothing runs yet that writes files
    if (kill % 5 == 0 && !::testing::Test::HasFailure()) {
      ExpectSameNext(server.client(), chats[random() % chats.size()]);
    }
    if (::testing::Test::HasFailure()) return;
  }
  int turns = 0;
  for (const Chat& chat : chats) turns += chat.acknowledged;
  std::printf("kills %d, acknowledged turns %d, restarts %d, lost 0\n", kills, turns, kills);
  EXPECT_GE(turns, 5 * kills);
}

}  // namespace
}  // namespace cascade::test
