// Random histories of sessions that servers take over from one another, compared with plain lists. CASCADE_DAMAGE_CASES
// asks for that many operations each.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <tuple>

#include "tests/engine/session/vault_test_util.h"

namespace cascade {
namespace {

using test::CacheOf;
using test::Commit;
using test::ExpectRestores;
using test::SessionModel;

constexpr int kMinOperations = 600;
constexpr size_t kMaxSessions = 12;

int NumOperations() {
  const char* const cases = std::getenv("CASCADE_DAMAGE_CASES");
  return cases != nullptr ? std::atoi(cases) : kMinOperations;
}

class JournalHistoryTest : public test::VaultTest, public ::testing::WithParamInterface<std::tuple<int, bool, int>> {
 protected:
  JournalHistoryTest() {
    random_.seed(static_cast<uint64_t>(std::get<0>(GetParam())));
    options_.retain_all = std::get<1>(GetParam());
    options_.keep_turn_starts = static_cast<size_t>(std::get<2>(GetParam()));
    vault_ = OpenVault();
  }

  size_t keep() const { return options_.keep_turn_starts; }
  uint64_t Below(uint64_t limit) { return random_() % limit; }
  TestSession& Any() { return *std::next(sessions_.begin(), static_cast<ptrdiff_t>(Below(sessions_.size())))->second; }
  void Add(TestSession session) {
    const SessionKey key = session.model.key;
    sessions_[key] = std::make_unique<TestSession>(std::move(session));
  }

  // A cache as it is between turns, or as it can be when the last token was fed.
  void ImageBetweenTurns(TestSession& session) {
    const int64_t tokens_seen = session.model.position() - static_cast<int64_t>(Below(2));
    if (tokens_seen > 0) WriteImage(session, tokens_seen);
  }

  // Images while a turn runs, which then ends in one of three ways.
  void ImageWithinTurn(TestSession& session) {
    TurnRecord turn = session.model.RandomTurnRecord(random_);
    SessionModel ahead = session.model;
    ahead.Add(turn, keep());
    for (uint64_t count = 1 + Below(4), k = 0; k < count; ++k) {
      const auto seen = session.model.position() + static_cast<int64_t>(Below(turn.ids.size() + 1));
      if (seen == 0) continue;
      const absl::Status status = session.journal->WriteImage(seen, ahead.DigestOf(seen), CacheOf(ahead.Ids(0, seen)));
      ASSERT_TRUE(status.ok()) << status;
      session.model.AddImage(seen, keep());
    }
    const uint64_t ending = Below(3);
    if (ending == 0) {  // taken back
      EXPECT_TRUE(session.journal->RemoveImagesAfter(session.model.position()).ok());
      session.model.RemoveImagesAfter(session.model.position());
    } else if (ending == 1) {  // with the server
      TakeOver();
    } else {
      const absl::Status status = Commit(*session.journal, turn);
      ASSERT_TRUE(status.ok()) << status;
      session.model.Add(turn, keep());
    }
  }

  void TakeBackSome(TestSession& session) {
    const size_t turns = session.model.turns.size();
    if (turns == 0) return;
    const size_t left = Below(3) == 0 ? Below(turns) : turns - 1 - Below(std::min<size_t>(turns, 4));
    const JournalPlace place = session.model.Place(left);
    const absl::StatusOr<JournalPlace> found = session.journal->FindTurnStart(place.turns);
    const bool near = turns - left <= session.model.turn_starts;
    if (!found.ok()) {
      ++turns_not_found_;
      EXPECT_TRUE(absl::IsNotFound(found.status()) && !options_.retain_all && !near) << found.status();
      return;
    }
    EXPECT_EQ(*found, place);
    TakeBack(session, turns - left);
    // The engine's caches have not seen the last token.
    ExpectRestores(*session.journal, session.model, std::max<int64_t>(0, place.position - 1));
    ++rewinds_;
  }

