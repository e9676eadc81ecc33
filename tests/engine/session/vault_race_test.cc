// Servers that do things at the same time, and servers that are killed.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <thread>

#include "tests/engine/session/vault_test_util.h"

namespace cascade {
namespace {

using test::CacheOf;
using test::Commit;
using test::Describe;
using test::kCacheBytes;
using test::QuickDirectory;
using test::SessionModel;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using VaultRaceTest = test::VaultTest;

// The files of a living server change while another one looks at them.
TEST_F(VaultRaceTest, IsUnavailableHoweverBusyItsOwner) {
  options_.retain_all = false;
  auto first = OpenVault();
  auto second = OpenVault();
  TestSession session = Create(*first);
  Run(session, 1);
  std::atomic<bool> stop = false;
  std::atomic<int> turns = 0;
  std::thread owner([&] {
    for (; !stop; ++turns) {
      Run(session, 1, 5);
      if (session.model.position() > 1 && turns % 2 == 0) WriteImage(session, session.model.position() - 1);
    }
  });
  int unavailable = 0;
  for (int i = 0; i < 2000 || turns < 10; ++i) {
    const absl::Status status = second->Load(session.model.key).status();
    // Between the listing and the look a segment may have gone.
    EXPECT_TRUE(absl::IsUnavailable(status) || absl::IsNotFound(status)) << status;
    if (absl::IsUnavailable(status)) ++unavailable;
  }
  stop = true;
  owner.join();
  EXPECT_GE(unavailable, 1000);
}

TEST_F(VaultRaceTest, OneOfManyThatClaimAtOnceWins) {
  constexpr int kThreads = 8;
  TestSession session = Create(*OpenVault());
  for (int round = 0; round < 30; ++round) {
    session.journal.reset();
    std::vector<std::unique_ptr<Vault>> vaults;
    std::vector<std::unique_ptr<Journal>> journals;
    for (int i = 0; i < kThreads; ++i) {
      vaults.push_back(OpenVault());
      EXPECT_THAT(vaults.back()->found(), SizeIs(1));
      Load(*vaults.back(), session);
      journals.push_back(std::move(session.journal));
    }
    std::atomic<int> ready = 0, won = 0, winner = -1;
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        ++ready;
        while (ready < kThreads) std::this_thread::yield();
        const absl::Status status = journals[static_cast<size_t>(i)]->Claim();
        EXPECT_TRUE(status.ok() || absl::IsAborted(status)) << status;
        if (status.ok()) ++won;
        if (status.ok()) winner = i;
      });
    }
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(won, 1);
    session.journal = std::move(journals[static_cast<size_t>(winner)]);
    Run(session, 1);
    Expect(session);
    ExpectOnDisk(session);
    EXPECT_THAT(Names(".tmp"), IsEmpty());
    const auto loser = static_cast<size_t>((winner + 1) % kThreads);
    EXPECT_TRUE(absl::IsUnavailable(vaults[loser]->Load(session.model.key).status()));
    session.journal.reset();
    journals.clear();
  }
}

TEST_F(VaultRaceTest, ManyOpenAFolderAtOnce) {
  constexpr int kThreads = 8;
  for (int round = 0; round < 40; ++round) {
    SCOPED_TRACE(round);
    std::vector<SessionModel> models;
    for (int i = 0; i < kThreads; ++i) models.push_back(SessionModel::Random(random_));
    std::atomic<int> ready = 0;
    std::vector<std::thread> threads;
    for (const SessionModel& model : models) {
      threads.emplace_back([&] {
        QuickDirectory directory(path_);
        ++ready;
        while (ready < kThreads) std::this_thread::yield();
        auto vault = OpenVault(directory);
        if (vault == nullptr) return;
        EXPECT_EQ(vault->leftovers(), 0);
        const auto journal = vault->Create(model.key, model.State(options_.keep_turn_starts));
        EXPECT_TRUE(journal.ok()) << journal.status();
      });
    }
    for (std::thread& thread : threads) thread.join();
    auto vault = OpenVault();
    EXPECT_THAT(vault->found(), SizeIs(kThreads));
    for (const SessionModel& model : models) {
      const auto journal = vault->Load(model.key);
      ASSERT_TRUE(journal.ok()) << journal.status();
      EXPECT_TRUE((*journal)->Remove().ok());
    }
    if (round % 2 == 0) {
      vault.reset();
      GoBackTo({});  // also the key
    }
  }
}

