// One journal, case by case.
#include <functional>

#include "tests/engine/session/vault_test_util.h"

namespace cascade {
namespace {

using test::CacheOf;
using test::SessionModel;

using JournalTest = test::OneVaultTest;

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
  // Nor does it take what a turn that runs has made.
  std::vector<int32_t> ahead = origin.model.ids;
  ahead.push_back(1);
  ASSERT_TRUE(origin.journal->WriteImage(origin.model.position() + 1, 1, CacheOf(ahead)).ok());
  auto journal = origin.journal->Fork(fork.model.key, state);
  ASSERT_TRUE(journal.ok()) << journal.status();
  fork.journal = *std::move(journal);
  Expect(fork);
  EXPECT_TRUE(origin.journal->RemoveImagesAfter(origin.model.position()).ok());
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