  void Fork(TestSession& session) {
    TestSession fork{session.model.Fork(random_), nullptr};
    auto journal = session.journal->Fork(fork.model.key, fork.model.State(keep()));
    ASSERT_TRUE(journal.ok()) << journal.status();
    fork.journal = *std::move(journal);
    Add(std::move(fork));
    ++forks_;
  }

  // The server is gone, and the next one finds everything.
  void TakeOver() {
    for (auto& [key, session] : sessions_) session->journal.reset();
    vault_.reset();
    vault_ = OpenVault();
    ASSERT_NE(vault_, nullptr);
    EXPECT_EQ(vault_->leftovers(), 0);
    ASSERT_EQ(vault_->found().size(), sessions_.size());
    for (const FoundSession& found : vault_->found()) {
      TestSession& session = *sessions_.at(found.session);
      EXPECT_EQ(found.label, session.model.label);
      EXPECT_EQ(found.created_ms, session.model.created_ms);
      auto journal = vault_->Load(found);
      ASSERT_TRUE(journal.ok()) << journal.status();
      session.journal = *std::move(journal);
      ASSERT_TRUE(session.journal->Claim().ok());
      // Of turns that ended with the server.
      session.model.RemoveImagesAfter(session.model.position());
      Expect(session);
      ExpectOnDisk(session);
    }
    ++takeovers_;
  }

  std::unique_ptr<Vault> vault_;
  std::map<SessionKey, std::unique_ptr<TestSession>> sessions_;
  int rewinds_ = 0, forks_ = 0, takeovers_ = 0, turns_not_found_ = 0;
};

TEST_P(JournalHistoryTest, IsTheModels) {
  const int operations = NumOperations();
  for (int operation = 0; operation < operations && !HasFatalFailure(); ++operation) {
    SCOPED_TRACE(operation);
    if (sessions_.empty() || Below(60) == 0) {
      if (sessions_.size() < kMaxSessions) Add(Create(*vault_));
    }
    TestSession& session = Any();
    switch (Below(40)) {
      case 0:
        TakeOver();
        break;
      case 1:
      case 2:
        if (sessions_.size() < kMaxSessions) Fork(session);
        break;
      case 3:
        if (Below(3) == 0) {
          EXPECT_TRUE(session.journal->Remove().ok());
          sessions_.erase(SessionKey(session.model.key));
        }
        break;
      case 4:
      case 5:
      case 6:
        TakeBackSome(session);
        break;
      case 7:
      case 8:
      case 9:
      case 10:
        ImageBetweenTurns(session);
        break;
      case 11:
      case 12:
        ImageWithinTurn(session);
        break;
      case 13:
        session.journal->CloseFile();
        break;
      case 14:
      case 15:
        Expect(session);
        ExpectOnDisk(session);
        for (const JournalPlace& start : session.journal->state().turn_starts) {
          ExpectRestores(*session.journal, session.model, std::max<int64_t>(0, start.position - 1));
        }
        break;
      default:
        Run(session, 1);
    }
  }
  TakeOver();
  std::printf("%d operations: %d rewinds, %d forks, %d servers, %d turns that are too old\n", operations, rewinds_,
              forks_, takeovers_, turns_not_found_);
  EXPECT_GE(operations, kMinOperations);
  EXPECT_GE(rewinds_, operations / 40);
  EXPECT_GE(forks_, 10);
  EXPECT_GE(takeovers_, operations / 80);
  EXPECT_EQ(turns_not_found_ > 0, !options_.retain_all);
  for (auto& [key, session] : sessions_) EXPECT_TRUE(session->journal->Remove().ok());
  EXPECT_THAT(Names(".journal"), test::IsEmpty());
  EXPECT_THAT(Names(".image"), test::IsEmpty());
  EXPECT_THAT(Names(".removed"), test::IsEmpty());
  EXPECT_THAT(Names(".tmp"), test::IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Seeds, JournalHistoryTest,
                         ::testing::Combine(::testing::Values(1, 2), ::testing::Bool(), ::testing::Values(0, 4)));

}  // namespace
}  // namespace cascade
