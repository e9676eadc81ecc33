// What a crash in the middle of a write leaves, and what damage on the disk does: a session is what it was at the end
// of some turn, or cannot be loaded.
#include <cstdio>
#include <functional>
#include <map>

#include "tests/engine/session/vault_test_util.h"

namespace cascade {
namespace {

using test::Bytes;
using test::CacheOf;
using test::Commit;
using test::Describe;
using test::kCacheBytes;
using test::SessionModel;

int NumRandomCases() {
  const char* const cases = std::getenv("CASCADE_DAMAGE_CASES");
  return cases != nullptr ? std::atoi(cases) : 200;
}

class JournalTailTest : public test::VaultTest {
 protected:
  JournalTailTest() : vault_(OpenVault()) {}

  // Ends the server; the next one is another owner.
  void StopServer(TestSession& session) {
    session.journal.reset();
    vault_.reset();
  }

  std::unique_ptr<Vault> vault_;
};

TEST_F(JournalTailTest, LeavesATornRecordBehind) {
  int lengths = 0;
  for (const bool rewind : {false, true}) {
    TestSession session = Create(*vault_);
    Run(session, 3, 20);
    const std::string name = SegmentName(session.model.key, 0);
    const SessionModel before = session.model;
    const size_t end_before = ReadBytes(name).size();
    if (rewind) {
      TakeBack(session, 2);
    } else {
      Run(session, 1, 20);
    }
    const Bytes whole = ReadBytes(name);
    StopServer(session);
    const Folder folder = Save();
    for (size_t length = end_before; length <= whole.size(); ++length) {
      // Cut; or never written behind that place, in a file that had grown already.
      for (const size_t size : {length, whole.size()}) {
        if (size != length && length != end_before) continue;
        SCOPED_TRACE(length);
        GoBackTo(folder);
        Bytes bytes(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(length));
        bytes.resize(size);
        WriteBytes(name, bytes);
        TestSession torn{length == whole.size() ? session.model : before, nullptr};
        vault_ = OpenVault();
        Load(*vault_, torn);
        Expect(torn);
        Run(torn, 1);
        EXPECT_EQ(FilesOf(torn.model.key).segments, (std::set<uint64_t>{0, 1}));
        EXPECT_EQ(ReadBytes(name), bytes);
        ExpectOnDisk(torn);
        StopServer(torn);
        vault_ = OpenVault();
        Load(*vault_, torn);
        Expect(torn);
        ++lengths;
      }
    }
    GoBackTo({});
    vault_ = OpenVault();
  }
  std::printf("%d torn tails\n", lengths);
  EXPECT_GE(lengths, 180);
}

class JournalChainDamageTest : public JournalTailTest {
 protected:
  // Three segments, two of them with a record behind their end; two images; and another session beside it.
  JournalChainDamageTest() {
    session_ = Create(*vault_);
    other_ = Create(*vault_);
    Remember();
    for (int segment = 0; segment < 3; ++segment) {
      for (int turn = 0; turn < 2; ++turn) RunBoth();
      WriteImage(session_, session_.model.position() - 1);
      if (segment == 2) break;
      Run(session_, 1, 0);  // a turn without tokens
      Remember();
      directory_->lost_sync = true;
      const TurnRecord lost = session_.model.RandomTurnRecord(random_, 5);
      EXPECT_TRUE(absl::IsInternal(Commit(*session_.journal, lost)));
      // Without the later files nobody can know that the client was told of a failure.
      const SessionModel before = session_.model;
      session_.model.Add(lost, options_.keep_turn_starts);
      Remember();
      session_.model = before;
    }
    TakeBack(session_, 1);
    Remember();
    RunBoth();
    WriteImage(other_, other_.model.position());
    files_ = session_.journal->files();
    EXPECT_EQ(files_.segments.size(), 3u);
    EXPECT_EQ(files_.images.size(), 2u);
    other_.journal.reset();
    StopServer(session_);
    folder_ = Save();
    vault_ = OpenVault();
  }

  void RunBoth() {
    Run(session_, 1, 5);
    Remember();
    Run(other_, 1, 5);
  }
  void Remember() {
    states_.insert_or_assign(Describe(session_.model.State(options_.keep_turn_starts)), session_.model);
  }
  std::vector<std::string> FileNames() const {
    std::vector<std::string> names;
    for (const uint64_t segment : files_.segments) names.push_back(SegmentName(session_.model.key, segment));
    for (const int64_t image : files_.images) names.push_back(ImageName(session_.model.key, image));
    return names;
  }

