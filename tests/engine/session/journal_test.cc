// One journal and its images, case by case.
#include <functional>

#include "engine/base/token_digest.h"
#include "tests/engine/session/vault_test_util.h"

namespace cascade {
namespace {

using test::CacheOf;
using test::Commit;
using test::Describe;
using test::ExpectRestores;
using test::kCacheBytes;
using test::SessionModel;
using ::testing::IsEmpty;

class JournalTest : public test::VaultTest {
 protected:
  JournalTest() : vault_(OpenVault()) {}

  // As it is after a restart.
  void Reload(TestSession& session) {
    session.journal.reset();
    vault_.reset();
    vault_ = OpenVault();
    Load(*vault_, session);
    ASSERT_TRUE(session.journal->Claim().ok());
  }
  Journal::Restored MustRestore(TestSession& session, int64_t end) {
    auto restored = session.journal->Restore(end, end, cache_);
    EXPECT_TRUE(restored.ok()) << restored.status();
    return restored.ok() ? *std::move(restored) : Journal::Restored();
  }

  std::unique_ptr<Vault> vault_;
  std::vector<std::byte> cache_ = std::vector<std::byte>(kCacheBytes);
};

TEST_F(JournalTest, KeepsEveryField) {
  TestSession session = Create(*vault_);
  Expect(session);
  for (int turn = 0; turn < 200; ++turn) {
    Run(session, 1, turn % 3 == 0 ? 0 : 50);
    if (turn % 17 == 3) session.journal->CloseFile();
    if (turn % 20 == 5) TakeBack(session, 3);
    if (turn % 40 == 7) Reload(session);
    Expect(session);
    ExpectOnDisk(session);
  }
  EXPECT_EQ(session.journal->owner(), vault_->context().owner);
}

// What is durable before what: a name never stands for bytes that are not, and no step goes before both are.
TEST_F(JournalTest, SyncsBytesBeforeNames) {
  std::string trace;
  directory_->trace = &trace;
  const auto changes = [&](const std::function<void()>& work) {
    trace.clear();
    work();
    return trace;
  };
  TestSession session;
  EXPECT_EQ(changes([&] { session = Create(*vault_); }), "create append sync link remove sync_folder ");
  EXPECT_EQ(changes([&] { Run(session, 2, 5); }), "append sync append sync ");
  EXPECT_EQ(changes([&] { WriteImage(session, 1); }), "create append append sync rename sync_folder ");
  EXPECT_EQ(changes([&] {
              SessionModel fork = session.model.Fork(random_);
              EXPECT_TRUE(session.journal->Fork(fork.key, fork.State(options_.keep_turn_starts)).ok());
            }),
            "link link create append sync link remove sync_folder ");
  EXPECT_EQ(changes([&] { EXPECT_TRUE(session.journal->Remove().ok()); }),
            "rename sync_folder remove remove sync_folder remove ");
  directory_->trace = nullptr;
}

TEST_F(JournalTest, ForksShareWhatWasBefore) {
  TestSession origin = Create(*vault_);
  Run(origin, 5);
  WriteImage(origin, origin.model.position());
  Run(origin, 5);
  TestSession fork{origin.model.Fork(random_), nullptr};
  // A fork's turns are its own, whatever it is told.
  JournalState state = fork.model.State(options_.keep_turn_starts);
  state.turn_starts = origin.journal->state().turn_starts;
  state.last_turn = origin.journal->state().last_turn;
  auto journal = origin.journal->Fork(fork.model.key, state);
  ASSERT_TRUE(journal.ok()) << journal.status();
  fork.journal = *std::move(journal);
  Expect(fork);
  Run(origin, 3);
  Run(fork, 2);
  for (int round = 0; round < 2; ++round) {
    Expect(origin);
    Expect(fork);
    ExpectOnDisk(fork);
    Reload(origin);
    Load(*vault_, fork);
  }
  EXPECT_TRUE(origin.journal->Remove().ok());
  EXPECT_TRUE(absl::IsNotFound(vault_->Load(origin.model.key).status()));
  Load(*vault_, fork);
  Expect(fork);
}

// As one that was exported with its cache, but not with all of its tokens.
TEST_F(JournalTest, BeginsFromACache) {
  SessionModel whole = SessionModel::Random(random_);
  for (int turn = 0; turn < 5; ++turn) whole.Add(whole.RandomTurnRecord(random_, 50), options_.keep_turn_starts);
  const TurnRecord rest = whole.RandomTurnRecord(random_, 50);
  whole.last_used_ms = rest.ended_ms;
  for (const int64_t seen_of_rest : {int64_t{0}, static_cast<int64_t>(rest.ids.size())}) {
    TestSession session{whole, nullptr};
    session.model.key = SessionModel::Random(random_).key;
    session.model.begin = whole.Place();
    session.model.turns.clear();
    session.model.turn_starts = 0;
    session.model.ends_with_turn = false;
    const JournalState before = session.model.State(options_.keep_turn_starts);
    session.model.Add(rest, options_.keep_turn_starts);
    const int64_t seen = rest.position + seen_of_rest;
    session.model.images = {seen};
    auto journal = vault_->CreateFrom(session.model.key, before, rest, seen, session.model.DigestOf(seen),
                                      CacheOf(session.model.Ids(0, seen)));
    ASSERT_TRUE(journal.ok()) << journal.status();
    session.journal = *std::move(journal);
    Expect(session);
    Reload(session);
    Expect(session);
    Run(session, 3);
    Expect(session);
    EXPECT_TRUE(absl::IsNotFound(session.journal->FindTurnStart(0).status()));
    EXPECT_TRUE(absl::IsDataLoss(session.journal->Restore(seen - 1, seen - 1, cache_).status()));
  }
}

TEST_F(JournalTest, ATurnThatRunsKeepsFewImages) {
  TestSession session = Create(*vault_);
  Run(session, 3);
  WriteImage(session, session.model.position());
  TestSession ahead{session.model, nullptr};
  const TurnRecord turn = session.model.RandomTurnRecord(random_, 5);
  TurnRecord longer = turn;
  longer.ids.resize(500, 7);
  ahead.model.Add(longer, options_.keep_turn_starts);
  for (int64_t k = 1; k <= 100; ++k) {
    const int64_t seen = session.model.position() + 5 * k;
    ASSERT_TRUE(session.journal->WriteImage(seen, ahead.model.DigestOf(seen), CacheOf(ahead.model.Ids(0, seen))).ok());
    EXPECT_LE(FilesOf(session.model.key).images.size(), 4u);
  }
  ASSERT_TRUE(Commit(*session.journal, longer).ok());
  const auto restored = MustRestore(session, ahead.model.position());
  EXPECT_EQ(restored.tokens_seen, ahead.model.position());
}

TEST_F(JournalTest, PassesOverImagesThatDoNotFit) {
  TestSession session = Create(*vault_);
  Run(session, 3);
  const int64_t good = session.model.position();
  WriteImage(session, good);
  Run(session, 1);
  const int64_t bad = session.model.position() + 1;
  Run(session, 3, 50);
  ASSERT_GT(session.model.position(), bad);
  // Of other tokens, as one would be that stayed behind when the session went back.
  std::vector<int32_t> others(session.model.ids.begin(), session.model.ids.begin() + bad);
  others.back() ^= 1;
  ASSERT_TRUE(session.journal->WriteImage(bad, ExtendTokenDigest(0, others), CacheOf(others)).ok());
  EXPECT_EQ(session.journal->ImageBefore(session.model.position()), bad);
  const Journal::Restored restored = MustRestore(session, session.model.position());
  EXPECT_EQ(restored.tokens_seen, good);
  EXPECT_TRUE(cache_ == CacheOf(session.model.Ids(0, good)));
  EXPECT_EQ(restored.damage, "the image is of other tokens");
  // From then on it is no reason to let go of the good one.
  EXPECT_EQ(session.journal->ImageBefore(session.model.position()), good);
  WriteImage(session, session.model.position());
  EXPECT_EQ(FilesOf(session.model.key).images, (std::set<int64_t>{good, session.model.position()}));
  Expect(session);
}

TEST_F(JournalTest, PassesOverDamagedImages) {
  TestSession session = Create(*vault_);
  Run(session, 3);
  WriteImage(session, session.model.position());
  Run(session, 3);
  WriteImage(session, session.model.position());
  const std::set<int64_t> images = session.model.images;
  ASSERT_EQ(images.size(), 2u);
  const std::string name = ImageName(session.model.key, *images.rbegin());
  const test::Bytes bytes = ReadBytes(name);
  test::Bytes damaged = bytes;
  damaged.back() ^= 1;
  WriteBytes(name, damaged);
  session.model.images.erase(*images.rbegin());
  EXPECT_EQ(MustRestore(session, session.model.position()).tokens_seen, *images.begin());
  damaged.resize(100);
  WriteBytes(name, damaged);
  EXPECT_EQ(MustRestore(session, session.model.position()).tokens_seen, *images.begin());
  std::filesystem::remove(path_ / name);
  EXPECT_EQ(MustRestore(session, session.model.position()).tokens_seen, *images.begin());
  std::filesystem::remove(path_ / ImageName(session.model.key, *images.begin()));
  const Journal::Restored restored = MustRestore(session, session.model.position());
  EXPECT_EQ(restored.tokens_seen, 0);
  EXPECT_EQ(restored.ids, session.model.ids);
  // A fork does without them, too.
  session.model.images.clear();
  TestSession fork{session.model.Fork(random_), nullptr};
  auto journal = session.journal->Fork(fork.model.key, fork.model.State(options_.keep_turn_starts));
  ASSERT_TRUE(journal.ok()) << journal.status();
  fork.journal = *std::move(journal);
  Expect(fork);
}

TEST_F(JournalTest, TellsOtherModelsFromOtherCaches) {
  TestSession session = Create(*vault_);
  Run(session, 3);
  WriteImage(session, session.model.position());
  session.journal.reset();
  options_.geometry[0] ^= 1;
  Reload(session);
  const Journal::Restored restored = MustRestore(session, session.model.position());
  EXPECT_EQ(restored.tokens_seen, 0);
  EXPECT_EQ(restored.ids, session.model.ids);
  EXPECT_THAT(restored.damage, ::testing::HasSubstr("geometry"));
  session.journal.reset();
  vault_.reset();
  options_.model[0] ^= 1;
  vault_ = OpenVault();
  EXPECT_EQ(vault_->found().size(), 1u);
  EXPECT_TRUE(absl::IsFailedPrecondition(vault_->Load(session.model.key).status()));
}

// The session goes back while an image of it is being written.
TEST_F(JournalTest, GivesUpAnImageThatNothingFitsAnyMore) {
  TestSession session = Create(*vault_);
  Run(session, 3);
  WriteImage(session, session.model.position());
  Run(session, 2);
  const SessionModel before = session.model;
  directory_->in_file_sync = [&] {
    directory_->in_file_sync = nullptr;
    TakeBack(session, 2);
  };
  const int64_t seen = before.position();
  const absl::Status status = session.journal->WriteImage(seen, before.DigestOf(seen), CacheOf(before.Ids(0, seen)));
  EXPECT_TRUE(absl::IsAborted(status)) << status;
  Expect(session);
  ExpectOnDisk(session);
  EXPECT_THAT(Names(".tmp"), IsEmpty());
}

TEST_F(JournalTest, GoesBackToTheBegin) {
  for (const bool retain_all : {true, false}) {
    options_.retain_all = retain_all;
    vault_ = OpenVault();
    TestSession session = Create(*vault_);
    for (int round = 0; round < 10; ++round) {
      Run(session, 3);
      WriteImage(session, session.model.position() - 1);
    }
    TakeBack(session, session.model.turns.size());
    Expect(session);
    Run(session, 1);
    Expect(session);
    Load(*vault_, session);
    Expect(session);
    WriteImage(session, session.model.position() - 1);
    Expect(session);
  }
}

TEST_F(JournalTest, RefusesPlacesThatItDoesNotKnow) {
  TestSession session = Create(*vault_);
  Run(session, 3);
  const int64_t end = session.model.position();
  EXPECT_TRUE(absl::IsDataLoss(session.journal->Restore(end + 1, end + 1, cache_).status()));
  EXPECT_TRUE(absl::IsDataLoss(session.journal->Restore(end, end - 1, cache_).status()));
  EXPECT_TRUE(absl::IsNotFound(session.journal->FindTurnStart(3).status()));
  EXPECT_TRUE(absl::IsNotFound(session.journal->FindTurnStart(-1).status()));
  EXPECT_TRUE(session.journal->FindTurnStart(2).ok());
  EXPECT_EQ(session.journal->ImageBefore(end), std::nullopt);
}

}  // namespace
}  // namespace cascade
