// Things that are done to a session on a disk that may fail, and what must be there afterwards.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/session/commit_queue.h"
#include "tests/engine/session/vault_test_util.h"
#include "tests/support/faulty_directory.h"

namespace cascade::test {

class DurabilityTest : public VaultTest {
 protected:
  // What may be found of a session afterwards.
  struct Expected {
    std::vector<SessionModel> states;
    bool may_be_gone = false;
  };

  // A folder with a session, and another one that nothing happens to.
  DurabilityTest() {
    options_.keep_turn_starts = 2;
    Prepare();
  }
  void Prepare() {
    GoBackTo({});
    auto vault = OpenVault();
    TestSession session = Create(*vault), other = Create(*vault);
    for (int segment = 0; segment < 2; ++segment) {
      Run(session, 4, 6);
      Run(other, 3, 6);
      WriteImage(session, session.model.position() - 1);
      WriteImage(other, other.model.position() - 1);
      Load(*vault, session);
    }
    session_ = session.model;
    other_ = other.model;
    session.journal.reset();
    other.journal.reset();
    vault.reset();
    folder_ = Save();
  }

  // Sets up a server; the faults begin afterwards.
  void Start() {
    GoBackTo(folder_);
    faulty_ = std::make_unique<FaultyDirectory>(std::make_unique<QuickDirectory>(path_));
    vault_ = OpenVault(*faulty_);
    live_ = {session_, nullptr};
    live_other_ = {other_, nullptr};
    Load(*vault_, live_);
    Load(*vault_, live_other_);
    ASSERT_TRUE(live_.journal->Claim().ok());
    expected_ = {{session_.key, {{session_}, false}}};
    once_failed_ = false;
  }

  // Things that are done.
  absl::Status RecordTurn(CommitQueue* queue = nullptr) {
    const TurnRecord turn = live_.model.RandomTurnRecord(random_, 6);
    SessionModel after = live_.model;
    after.Add(turn, options_.keep_turn_starts);
    return Settle(after, queue == nullptr ? Commit(*live_.journal, turn) : queue->CommitAndWait(Shared(), turn));
  }
  absl::Status RecordRewind(CommitQueue* queue = nullptr) {
    SessionModel after = live_.model;
    const size_t left = after.turns.size() - 1;
    const RewindRecord rewind = RewindTo(after.Place(left), after.last_used_ms + 1);
    after.TakeBack(left, rewind.ended_ms);
    const absl::Status status =
        Settle(after, queue == nullptr ? Commit(*live_.journal, rewind) : queue->CommitAndWait(Shared(), rewind));
    if (status.ok()) live_.journal->RemoveImagesAfter(live_.model.position()).IgnoreError();
    return status;
  }
  std::shared_ptr<Journal> Shared() {
    return {live_.journal.get(), [](Journal*) {}};
  }
  absl::Status Settle(const SessionModel& after, absl::Status status) {
    Expected& expected = expected_[session_.key];
    if (status.ok()) {
      live_.model = after;
      expected.states = {after};
    } else {
      expected.states.push_back(after);  // wholly on the disk, though nobody was told
      once_failed_ = true;
    }
    EXPECT_EQ(Describe(live_.journal->state()), Describe(live_.model.State(options_.keep_turn_starts)));
    return status;
  }
  void Image() {
    const int64_t fed = live_.model.position() - 1;
    live_.journal->WriteImage(fed, live_.model.DigestOf(fed), CacheOf(live_.model.Ids(0, fed))).IgnoreError();
  }
  // A session that is made, in one of three ways; one that fails leaves nothing if it can help it.
  void Made(const SessionModel& model, const absl::StatusOr<std::unique_ptr<Journal>>& journal) {
    const bool made = journal.ok();
    if (made) {
      EXPECT_EQ(Describe((*journal)->state()), Describe(model.State(options_.keep_turn_starts)));
    }
    expected_[model.key] = {{model}, !made};
    if (!made && !from_then_on_) expected_[model.key].states.clear();
  }
  void Fork() {
    SessionModel fork = live_.model.Fork(random_);
    const auto journal = live_.journal->Fork(fork.key, fork.State(options_.keep_turn_starts));
    Made(fork, journal);
  }
  void CreateOne() {
    const SessionModel model = SessionModel::Random(random_);
    Made(model, vault_->Create(model.key, model.State(options_.keep_turn_starts)));
  }
  void CreateFrom() {
    SessionModel model = SessionModel::Random(random_);
    model.ids = live_.model.ids;
    model.begin = live_.model.Place();
    model.begin.turns = 0;
    const JournalState before = model.State(options_.keep_turn_starts);
    TurnRecord rest = model.RandomTurnRecord(random_, 6);
    rest.ids.push_back(1);
    model.Add(rest, options_.keep_turn_starts);
    const int64_t seen = model.position();
    const auto journal =
        vault_->CreateFrom(model.key, before, rest, seen, model.DigestOf(seen), CacheOf(model.Ids(0, seen)));
    Made(model, journal);
  }
  void RestoreAll() {
    std::vector<std::byte> cache(kCacheBytes);
    const int64_t end = live_.model.position();
    const auto restored = live_.journal->Restore(end - 1, end, cache);
    if (restored.ok()) ExpectRight(live_.model, *restored, cache, end);
    const auto place = live_.journal->FindTurnStart(live_.model.Place(live_.model.turns.size() - 1).turns);
    EXPECT_TRUE(!place.ok() || *place == live_.model.Place(live_.model.turns.size() - 1));
  }
  void RemoveIt() {
    const bool removed = live_.journal->Remove().ok();
    Expected& expected = expected_[session_.key];
    expected.may_be_gone = true;
    if (removed) expected.states.clear();
  }
  void Recover() {
    live_.journal.reset();
    live_other_.journal.reset();
    vault_.reset();
    auto vault = Vault::Open(*faulty_, options_, source_);
    if (!vault.ok()) return;
    auto journal = (*vault)->Load(session_.key);
    if (journal.ok()) {
      EXPECT_EQ(Describe((*journal)->state()), Describe(live_.model.State(options_.keep_turn_starts)));
      (*journal)->Claim().IgnoreError();
    } else {
      EXPECT_FALSE(absl::IsNotFound(journal.status())) << journal.status();
    }
  }

