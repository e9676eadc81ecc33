// The faulty folder is the tests' instrument; these show that it measures.
#include "tests/support/faulty_directory.h"

#include <array>
#include <atomic>
#include <functional>
#include <set>
#include <thread>
#include <tuple>

#include "tests/engine/base/directory_test_util.h"

namespace cascade {
namespace {

using absl::StatusCode;

class FaultyDirectoryTest : public DirectoryTest {
 protected:
  FaultyDirectoryTest() : faulty_(MustOpen()) {}

  std::unique_ptr<WritableFile> MustCreate(const std::string& name) {
    auto file = faulty_.Create(name);
    EXPECT_TRUE(file.ok()) << file.status();
    return *std::move(file);
  }

  FaultyDirectory faulty_;
};

TEST_F(FaultyDirectoryTest, EachFaultBefallsWhatItSuitsOnceOrFromThenOn) {
  constexpr StatusCode kOk = StatusCode::kOk, kFull = StatusCode::kResourceExhausted, kFailed = StatusCode::kInternal,
                       kLoss = StatusCode::kDataLoss;
  constexpr Fault kFaults[] = {Fault::kNoSpace, Fault::kIoError, Fault::kShortWrite, Fault::kFailedSync,
                               Fault::kFailedRename};
  // Every operation is done twice, on two files.
  const std::string names[] = {"name_0", "name_1"}, others[] = {"name_2", "name_3"};
  std::unique_ptr<WritableFile> files[2];
  std::unique_ptr<ReadableFile> readers[2];
  uint8_t byte = 0;
  const struct {
    const char* name;
    std::function<absl::Status(int)> work;
    std::array<StatusCode, 5> codes;  // by kFaults
  } rows[] = {
      {"List", [&](int) { return faulty_.List().status(); }, {kOk, kLoss, kOk, kOk, kOk}},
      {"OpenRead", [&](int i) { return faulty_.OpenRead(names[i]).status(); }, {kOk, kLoss, kOk, kOk, kOk}},
      {"Read",
       [&](int i) {
         return readers[i]->Read(0, {&byte, 1});
       },
       {kOk, kLoss, kOk, kOk, kOk}},
      {"Exists", [&](int i) { return faulty_.Exists(names[i]).status(); }, {kOk, kLoss, kOk, kOk, kOk}},
      {"Create", [&](int i) { return faulty_.Create(others[i]).status(); }, {kFull, kFailed, kOk, kOk, kOk}},
      {"OpenAppend", [&](int i) { return faulty_.OpenAppend(names[i], 3).status(); }, {kFull, kFailed, kOk, kOk, kOk}},
      {"Append", [&](int i) { return files[i]->Append(Bytes("d")); }, {kFull, kFailed, kFull, kOk, kOk}},
      {"Sync of a file", [&](int i) { return files[i]->Sync(); }, {kFull, kFailed, kOk, kFailed, kOk}},
      {"Link", [&](int i) { return faulty_.Link(names[i], others[i]); }, {kFull, kFailed, kOk, kOk, kFailed}},
      {"Rename", [&](int i) { return faulty_.Rename(names[i], others[i]); }, {kFull, kFailed, kOk, kOk, kFailed}},
      {"Remove", [&](int i) { return faulty_.Remove(names[i]); }, {kFull, kFailed, kOk, kOk, kOk}},
      {"Sync of the folder", [&](int) { return faulty_.Sync(); }, {kFull, kFailed, kOk, kFailed, kOk}},
      {"Lock", [&](int i) { return faulty_.Lock(others[i]).status(); }, {kOk, kOk, kOk, kOk, kOk}},
      {"IsLocked", [&](int i) { return faulty_.IsLocked(names[i]).status(); }, {kOk, kOk, kOk, kOk, kOk}},
  };
  int64_t fired = 0;
  for (const auto& row : rows) {
    for (size_t fault = 0; fault < row.codes.size(); ++fault) {
      for (const bool from_then_on : {false, true}) {
        SCOPED_TRACE(testing::Message() << row.name << ", fault " << fault << (from_then_on ? ", from then on" : ""));
        for (int i = 0; i < 2; ++i) {
          std::ignore = directory_->Remove(names[i]);
          std::ignore = directory_->Remove(others[i]);
          faulty_.Heal();
          files[i] = MustCreate(names[i]);
          EXPECT_TRUE(files[i]->Append(Bytes("abc")).ok());
          readers[i] = *faulty_.OpenRead(names[i]);
        }
        const StatusCode code = row.codes[fault];
        faulty_.FailAt(1, kFaults[fault], from_then_on);
        EXPECT_EQ(row.work(0).code(), code);
        EXPECT_EQ(row.work(1).code(), from_then_on ? code : kOk);
        EXPECT_EQ(faulty_.operations(), 2);
        fired += code == kOk ? 0 : from_then_on ? 2 : 1;
        EXPECT_EQ(faulty_.faults_fired(), fired);
        if (code != kOk && kFaults[fault] != Fault::kShortWrite) {
          EXPECT_EQ(Contents(*directory_, names[0]), "abc");  // nothing was passed on
        }
      }
    }
  }
  EXPECT_EQ(fired, 3 * (4 + 8 + 8 + 1 + 2 + 2));
}

TEST_F(FaultyDirectoryTest, WaitsForItsTurnAndForAnOperationThatItSuits) {
  const auto file = MustCreate("name_a");
  faulty_.FailAt(3, Fault::kFailedSync, false);
  EXPECT_TRUE(faulty_.Sync().ok());
  EXPECT_TRUE(faulty_.Sync().ok());
  EXPECT_TRUE(faulty_.List().ok());
  EXPECT_TRUE(file->Append(Bytes("abc")).ok());
  EXPECT_EQ(faulty_.faults_fired(), 0);
  ExpectError(file->Sync(), StatusCode::kInternal);
  EXPECT_TRUE(faulty_.Sync().ok());
  EXPECT_EQ(faulty_.operations(), 6);
  EXPECT_EQ(faulty_.faults_fired(), 1);
  faulty_.FailAt(1, Fault::kNoSpace, true);
  EXPECT_EQ(faulty_.operations(), 0);
  EXPECT_FALSE(faulty_.Sync().ok());
  EXPECT_TRUE(faulty_.List().ok());
  EXPECT_TRUE(faulty_.FreeBytes().ok());
  EXPECT_FALSE(faulty_.Create("name_b").ok());
  EXPECT_EQ(faulty_.operations(), 3);
  faulty_.Heal();
  EXPECT_TRUE(faulty_.Create("name_b").ok());
  EXPECT_EQ(faulty_.operations(), 1);
  EXPECT_EQ(faulty_.faults_fired(), 3);
}

TEST_F(FaultyDirectoryTest, AShortWriteLeavesAPrefix) {
  const std::string text = "0123456789abcdef";
  std::set<size_t> sizes;
  for (int i = 0; i < 200; ++i) {
    const std::string name = "name_" + std::to_string(i);
    const auto file = MustCreate(name);
    EXPECT_TRUE(file->Append(Bytes("begin")).ok());
    faulty_.FailAt(1, Fault::kShortWrite, false);
    ExpectError(file->Append(Bytes(text)), StatusCode::kResourceExhausted);
    EXPECT_EQ(file->size(), 5);
    const std::string contents = Contents(*directory_, name);
    ASSERT_LT(contents.size(), 5 + text.size());
    EXPECT_EQ(contents, ("begin" + text).substr(0, contents.size()));
    sizes.insert(contents.size() - 5);
  }
  EXPECT_EQ(sizes.size(), text.size());  // 0 too
  EXPECT_EQ(*sizes.begin(), 0u);
  const auto file = MustCreate("name_empty");
  faulty_.FailAt(1, Fault::kShortWrite, false);
  EXPECT_FALSE(file->Append({}).ok());
}

TEST_F(FaultyDirectoryTest, AFileThatFailedIsGivenUp) {
  for (const Fault fault : {Fault::kNoSpace, Fault::kIoError, Fault::kFailedSync}) {
    const auto file = MustCreate("name_" + std::to_string(static_cast<int>(fault)));
    const int64_t uses = faulty_.uses_after_failure();
    faulty_.FailAt(1, fault, false);
    EXPECT_FALSE(file->Sync().ok());
    EXPECT_EQ(faulty_.uses_after_failure(), uses);
    ExpectError(file->Sync(), StatusCode::kFailedPrecondition);
    ExpectError(file->Append(Bytes("x")), StatusCode::kFailedPrecondition);
    EXPECT_EQ(faulty_.uses_after_failure(), uses + 2);
    EXPECT_EQ(file->size(), 0);
  }
}

TEST_F(FaultyDirectoryTest, AFileThatFailedGetsNoName) {
  const auto fail = [&](WritableFile& file) {
    faulty_.FailAt(1, Fault::kFailedSync, false);
    EXPECT_FALSE(file.Sync().ok());
    EXPECT_EQ(faulty_.last_fault(), 1);
  };
  auto file = MustCreate("name_a");
  fail(*file);
  EXPECT_EQ(faulty_.uses_after_failure(), 0);
  EXPECT_TRUE(faulty_.Link("name_a", "name_b").ok());
  EXPECT_EQ(faulty_.uses_after_failure(), 1);
  EXPECT_TRUE(faulty_.Rename("name_a", "name_c").ok());
  EXPECT_EQ(faulty_.uses_after_failure(), 2);
  EXPECT_TRUE(faulty_.OpenAppend("name_c", 0).ok());
  EXPECT_EQ(faulty_.uses_after_failure(), 3);
  // What was in it when it got a name may be good.
  file = MustCreate("name_d");
  EXPECT_TRUE(faulty_.Link("name_d", "name_e").ok());
  EXPECT_TRUE(faulty_.Remove("name_d").ok());
  fail(*file);
  EXPECT_TRUE(faulty_.Link("name_e", "name_f").ok());
  EXPECT_EQ(faulty_.uses_after_failure(), 3);
  EXPECT_TRUE(faulty_.OpenAppend("name_f", 0).ok());
  EXPECT_EQ(faulty_.uses_after_failure(), 4);
  // Another file of that name.
  EXPECT_TRUE(faulty_.Remove("name_f").ok());
  file = MustCreate("name_f");
  EXPECT_TRUE(faulty_.Rename("name_f", "name_g").ok());
  EXPECT_EQ(faulty_.uses_after_failure(), 4);
}

TEST_F(FaultyDirectoryTest, CountsOpenFilesAndLocks) {
  auto faulty = std::make_unique<FaultyDirectory>(MustOpen());
  {
    const auto writer = faulty->Create("name_a");
    const auto reader = faulty->OpenRead("name_a"), second = faulty->OpenRead("name_a");
    const auto lock = faulty->Lock("name_lock");
    EXPECT_FALSE(faulty->OpenRead("name_b").ok());
    EXPECT_FALSE(faulty->Create("name_a").ok());
    EXPECT_FALSE(faulty->Lock("name_lock").ok());
    EXPECT_TRUE(*faulty->IsLocked("name_lock"));
    EXPECT_EQ(faulty->open_files(), 3);
    EXPECT_EQ(faulty->held_locks(), 1);
  }
  EXPECT_FALSE(*faulty->IsLocked("name_lock"));
  EXPECT_EQ(faulty->open_files(), 0);
  EXPECT_EQ(faulty->held_locks(), 0);
  const auto file = faulty->Create("name_c");
  ASSERT_TRUE(file.ok());
  faulty.reset();
  EXPECT_TRUE((*file)->Append(Bytes("abc")).ok());
  EXPECT_EQ(Contents(*directory_, "name_c"), "abc");
}

TEST_F(FaultyDirectoryTest, AnyThread) {
  constexpr int kThreads = 4, kRounds = 100;
  faulty_.FailAt(kThreads * kRounds, Fault::kShortWrite, true);
  std::atomic<int> failed = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < kRounds; ++round) {
        const auto file = MustCreate("name_" + std::to_string(i * kRounds + round));
        if (!file->Append(Bytes("abc")).ok()) ++failed;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(faulty_.operations(), 2 * kThreads * kRounds);
  EXPECT_GT(failed, 0);
  EXPECT_EQ(faulty_.faults_fired(), failed);
  EXPECT_EQ(faulty_.open_files(), 0);
}

}  // namespace
}  // namespace cascade
