// --journal-retain images: what no image needs goes, and all else stays.
#include <atomic>
#include <cstdio>
#include <thread>

#include "tests/engine/session/vault_test_util.h"

namespace cascade {
namespace {

using test::CacheOf;
using test::ExpectRestores;
using test::kCacheBytes;
using test::SessionModel;

class JournalRetentionTest : public test::VaultTest {
 protected:
  JournalRetentionTest() {
    options_.retain_all = false;
    vault_ = OpenVault();
    session_ = Create(*vault_);
  }

  // The last turns can be taken back, at the cost of what follows the image before them.
  void ExpectTurnStarts() {
    const JournalState& state = session_.journal->state();
    EXPECT_EQ(state.turn_starts.size(), session_.model.turn_starts);
    for (const JournalPlace& start : state.turn_starts) {
      ExpectRestores(*session_.journal, session_.model, std::max<int64_t>(0, start.position - 1));
    }
  }
  void Restart() {
    session_.journal.reset();
    vault_.reset();
    vault_ = OpenVault();
    Load(*vault_, session_);
  }

  std::unique_ptr<Vault> vault_;
  TestSession session_;
};

TEST_F(JournalRetentionTest, StaysSmallOverTenThousandTurns) {
  int64_t most = 0;
  for (int turn = 1; turn <= 10'000; ++turn) {
    Run(session_, 1, 5);
    if (turn % 5 == 0) WriteImage(session_, session_.model.position() - 1);
    if (turn % 50 == 0) most = std::max(most, BytesOnDisk());
    if (turn % 1000 == 0) {
      Expect(session_);
      ExpectTurnStarts();
      ExpectOnDisk(session_);
      Restart();
      Expect(session_);
      ExpectTurnStarts();
    }
  }
  const SessionFiles files = session_.journal->files();
  std::printf("at most %lld bytes, at the end %zu segments and %zu images\n", static_cast<long long>(most),
              files.segments.size(), files.images.size());
  EXPECT_LE(most, 80'000);
  EXPECT_LE(files.segments.size(), 5u);
  EXPECT_LE(files.images.size(), 4u);
  EXPECT_GT(*files.segments.begin(), 1000u);
}

// Of the last turns none begins behind the first image.
TEST_F(JournalRetentionTest, KeepsAllBeforeTheFirstImage) {
  Run(session_, 3);
  Restart();
  Run(session_, 3);
  WriteImage(session_, session_.model.position() - 1);
  EXPECT_EQ(session_.journal->files().segments.size(), 2u);
  ExpectTurnStarts();
  Expect(session_);
}

// An image of a turn that runs is nothing to rely on: the turn may never end.
TEST_F(JournalRetentionTest, KeepsWhatATurnThatRunsMayNeed) {
  Run(session_, 3);
  Restart();
  Run(session_, 3);
  SessionModel ahead = session_.model;
  TurnRecord turn = ahead.RandomTurnRecord(random_);
  turn.ids.resize(10, 1);
  turn.prompt_tokens = 10;
  ahead.Add(turn, options_.keep_turn_starts);
  const int64_t seen = ahead.position() - 1;
  ASSERT_TRUE(session_.journal->WriteImage(seen, ahead.DigestOf(seen), CacheOf(ahead.Ids(0, seen))).ok());
  Restart();
  ASSERT_TRUE(session_.journal->Claim().ok());
  Expect(session_);
  ExpectTurnStarts();
}

// The segment that is the oldest one left may hold a record that takes back turns of those that are gone.
TEST_F(JournalRetentionTest, GoesOnAfterTakingBackMoreThanIsLeft) {
  options_.keep_turn_starts = 2;
  Restart();
  for (int round = 0; round < 40; ++round) {
    SCOPED_TRACE(round);
    Run(session_, 2, 20);
    WriteImage(session_, std::max<int64_t>(1, session_.model.position() - 1));
    Run(session_, 1, 20);
    TakeBack(session_, round % 3);
    Run(session_, 2, 20);
    if (round % 4 == 3) Restart();
    Expect(session_);
    ExpectTurnStarts();
  }
  EXPECT_GT(*session_.journal->files().segments.begin(), 10u);
}

TEST_F(JournalRetentionTest, ReadsAgainWhenASegmentHasGone) {
  options_.keep_turn_starts = 1;
  Restart();
  Run(session_, 3);
  WriteImage(session_, session_.model.position() - 1);
  Run(session_, 3);
  EXPECT_EQ(session_.journal->files().segments.size(), 3u);
  directory_->before_open = [&](const std::string& name) {
    directory_->before_open = nullptr;
    WriteImage(session_, session_.model.position() - 2);
    WriteImage(session_, session_.model.position() - 1);
    EXPECT_FALSE(std::filesystem::exists(path_ / name));
    return absl::OkStatus();
  };
  Expect(session_);
  EXPECT_EQ(session_.journal->files().segments.size(), 2u);
}

// Segments may go while somebody reads them.
TEST_F(JournalRetentionTest, ReadsBesideImagesThatAreWritten) {
  Run(session_, 50, 5);
  const SessionModel& model = session_.model;
  std::atomic<int64_t> position = model.position();
  std::vector<int32_t> ids = model.ids;
  std::atomic<bool> stop = false;
  std::atomic<int> images = 0;
  std::thread writer([&] {
    for (; !stop; ++images) {
      const int64_t seen = position - 1 - images % 3;
      const auto tokens = std::span<const int32_t>(ids).first(static_cast<size_t>(seen));
      EXPECT_TRUE(session_.journal->WriteImage(seen, model.DigestOf(seen), CacheOf(tokens)).ok());
    }
  });
  std::vector<std::byte> cache(kCacheBytes);
  for (int i = 0; i < 300 || images < 10; ++i) {
    const int64_t fed = position - 1;
    const auto restored = session_.journal->Restore(fed, fed, cache);
    EXPECT_TRUE(restored.ok()) << restored.status();
    if (restored.ok() && restored->tokens_seen > 0) {
      EXPECT_TRUE(cache == CacheOf(std::span<const int32_t>(ids).first(static_cast<size_t>(restored->tokens_seen))));
    }
  }
  stop = true;
  writer.join();
}

}  // namespace
}  // namespace cascade