// A server that is killed in the middle of what it does, again and again.
TEST_F(VaultRaceTest, AKilledServersSessionsGoOn) {
  constexpr int kKills = 60;
  TestSession session = Create(*OpenVault());
  const auto turn = [](const SessionModel& model) {
    std::mt19937_64 random(model.turns.size());
    return model.RandomTurnRecord(random, 30);
  };
  size_t acknowledged = 0;
  for (int kill_number = 0; kill_number < kKills; ++kill_number) {
    SCOPED_TRACE(kill_number);
    session.journal.reset();
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
      FakeRandom source(1000 + static_cast<uint64_t>(kill_number));
      QuickDirectory directory(path_);
      auto vault = Vault::Open(directory, options_, source);
      if (!vault.ok()) _exit(1);
      auto journal = (*vault)->Load(session.model.key);
      if (!journal.ok()) _exit(2);
      SessionModel model = session.model;
      for (;;) {
        const TurnRecord next = turn(model);
        if (!Commit(**journal, next).ok()) _exit(3);
        if (write(ends[1], "", 1) != 1) _exit(4);
        model.Add(next, options_.keep_turn_starts);
        const int64_t fed = model.position() - 1;
        if (fed > 0 && model.turns.size() % 4 == 0 &&
            !(*journal)->WriteImage(fed, model.DigestOf(fed), CacheOf(model.Ids(0, fed))).ok()) {
          _exit(5);
        }
      }
    }
    close(ends[1]);
    char byte;
    for (uint64_t turns = random_() % 4 + 1; turns > 0; --turns) {
      ASSERT_EQ(read(ends[0], &byte, 1), 1);
      ++acknowledged;
    }
    usleep(static_cast<useconds_t>(random_() % 1000));
    kill(child, SIGKILL);
    while (read(ends[0], &byte, 1) == 1) ++acknowledged;
    close(ends[0]);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);

    auto vault = OpenVault();
    ASSERT_THAT(vault->found(), SizeIs(1));
    Load(*vault, session);
    const auto turns = static_cast<size_t>(session.journal->state().place.turns);
    ASSERT_GE(turns, acknowledged);
    ASSERT_LE(turns, acknowledged + 1);  // one may be there that it could not tell of any more
    while (session.model.turns.size() < turns) session.model.Add(turn(session.model), options_.keep_turn_starts);
    acknowledged = turns;
    EXPECT_EQ(Describe(session.journal->state()), Describe(session.model.State(options_.keep_turn_starts)));
    std::vector<std::byte> cache(kCacheBytes);
    const int64_t end = session.model.position();
    const auto restored = session.journal->Restore(end, end, cache);
    ASSERT_TRUE(restored.ok()) << restored.status();
    EXPECT_EQ(restored->damage, "");
    EXPECT_TRUE(restored->tokens_seen == 0 || cache == CacheOf(session.model.Ids(0, restored->tokens_seen)));
    EXPECT_TRUE(std::ranges::equal(restored->ids, session.model.Ids(restored->tokens_seen, end)));
    EXPECT_THAT(Names(".tmp"), IsEmpty());
    EXPECT_THAT(Names(".server"), SizeIs(1));
    ASSERT_TRUE(session.journal->Claim().ok());
    ExpectOnDisk(session);
    session.journal.reset();
  }
  std::printf("%d kills, %zu turns acknowledged\n", kKills, acknowledged);
  EXPECT_GE(acknowledged, 100u);
}

}  // namespace
}  // namespace cascade
