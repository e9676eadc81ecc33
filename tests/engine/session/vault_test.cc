// A data folder: what is found in it, and what a crash left of files that are of no use.
#include <fstream>

#include "tests/engine/session/vault_test_util.h"

namespace cascade {
namespace {

using test::CacheOf;
using test::Commit;
using test::QuickDirectory;
using test::SessionModel;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr char kKeyName[] = "seal.key";

class VaultTest : public test::VaultTest {
 protected:
  void WriteText(const std::string& name) { WriteBytes(name, std::vector<uint8_t>{1, 2, 3}); }
  std::string OwnName(const Vault& vault) { return OwnerFileName(vault.context().owner); }
};

TEST_F(VaultTest, MakesItsKeyOnce) {
  auto vault = OpenVault();
  EXPECT_THAT(Names(), UnorderedElementsAre(kKeyName, OwnName(*vault)));
  const test::Bytes key = ReadBytes(kKeyName);
  EXPECT_THAT(key, SizeIs(32));
  vault.reset();
  EXPECT_THAT(Names(), ElementsAre(kKeyName));
  vault = OpenVault();
  EXPECT_EQ(ReadBytes(kKeyName), key);
  EXPECT_EQ(vault->leftovers(), 0);
  for (const size_t size : {0, 31, 33}) {
    WriteBytes(kKeyName, test::Bytes(size));
    const absl::Status status = Vault::Open(*directory_, options_, source_).status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(kKeyName));
  }
}

TEST_F(VaultTest, AnotherKeyReadsNothing) {
  auto vault = OpenVault();
  TestSession session = Create(*vault);
  session.journal.reset();
  vault.reset();
  std::filesystem::remove(path_ / kKeyName);
  vault = OpenVault();
  EXPECT_THAT(vault->found(), SizeIs(1));
  EXPECT_TRUE(absl::IsDataLoss(vault->Load(session.model.key).status()));
}

TEST_F(VaultTest, FindsSessionsOldestFirst) {
  auto vault = OpenVault();
  std::vector<TestSession> sessions;
  for (int i = 0; i < 20; ++i) {
    sessions.push_back(Create(*vault));
    Run(sessions.back(), i % 3);
  }
  TestSession damaged = Create(*vault);
  for (TestSession& session : sessions) session.journal.reset();
  damaged.journal.reset();
  vault.reset();
  test::Bytes bytes = ReadBytes(SegmentName(damaged.model.key, 0));
  bytes[100] ^= 1;
  WriteBytes(SegmentName(damaged.model.key, 0), bytes);
  vault = OpenVault();
  std::ranges::sort(sessions, {}, [](const TestSession& session) { return session.model.created_ms; });
  ASSERT_THAT(vault->found(), SizeIs(21));
  EXPECT_EQ(vault->found()[0].session, damaged.model.key);
  EXPECT_TRUE(absl::IsDataLoss(vault->Load(vault->found()[0]).status()));
  for (size_t i = 0; i < sessions.size(); ++i) {
    const FoundSession& found = vault->found()[i + 1];
    EXPECT_EQ(found.session, sessions[i].model.key);
    EXPECT_EQ(found.label, sessions[i].model.label);
    EXPECT_EQ(found.created_ms, sessions[i].model.created_ms);
    auto journal = vault->Load(found);
    ASSERT_TRUE(journal.ok()) << journal.status();
    sessions[i].journal = *std::move(journal);
    Expect(sessions[i]);
  }
  EXPECT_TRUE(vault->Remove(damaged.model.key).ok());
  EXPECT_TRUE(absl::IsNotFound(vault->Load(damaged.model.key).status()));
}

TEST_F(VaultTest, PutsInOrderWhatDeadServersLeft) {
  auto vault = OpenVault();
  TestSession session = Create(*vault);
  Run(session, 3);
  WriteImage(session, session.model.position());
  const OwnerId dead = SessionModel::Random(random_).key;
  WriteText(OwnerFileName(dead));
  WriteText(TemporaryFileName(dead, 7));
  WriteText(TemporaryFileName(SessionModel::Random(random_).key, ~uint64_t{0}));
  WriteText(TemporaryFileName(vault->context().owner, 1000));  // of one that lives
  WriteText(ImageName(SessionModel::Random(random_).key, 5));  // no journal beside it
  // Forks without a segment of their own.
  const SessionKey fork = SessionModel::Random(random_).key, living_fork = SessionModel::Random(random_).key;
  std::filesystem::create_hard_link(path_ / SegmentName(session.model.key, 0), path_ / SegmentName(living_fork, 0));
  const std::vector<std::string> not_ours = {
      "notes.txt", "x.journal", "0123.0.images", "SEAL.KEY", ToHex(fork) + ".0.journal", ToHex(fork) + ".txt"};
  for (const std::string& name : not_ours) WriteText(name);

  // Beside a living server: what may be its own stays.
  auto second = OpenVault();
  EXPECT_EQ(second->leftovers(), 2);
  EXPECT_THAT(second->found(), IsEmpty());
  EXPECT_THAT(Names(".tmp"), ElementsAre(TemporaryFileName(vault->context().owner, 1000)));
  EXPECT_THAT(Names(".server"), UnorderedElementsAre(OwnName(*vault), OwnName(*second)));
  EXPECT_THAT(Names(".image"), SizeIs(2));
  EXPECT_TRUE(std::filesystem::exists(path_ / SegmentName(living_fork, 0)));
  Expect(session);
  EXPECT_TRUE(absl::IsNotFound(vault->Load(living_fork).status()));

  second.reset();
  session.journal.reset();
  vault.reset();
  std::filesystem::create_hard_link(path_ / SegmentName(session.model.key, 0), path_ / SegmentName(fork, 0));
  std::filesystem::create_hard_link(path_ / ImageName(session.model.key, *session.model.images.begin()),
                                    path_ / ImageName(fork, *session.model.images.begin()));
  vault = OpenVault();
  EXPECT_EQ(vault->leftovers(), 4);  // a temporary, an image, two forks
  EXPECT_THAT(vault->found(), SizeIs(1));
  EXPECT_THAT(Names(".tmp"), IsEmpty());
  EXPECT_THAT(Names(".server"), ElementsAre(OwnName(*vault)));
  EXPECT_THAT(Names(".image"), SizeIs(1));
  EXPECT_TRUE(FilesOf(fork).segments.empty() && FilesOf(living_fork).segments.empty());
  for (const std::string& name : not_ours) EXPECT_TRUE(std::filesystem::exists(path_ / name)) << name;
  Load(*vault, session);
  Expect(session);
  vault.reset();
  EXPECT_EQ(OpenVault()->leftovers(), 0);
}

// Servers that put the folder in order meet at its beginning: one looks into another one's new file for a moment.
TEST_F(VaultTest, OpensBesideOthersThatOpen) {
  directory_->refused_locks = 3;
  EXPECT_NE(OpenVault(), nullptr);
  directory_->refused_locks = 1'000'000;
  EXPECT_TRUE(absl::IsUnavailable(Vault::Open(*directory_, options_, source_).status()));
}

// A listing is no snapshot: it may have a new server's later files without the first one.
TEST_F(VaultTest, LooksTwiceForLivingServers) {
  auto first = OpenVault();
  const std::string temporary = TemporaryFileName(first->context().owner, 1000);
  WriteText(temporary);
  QuickDirectory directory(path_);
  int listings = 0;
  directory.after_list = [&](std::vector<std::string>& names) {
    if (++listings == 1) std::erase(names, OwnName(*first));
  };
  auto second = OpenVault(directory);
  EXPECT_EQ(second->leftovers(), 0);
  EXPECT_THAT(Names(".tmp"), ElementsAre(temporary));
}

// A crash at every place within a removal: what has begun is completed, of that session alone.
TEST_F(VaultTest, CompletesARemoval) {
  auto vault = OpenVault();
  TestSession origin = Create(*vault);
  for (int segment = 0; segment < 3; ++segment) {
    Run(origin, 3);
    WriteImage(origin, origin.model.position() - 1);
    Load(*vault, origin);
    ASSERT_TRUE(origin.journal->Claim().ok());
  }
  TestSession fork{origin.model.Fork(random_), nullptr};
  auto forked = origin.journal->Fork(fork.model.key, fork.model.State(options_.keep_turn_starts));
  ASSERT_TRUE(forked.ok()) << forked.status();
  fork.journal = *std::move(forked);
  Expect(fork);
  const SessionKey key = origin.model.key;
  const SessionFiles files = origin.journal->files();
  ASSERT_GE(files.segments.size(), 3u);
  ASSERT_GE(files.images.size(), 2u);
  origin.journal.reset();
  fork.journal.reset();
  vault.reset();
  const Folder folder = Save();
  std::vector<std::string> left;
  for (const uint64_t segment : files.segments) left.push_back(SegmentName(key, segment));
  for (const int64_t image : files.images) left.push_back(ImageName(key, image));
  for (size_t removed = 0; removed <= left.size(); ++removed) {
    SCOPED_TRACE(removed);
    GoBackTo(folder);
    if (removed > 0) std::filesystem::rename(path_ / left[0], path_ / RemovalName(key));
    for (size_t i = 1; i < removed; ++i) std::filesystem::remove(path_ / left[i]);
    vault = OpenVault();
    EXPECT_EQ(vault->leftovers(), removed > 0 ? 1 : 0);
    EXPECT_EQ(vault->Load(key).status().code(), removed > 0 ? absl::StatusCode::kNotFound : absl::StatusCode::kOk);
    EXPECT_TRUE(vault->Remove(key).ok());
    for (const std::string& name : Names()) EXPECT_FALSE(name.starts_with(ToHex(key))) << name;
    Load(*vault, fork);
    Expect(fork);
    fork.journal.reset();
    vault.reset();
  }
}

TEST_F(VaultTest, RemovesOnAFullDisk) {
  auto vault = OpenVault();
  TestSession session = Create(*vault), other = Create(*vault);
  Run(session, 3);
  Run(other, 3);
  WriteImage(session, session.model.position());
  const size_t names = Names().size();
  directory_->full = true;
  // Nothing else goes, and nothing stays half.
  const SessionModel fresh = SessionModel::Random(random_);
  EXPECT_TRUE(absl::IsResourceExhausted(vault->Create(fresh.key, fresh.State(4)).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(
      vault->CreateFrom(fresh.key, fresh.State(4), session.model.turns[0], 1, 0, CacheOf({})).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(session.journal->Fork(fresh.key, fresh.State(4)).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(Commit(*session.journal, session.model.RandomTurnRecord(random_))));
  EXPECT_TRUE(absl::IsResourceExhausted(Commit(*session.journal, session.model.RandomTurnRecord(random_))));
  EXPECT_TRUE(absl::IsResourceExhausted(session.journal->WriteImage(1, session.model.DigestOf(1), CacheOf({}))));
  EXPECT_THAT(Names(), SizeIs(names));
  Expect(session);
  EXPECT_TRUE(session.journal->Remove().ok());
  EXPECT_TRUE(vault->Remove(other.model.key).ok());
  EXPECT_THAT(Names(), UnorderedElementsAre(kKeyName, OwnName(*vault)));
  directory_->full = false;
  TestSession next = Create(*vault);
  Run(next, 3);
  Expect(next);
}

TEST_F(VaultTest, GoesOnWhenThereIsRoomAgain) {
  auto vault = OpenVault();
  TestSession session = Create(*vault);
  for (int round = 0; round < 5; ++round) {
    Run(session, 2);
    directory_->full = true;
    EXPECT_TRUE(absl::IsResourceExhausted(Commit(*session.journal, session.model.RandomTurnRecord(random_))));
    directory_->full = false;
  }
  Run(session, 1);
  Expect(session);
  ExpectOnDisk(session);
  Load(*vault, session);
  Expect(session);
}

TEST_F(VaultTest, DoesNotFindWhatIsNotThere) {
  auto vault = OpenVault();
  const SessionKey key = SessionModel::Random(random_).key;
  EXPECT_TRUE(absl::IsNotFound(vault->Load(key).status()));
  EXPECT_TRUE(vault->Remove(key).ok());
  EXPECT_TRUE(absl::IsNotFound(vault->Load(FoundSession{.session = key, .files = {}, .label = {}}).status()));
  TestSession session = Create(*vault);
  Run(session, 1);
  Load(*vault, session);
  ASSERT_TRUE(session.journal->Claim().ok());
  const SessionFiles files = session.journal->files();
  // While it is being removed, what is left of it is no session.
  std::filesystem::rename(path_ / SegmentName(session.model.key, 0), path_ / RemovalName(session.model.key));
  EXPECT_TRUE(absl::IsNotFound(vault->Load(session.model.key).status()));
  EXPECT_TRUE(session.journal->Remove().ok());
  EXPECT_TRUE(session.journal->Remove().ok());
  EXPECT_TRUE(
      absl::IsNotFound(vault->Load(FoundSession{.session = session.model.key, .files = files, .label = {}}).status()));
}

}  // namespace
}  // namespace cascade