  // Whether it is refused, or what it was at the end of some turn.
  void ExpectRefusedOrTrue() {
    ++cases_;
    const auto refused = [](const absl::Status& status) {
      return absl::IsDataLoss(status) || absl::IsFailedPrecondition(status);
    };
    const auto journal = vault_->Load(session_.model.key);
    if (!journal.ok()) {
      EXPECT_TRUE(refused(journal.status())) << journal.status();
      ++refused_;
      return;
    }
    const auto state = states_.find(Describe((*journal)->state()));
    ASSERT_NE(state, states_.end()) << Describe((*journal)->state());
    const SessionModel& model = state->second;
    ++(model.turns == session_.model.turns ? whole_ : earlier_);
    const auto restored = (*journal)->Restore(model.position(), model.position(), cache_);
    ASSERT_TRUE(restored.ok()) << restored.status();  // its tokens are all there
    EXPECT_TRUE(std::ranges::equal(restored->ids, model.Ids(restored->tokens_seen, model.position())));
    EXPECT_TRUE(restored->tokens_seen == 0 || cache_ == CacheOf(model.Ids(0, restored->tokens_seen)));
    EXPECT_EQ(restored->digest, model.DigestOf(restored->tokens_seen));
    if (restored->damage != "") ++images_passed_over_;
  }
  void ExpectOtherIsWhole() {
    Load(*vault_, other_);
    Expect(other_);
  }

  TestSession session_, other_;
  SessionFiles files_;
  std::map<std::string, SessionModel> states_;
  Folder folder_;
  std::vector<std::byte> cache_ = std::vector<std::byte>(kCacheBytes);
  int cases_ = 0, refused_ = 0, whole_ = 0, earlier_ = 0, images_passed_over_ = 0;
};

TEST_F(JournalChainDamageTest, EachByteOfEachFile) {
  for (const std::string& name : FileNames()) {
    const Bytes good = ReadBytes(name);
    std::fstream file(path_ / name, std::ios::binary | std::ios::in | std::ios::out);
    const auto put = [&](size_t place, uint8_t byte) {
      file.seekp(static_cast<std::streamoff>(place));
      file.put(static_cast<char>(byte)).flush();
      ASSERT_TRUE(file.good());
    };
    for (size_t place = 0; place < good.size(); ++place) {
      SCOPED_TRACE(place);
      // Of an image's cache and padding, every 8th.
      if (name.ends_with(".image") && place > 512 && place % 8 != 0) continue;
      put(place, good[place] ^ static_cast<uint8_t>(1 << random_() % 8));
      ExpectRefusedOrTrue();
      if (place % 512 == 0) ExpectOtherIsWhole();
      put(place, good[place]);
      if (HasFatalFailure()) return;
    }
  }
  ExpectOtherIsWhole();
  ExpectRefusedOrTrue();
  std::printf("%d damages: %d refused, %d times whole, %d times as it was before; %d images passed over\n", cases_,
              refused_, whole_, earlier_, images_passed_over_);
  EXPECT_EQ(earlier_, 0);
  EXPECT_GE(cases_, 7500);
  EXPECT_GE(refused_, 1500);
  EXPECT_GE(images_passed_over_, 1500);
}

TEST_F(JournalChainDamageTest, WholeFiles) {
  const std::vector<std::string> names = FileNames();
  std::vector<std::string> sources = names;
  for (const auto& [name, bytes] : folder_) {
    if (name.starts_with(ToHex(other_.model.key))) sources.push_back(name);
  }
  const auto damaged = [&](const std::function<void()>& damage) {
    GoBackTo(folder_);
    damage();
    ExpectRefusedOrTrue();
    ExpectOtherIsWhole();
  };
  for (const std::string& name : names) {
    const Bytes& good = folder_.at(name);
    damaged([&] { std::filesystem::remove(path_ / name); });
    damaged([&] { WriteBytes(name, {}); });
    damaged([&] {
      Bytes twice = good;
      twice.insert(twice.end(), good.begin(), good.end());
      WriteBytes(name, twice);
    });
    for (const std::string& source : sources) {
      damaged([&] { WriteBytes(name, folder_.at(source)); });
      damaged([&] {
        WriteBytes(name, folder_.at(source));
        if (source != name) WriteBytes(source.starts_with(ToHex(session_.model.key)) ? source : name, good);
      });
    }
  }
  const Bytes& first = folder_.at(names[0]);
  for (size_t length = 0; length < first.size(); ++length) {
    GoBackTo(folder_);
    WriteBytes(names[0], std::span(first).first(length));
    ExpectRefusedOrTrue();
  }
  for (int i = NumRandomCases(); i > 0; --i) {
    const std::string& name = names[random_() % names.size()];
    const Bytes& good = folder_.at(name);
    const size_t begin = random_() % good.size();
    damaged([&] { WriteBytes(name, std::span(good).first(begin)); });
    damaged([&] {
      Bytes zeros = good;
      std::fill_n(zeros.begin() + static_cast<ptrdiff_t>(begin), std::min<size_t>(512, good.size() - begin), 0);
      WriteBytes(name, zeros);
    });
  }
  std::printf("%d damages: %d refused, %d times whole, %d times as it was before; %d images passed over\n", cases_,
              refused_, whole_, earlier_, images_passed_over_);
  EXPECT_GE(cases_, 1500);
  EXPECT_GE(refused_, 900);
  EXPECT_GE(earlier_, 20);
}

}  // namespace
}  // namespace cascade
