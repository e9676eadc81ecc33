// Several servers in one folder: every session has one owner, whose acknowledged turns are never lost.
#include <cstdio>

#include "tests/engine/session/vault_test_util.h"

namespace cascade {
namespace {

using test::CacheOf;
using test::Commit;
using test::Describe;
using test::QuickDirectory;
using test::SessionModel;
using ::testing::IsEmpty;

class VaultOwnershipTest : public test::VaultTest {
 protected:
  // For a server that takes the others for dead.
  std::unique_ptr<QuickDirectory> DirectoryWithoutLocks() {
    auto directory = std::make_unique<QuickDirectory>(path_);
    directory->all_dead = true;
    return directory;
  }
};

TEST_F(VaultOwnershipTest, TheLivingKeepTheirs) {
  auto first = OpenVault();
  TestSession session = Create(*first);
  Run(session, 3);
  auto second = OpenVault();
  EXPECT_THAT(second->found(), IsEmpty());
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(absl::IsUnavailable(second->Load(session.model.key).status()));
    Run(session, 1);
    if (i % 5 == 0) WriteImage(session, session.model.position());
  }
  auto late = Journal::Load(second->context(), session.model.key, session.journal->files());
  ASSERT_TRUE(late.ok());
  EXPECT_TRUE(absl::IsUnavailable((*late)->Claim()));
  EXPECT_TRUE(absl::IsUnavailable((*late)->Append(session.model.RandomTurnRecord(random_))));
  session.journal.reset();
  first.reset();
  // It was read when its owner lived, and nothing has come since.
  EXPECT_TRUE((*late)->Claim().ok());
  late->reset();
  Load(*second, session);
  Expect(session);
  Run(session, 3);
  Expect(session);
  auto third = OpenVault();
  EXPECT_TRUE(absl::IsUnavailable(third->Load(session.model.key).status()));
}

// A server that takes a session makes its segment, and then looks whether the former owner has written meanwhile.
TEST_F(VaultOwnershipTest, AFormerOwnerThatStillRunsStops) {
  for (const bool retain_all : {true, false}) {
    SCOPED_TRACE(retain_all);
    options_.retain_all = retain_all;
    auto first = OpenVault();
    TestSession session = Create(*first);
    Run(session, 3);
    WriteImage(session, session.model.position());  // with retain_all false the next record wants another segment
    if (retain_all) Run(session, 1);
    const auto blind = DirectoryWithoutLocks();
    auto second = OpenVault(*blind);
    ASSERT_NE(second, nullptr);
    TestSession taken{session.model, nullptr};
    Load(*second, taken);
    ASSERT_TRUE(taken.journal->Claim().ok());
    Run(taken, 2);
    if (!retain_all) {
      // The segments that would tell the former owner are gone.
      for (int round = 0; round < 8; ++round) {
        Run(taken, 2);
        WriteImage(taken, taken.model.position() - 1);
      }
      EXPECT_GT(*taken.journal->files().segments.begin(), 1u);
    }
    for (int i = 0; i < 3; ++i) {
      const absl::Status status = Commit(*session.journal, session.model.RandomTurnRecord(random_));
      EXPECT_TRUE(absl::IsAborted(status)) << status;
    }
    EXPECT_TRUE(absl::IsAborted(session.journal->Claim()));
    Expect(taken);
    ExpectOnDisk(taken, false);  // what the former owner has written is of no effect
    Run(taken, 2);
    taken.journal.reset();
    second.reset();
    session.journal.reset();
    first.reset();
    auto third = OpenVault();
    Load(*third, taken);
    Expect(taken);
    EXPECT_TRUE(taken.journal->Remove().ok());
  }
}

TEST_F(VaultOwnershipTest, AFormerOwnerRemovesNothing) {
  options_.retain_all = false;
  options_.keep_turn_starts = 1;
  auto first = OpenVault();
  TestSession session = Create(*first);
  for (int segment = 0; segment < 2; ++segment) {
    Run(session, 2);
    WriteImage(session, session.model.position() - 1);
  }
  Run(session, 10);
  const auto blind = DirectoryWithoutLocks();
  auto second = OpenVault(*blind);
  TestSession taken{session.model, nullptr};
  Load(*second, taken);
  ASSERT_TRUE(taken.journal->Claim().ok());
  const SessionFiles files = FilesOf(session.model.key);
  // One turn and one image more than what it keeps.
  for (int image = 0; image < 3; ++image) {
    const int64_t fed = session.model.position() - 1 - image;
    EXPECT_TRUE(session.journal->WriteImage(fed, session.model.DigestOf(fed), CacheOf(session.model.Ids(0, fed))).ok());
  }
  const SessionFiles left = FilesOf(session.model.key);
  EXPECT_EQ(left.segments, files.segments);
  EXPECT_TRUE(std::ranges::includes(left.images, files.images));
  Expect(taken);
}

// The former owner is in the middle of a turn when its session is taken.
TEST_F(VaultOwnershipTest, WhatIsAcknowledgedIsSeen) {
  enum class When { kBeforeLoad, kBetween, kWithinClaim };
  for (const When when : {When::kBeforeLoad, When::kBetween, When::kWithinClaim}) {
    SCOPED_TRACE(static_cast<int>(when));
    auto first = OpenVault();
    TestSession session = Create(*first);
    Run(session, 3);
    const auto blind = DirectoryWithoutLocks();
    auto second = OpenVault(*blind);
    TestSession taken{session.model, nullptr};
    const TurnRecord turn = session.model.RandomTurnRecord(random_);
    if (when == When::kBeforeLoad) {
      ASSERT_TRUE(session.journal->Append(turn).ok());
      taken.model.Add(turn, options_.keep_turn_starts);
    }
    Load(*second, taken);
    Expect(taken);
    if (when == When::kBetween) {
      ASSERT_TRUE(session.journal->Append(turn).ok());
      blind->before_link = [](const std::string&, const std::string&) { ADD_FAILURE() << "it was not looked before"; };
    }
    if (when == When::kWithinClaim) {
      blind->before_link = [&](const std::string&, const std::string&) {
        blind->before_link = nullptr;
        EXPECT_TRUE(Commit(*session.journal, turn).ok());
      };
    }
    const absl::Status claim = taken.journal->Claim();
    if (when == When::kBeforeLoad) {
      EXPECT_TRUE(claim.ok()) << claim;
      EXPECT_TRUE(absl::IsAborted(session.journal->Sync()));  // not acknowledged, though it is there
    } else {
      EXPECT_TRUE(absl::IsAborted(claim)) << claim;
      EXPECT_TRUE(absl::IsAborted(taken.journal->Claim()));
      if (when == When::kBetween) {
        EXPECT_TRUE(session.journal->Sync().ok());
      }
      blind->before_link = nullptr;
      taken.model.Add(turn, options_.keep_turn_starts);
      Load(*second, taken);
      Expect(taken);
      ASSERT_TRUE(taken.journal->Claim().ok());
      EXPECT_TRUE(absl::IsAborted(Commit(*session.journal, taken.model.RandomTurnRecord(random_))));
    }
    Run(taken, 1);
    Expect(taken);
    session.journal.reset();
    first.reset();
    taken.journal.reset();
    second.reset();
  }
}

// All take all others for dead all the time; whatever one is told to be durable, every later owner has.
TEST_F(VaultOwnershipTest, BlindServersLoseNothingThatWasAcknowledged) {
  constexpr int kServers = 3;
  int commits = 0, claims = 0, aborted = 0;
  for (int round = 0; round < 60; ++round) {
    SCOPED_TRACE(round);
    options_.retain_all = round % 2 == 0;
    struct Server {
      std::unique_ptr<QuickDirectory> directory;
      std::unique_ptr<Vault> vault;
      TestSession session;
      bool busy = false;
    };
    std::vector<Server> servers(kServers);
    for (Server& server : servers) {
      server.directory = DirectoryWithoutLocks();
      server.vault = OpenVault(*server.directory);
    }
    servers[0].session = Create(*servers[0].vault);
    SessionModel durable = servers[0].session.model;  // what somebody was told last
    std::vector<SessionModel> seen = {durable};       // every state that a reader may find
    const auto step = [&](Server& server) {
      if (server.busy) return;
      server.busy = true;
      TestSession& session = server.session;
      if (session.journal == nullptr || random_() % 6 == 0) {
        auto journal = server.vault->Load(durable.key);
        // A segment may have gone, and one that is given up may be in its place.
        if (journal.ok()) {
          const std::string state = Describe((*journal)->state());
          const auto found = std::ranges::find_if(seen, [&](const SessionModel& model) {
            return Describe(model.State(options_.keep_turn_starts)) == state;
          });
          if (found == seen.end()) ADD_FAILURE() << "a state that nobody wrote: " << state;
          if (found != seen.end()) session = {*found, *std::move(journal)};
        }
      } else if (random_() % 4 == 0 && session.model.position() > 1) {
        const int64_t fed = session.model.position() - 1;
        (void)session.journal->WriteImage(fed, session.model.DigestOf(fed), CacheOf(session.model.Ids(0, fed)));
      } else if (absl::Status claim = session.journal->Claim(); claim.ok()) {
        ++claims;
        const TurnRecord turn = session.model.RandomTurnRecord(random_, 5);
        SessionModel after = session.model;
        after.Add(turn, options_.keep_turn_starts);
        seen.push_back(after);
        const absl::Status status = Commit(*session.journal, turn);
        EXPECT_TRUE(status.ok() || absl::IsAborted(status)) << status;
        if (status.ok()) {
          ++commits;
          // It goes on from what was durable; turns that nobody was told of may lie between.
          const std::vector<TurnRecord>& turns = session.model.turns;
          EXPECT_TRUE(turns.size() >= durable.turns.size() &&
                      std::equal(durable.turns.begin(), durable.turns.end(), turns.begin()));
          session.model = durable = after;
        } else {
          ++aborted;
          session.journal.reset();
        }
      } else {
        EXPECT_TRUE(absl::IsAborted(claim)) << claim;
        ++aborted;
        session.journal.reset();
      }
      server.busy = false;
    };
    // The others act between the system calls of one, too.
    for (Server& server : servers) {
      const auto act = [&] {
        if (random_() % 4 == 0) step(servers[random_() % kServers]);
      };
      server.directory->in_file_sync = act;
      server.directory->before_link = [act](const std::string&, const std::string&) { act(); };
    }
    for (int i = 0; i < 60; ++i) step(servers[random_() % kServers]);
    for (Server& server : servers) server.session.journal.reset();
    servers.clear();
    auto vault = OpenVault();
    auto journal = vault->Load(durable.key);
    ASSERT_TRUE(journal.ok()) << journal.status();
    EXPECT_GE((*journal)->state().place.turns, durable.Place().turns);
    EXPECT_TRUE((*journal)->Remove().ok());
  }
  std::printf("%d claims, %d commits, %d times another one was faster\n", claims, commits, aborted);
  EXPECT_GE(commits, 500);
  EXPECT_GE(aborted, 200);
}

}  // namespace
}  // namespace cascade