  void ExpectRight(const SessionModel& model, const Journal::Restored& restored, const std::vector<std::byte>& cache,
                   int64_t end) {
    EXPECT_TRUE(std::ranges::equal(restored.ids, model.Ids(restored.tokens_seen, end)));
    EXPECT_TRUE(restored.tokens_seen == 0 || cache == CacheOf(model.Ids(0, restored.tokens_seen)));
  }
  // A new server, on a disk that is good again.
  void ExpectAllThere() {
    live_.journal.reset();
    live_other_.journal.reset();
    vault_.reset();
    EXPECT_EQ(faulty_->open_files(), 0);
    EXPECT_EQ(faulty_->held_locks(), 0);
    EXPECT_EQ(faulty_->uses_after_failure(), 0);
    auto vault = OpenVault();
    ASSERT_NE(vault, nullptr);
    EXPECT_THAT(Names(".tmp"), IsEmpty());
    EXPECT_THAT(Names(".removed"), IsEmpty());
    EXPECT_THAT(Names(".server"), ::testing::SizeIs(1));
    TestSession other{other_, nullptr};
    Load(*vault, other);
    Expect(other);
    for (const auto& [key, files] : ReadListing(Names()).sessions) {
      EXPECT_TRUE(key == other_.key || expected_.contains(key)) << "an unknown session";
    }
    for (const auto& [key, expected] : expected_) {
      auto journal = vault->Load(key);
      if (absl::IsNotFound(journal.status())) {
        EXPECT_TRUE(expected.may_be_gone);
        EXPECT_TRUE(FilesOf(key).segments.empty() && FilesOf(key).images.empty());
        continue;
      }
      ASSERT_TRUE(journal.ok()) << journal.status();
      const std::string state = Describe((*journal)->state());
      const auto found = std::ranges::find_if(expected.states, [&](const SessionModel& model) {
        return Describe(model.State(options_.keep_turn_starts)) == state;
      });
      ASSERT_NE(found, expected.states.end()) << state;
      TestSession session{*found, *std::move(journal)};
      ASSERT_TRUE(session.journal->Claim().ok());
      ExpectOnDisk(session, false);
      std::vector<std::byte> cache(kCacheBytes);
      for (int round = 0; round < 2; ++round) {
        const int64_t end = session.model.position();
        const auto restored = session.journal->Restore(end, end, cache);
        ASSERT_TRUE(restored.ok()) << restored.status();
        ExpectRight(session.model, *restored, cache, end);
        Run(session, 1, 6);
      }
      EXPECT_TRUE(session.journal->Remove().ok());
    }
    EXPECT_TRUE(other.journal->Remove().ok());
    EXPECT_THAT(Names(".journal"), IsEmpty());
    EXPECT_THAT(Names(".image"), IsEmpty());
  }

  std::unique_ptr<FaultyDirectory> faulty_;
  std::unique_ptr<Vault> vault_;
  SessionModel session_, other_;
  Folder folder_;
  TestSession live_, live_other_;
  std::map<SessionKey, Expected> expected_;
  bool from_then_on_ = false, once_failed_ = false;
};

}  // namespace cascade::test
