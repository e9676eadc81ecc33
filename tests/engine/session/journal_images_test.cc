// Images of caches: which are used, which are kept, and which go.
#include <chrono>
#include <thread>

#include "engine/base/token_digest.h"
#include "tests/engine/session/vault_test_util.h"

namespace cascade {
namespace {

using test::CacheOf;
using test::Commit;
using test::SessionModel;
using ::testing::IsEmpty;

using JournalImageTest = test::OneVaultTest;

TEST_F(JournalImageTest, ATurnThatRunsKeepsFewImages) {
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

TEST_F(JournalImageTest, PassesOverImagesThatDoNotFit) {
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

TEST_F(JournalImageTest, PassesOverDamagedImages) {
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

// That no descriptor is left says nothing of the files.
TEST_F(JournalImageTest, AsksToTryAgainWhenNothingIsWrong) {
  TestSession session = Create(*vault_);
  Run(session, 3);
  WriteImage(session, session.model.position());
  directory_->before_open = [](const std::string& name) {
    return name.ends_with(".image") ? absl::ResourceExhaustedError("no descriptor is left") : absl::OkStatus();
  };
  const int64_t end = session.model.position();
  EXPECT_TRUE(absl::IsResourceExhausted(session.journal->Restore(end, end, cache_).status()));
  directory_->before_open = nullptr;
  Expect(session);
}

TEST_F(JournalImageTest, TellsOtherModelsFromOtherCaches) {
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
TEST_F(JournalImageTest, GivesUpAnImageThatNothingFitsAnyMore) {
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

TEST_F(JournalImageTest, LeavesNothingThoughAnImageIsBeingWritten) {
  TestSession session = Create(*vault_);
  Run(session, 3);
  std::thread removal;
  directory_->in_file_sync = [&] {
    directory_->in_file_sync = nullptr;
    removal = std::thread([&] { EXPECT_TRUE(session.journal->Remove().ok()); });
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  };
  WriteImage(session, session.model.position());
  removal.join();
  const std::vector<std::byte> cache = CacheOf(session.model.ids);
  EXPECT_TRUE(absl::IsAborted(session.journal->WriteImage(session.model.position(), 0, cache)));
  EXPECT_THAT(Names(), ::testing::SizeIs(2));  // the key and the server
}

}  // namespace
}  // namespace cascade
