// What the tests of journals and vaults share.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "engine/session/vault.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/session/journal_test_util.h"
#include "tests/engine/session/quick_directory.h"
#include "tests/engine/session/session_model.h"
#include "tests/support/fake_random.h"

namespace cascade::test {

using ::testing::IsEmpty;

template <class Record>
absl::Status Commit(Journal& journal, const Record& record) {
  absl::Status status = journal.Append(record);
  return status.ok() ? journal.Sync() : status;
}

// What is left of `end` tokens once the newest image among the model's is used.
inline void ExpectRestores(Journal& journal, const SessionModel& model, int64_t end) {
  std::vector<std::byte> cache(kCacheBytes);
  const absl::StatusOr<Journal::Restored> restored = journal.Restore(end, end, cache);
  ASSERT_TRUE(restored.ok()) << restored.status();
  const auto after = model.images.upper_bound(end);
  const int64_t image = after == model.images.begin() ? 0 : *std::prev(after);
  EXPECT_EQ(restored->tokens_seen, image);
  EXPECT_EQ(restored->digest, model.DigestOf(image));
  EXPECT_TRUE(std::ranges::equal(restored->ids, model.Ids(image, end)));
  EXPECT_TRUE(image == 0 || cache == CacheOf(model.Ids(0, image)));
  EXPECT_EQ(restored->damage, "");
}

class VaultTest : public ::testing::Test {
 protected:
  VaultTest() {
    std::string pattern = ::testing::TempDir() + "/vault_XXXXXX";
    path_ = mkdtemp(pattern.data());
    directory_ = std::make_unique<QuickDirectory>(path_);
    FillRandom(random_, options_.model);
    FillRandom(random_, options_.geometry);
    options_.cache_bytes = kCacheBytes;
  }
  ~VaultTest() override { std::filesystem::remove_all(path_); }

  struct TestSession {
    SessionModel model;
    std::unique_ptr<Journal> journal;
  };

  std::unique_ptr<Vault> OpenVault(Directory& directory) {
    absl::StatusOr<std::unique_ptr<Vault>> vault = Vault::Open(directory, options_, source_);
    EXPECT_TRUE(vault.ok()) << vault.status();
    return vault.ok() ? *std::move(vault) : nullptr;
  }
  std::unique_ptr<Vault> OpenVault() { return OpenVault(*directory_); }

  TestSession Create(Vault& vault) {
    TestSession session{SessionModel::Random(random_), nullptr};
    auto journal = vault.Create(session.model.key, session.model.State(options_.keep_turn_starts));
    EXPECT_TRUE(journal.ok()) << journal.status();
    if (journal.ok()) session.journal = *std::move(journal);
    return session;
  }
  // Turns that are committed.
  void Run(TestSession& session, int turns, size_t max_ids = 50) {
    for (; turns > 0; --turns) {
      const TurnRecord turn = session.model.RandomTurnRecord(random_, max_ids);
      const absl::Status status = Commit(*session.journal, turn);
      ASSERT_TRUE(status.ok()) << status;
      session.model.Add(turn, options_.keep_turn_starts);
    }
  }
  void TakeBack(TestSession& session, size_t turns) {
    const size_t left = session.model.turns.size() - turns;
    const RewindRecord rewind = RewindTo(session.model.Place(left), session.model.last_used_ms + 1);
    const absl::Status status = Commit(*session.journal, rewind);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_TRUE(session.journal->RemoveImagesAfter(rewind.position).ok());
    session.model.TakeBack(left, rewind.ended_ms);
  }
  void WriteImage(TestSession& session, int64_t tokens_seen) {
    const absl::Status status = session.journal->WriteImage(tokens_seen, session.model.DigestOf(tokens_seen),
                                                            CacheOf(session.model.Ids(0, tokens_seen)));
    ASSERT_TRUE(status.ok()) << status;
    session.model.AddImage(tokens_seen, options_.keep_turn_starts);
  }
  // The session's state, its tokens and its images.
  void Expect(TestSession& session) {
    EXPECT_EQ(session.journal->session(), session.model.key);
    EXPECT_EQ(Describe(session.journal->state()), Describe(session.model.State(options_.keep_turn_starts)));
    EXPECT_EQ(session.journal->files().images, session.model.images);
    ExpectRestores(*session.journal, session.model, session.model.position());
  }
  void Load(Vault& vault, TestSession& session) {
    auto journal = vault.Load(session.model.key);
    ASSERT_TRUE(journal.ok()) << journal.status();
    session.journal = *std::move(journal);
  }

  std::vector<std::string> Names(const std::string& ending = "") {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      const std::string name = entry.path().filename();
      if (name.ends_with(ending)) names.push_back(name);
    }
    return names;
  }
  SessionFiles FilesOf(const SessionKey& key) { return ReadListing(Names()).sessions[key]; }
  void ExpectOnDisk(TestSession& session, bool bytes_too = true) {
    const SessionFiles files = FilesOf(session.model.key);
    EXPECT_EQ(files.segments, session.journal->files().segments);
    EXPECT_EQ(files.images, session.journal->files().images);
    EXPECT_FALSE(files.removed);
    int64_t bytes = 0;
    for (const uint64_t segment : files.segments) {
      bytes += static_cast<int64_t>(std::filesystem::file_size(path_ / SegmentName(session.model.key, segment)));
    }
    // What a fork shares may have grown.
    if (bytes_too && !session.model.forked) {
      EXPECT_EQ(session.journal->journal_bytes(), bytes);
    }
  }
  int64_t BytesOnDisk() {
    int64_t bytes = 0;
    for (const std::string& name : Names()) bytes += static_cast<int64_t>(std::filesystem::file_size(path_ / name));
    return bytes;
  }
  Bytes ReadBytes(const std::string& name) {
    std::ifstream file(path_ / name, std::ios::binary);
    return Bytes(std::istreambuf_iterator<char>(file), {});
  }
  void WriteBytes(const std::string& name, std::span<const uint8_t> bytes) {
    std::ofstream file(path_ / name, std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }

  // All files as they are now, and back to that.
  using Folder = std::map<std::string, Bytes>;
  Folder Save() {
    Folder folder;
    for (const std::string& name : Names()) folder[name] = ReadBytes(name);
    return folder;
  }
  void GoBackTo(const Folder& folder) {
    for (const std::string& name : Names()) std::filesystem::remove(path_ / name);
    for (const auto& [name, bytes] : folder) WriteBytes(name, bytes);
  }

  std::filesystem::path path_;
  std::unique_ptr<QuickDirectory> directory_;
  VaultOptions options_;
  FakeRandom source_;
  std::mt19937_64 random_{1};
};

// With a server in the folder.
class OneVaultTest : public VaultTest {
 protected:
  OneVaultTest() : vault_(OpenVault()) {}

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

}  // namespace cascade::test
