#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <thread>
#include <tuple>

#include "tests/engine/base/directory_test_util.h"

namespace cascade {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

TEST_F(DirectoryTest, WritesAndReads) {
  auto file = directory_->Create("name_1");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->size(), 0);
  EXPECT_TRUE((*file)->Append(Bytes("abc")).ok());
  EXPECT_TRUE((*file)->Append({}).ok());
  EXPECT_TRUE((*file)->Append(Bytes("defg")).ok());
  EXPECT_TRUE((*file)->Sync().ok());
  EXPECT_TRUE(directory_->Sync().ok());
  EXPECT_EQ((*file)->size(), 7);
  EXPECT_EQ(Contents(*directory_, "name_1"), "abcdefg");
  EXPECT_EQ(std::filesystem::status(path_ / "name_1").permissions(), std::filesystem::perms(0600));
  ExpectError(directory_->Create("name_1").status(), absl::StatusCode::kAlreadyExists);

  auto reader = directory_->OpenRead("name_1");
  ASSERT_TRUE(reader.ok());
  std::array<uint8_t, 3> bytes;
  EXPECT_TRUE((*reader)->Read(4, bytes).ok());
  EXPECT_THAT(bytes, ElementsAre('e', 'f', 'g'));
  EXPECT_TRUE((*reader)->Read(7, {}).ok());
  for (const int64_t offset : {int64_t{5}, int64_t{8}, int64_t{-1}, INT64_MAX, INT64_MIN}) {
    ExpectError((*reader)->Read(offset, bytes), absl::StatusCode::kOutOfRange);
  }
  EXPECT_TRUE((*file)->Append(Bytes("more")).ok());  // beyond the size that the reader knows
  ExpectError((*reader)->Read(5, bytes), absl::StatusCode::kOutOfRange);
  std::filesystem::resize_file(path_ / "name_1", 5);
  ExpectError((*reader)->Read(4, bytes), absl::StatusCode::kOutOfRange);
  ExpectError(directory_->OpenRead("name_2").status(), absl::StatusCode::kNotFound);
}

TEST_F(DirectoryTest, AppendsAfterReopening) {
  Write(*directory_, "name_1", "abc");
  ExpectError(directory_->OpenAppend("name_1", 2).status(), absl::StatusCode::kFailedPrecondition, "size");
  ExpectError(directory_->OpenAppend("name_2", 0).status(), absl::StatusCode::kNotFound);
  auto file = MustOpen()->OpenAppend("name_1", 3);
  ASSERT_TRUE(file.ok()) << file.status();
  const std::string large(5'000'000, 'x');
  EXPECT_TRUE((*file)->Append(Bytes(large)).ok());
  EXPECT_EQ((*file)->size(), 5'000'003);
  EXPECT_EQ(Contents(*directory_, "name_1"), "abc" + large);
}

TEST_F(DirectoryTest, ChangesNames) {
  Write(*directory_, "name_a", "a");
  Write(*directory_, "name_b", "b");
  ExpectError(directory_->Link("name_a", "name_b"), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Contents(*directory_, "name_b"), "b");
  ExpectError(directory_->Link("name_c", "name_d"), absl::StatusCode::kNotFound);
  EXPECT_TRUE(directory_->Link("name_a", "name_c").ok());
  EXPECT_THAT(*directory_->List(), UnorderedElementsAre("name_a", "name_b", "name_c"));
  auto reader = directory_->OpenRead("name_b");
  ASSERT_TRUE(reader.ok());
  EXPECT_TRUE(directory_->Rename("name_c", "name_b").ok());
  EXPECT_EQ(Contents(*directory_, "name_b"), "a");
  ExpectError(directory_->Rename("name_c", "name_b"), absl::StatusCode::kNotFound);
  EXPECT_TRUE(*directory_->Exists("name_a"));
  EXPECT_TRUE(directory_->Remove("name_a").ok());
  EXPECT_FALSE(*directory_->Exists("name_a"));
  ExpectError(directory_->Remove("name_a"), absl::StatusCode::kNotFound);
  EXPECT_THAT(*directory_->List(), UnorderedElementsAre("name_b"));
  directory_.reset();
  uint8_t byte = 0;
  EXPECT_TRUE((*reader)->Read(0, {&byte, 1}).ok());
  EXPECT_EQ(byte, 'b');
}

TEST_F(DirectoryTest, OneOfManyLinksWins) {
  constexpr int kThreads = 8, kRounds = 50;
  for (int i = 0; i < kThreads; ++i) Write(*directory_, "name_" + std::to_string(i), std::to_string(i));
  for (int round = 0; round < kRounds; ++round) {
    const std::string target = "claim" + std::to_string(round);
    std::array<absl::Status, kThreads> results;
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] { results[i] = directory_->Link("name_" + std::to_string(i), target); });
    }
    for (std::thread& thread : threads) thread.join();
    const auto winner = std::find_if(results.begin(), results.end(), [](const auto& status) { return status.ok(); });
    ASSERT_NE(winner, results.end());
    EXPECT_EQ(std::count_if(results.begin(), results.end(), absl::IsAlreadyExists), kThreads - 1);
    EXPECT_EQ(Contents(*directory_, target), std::to_string(winner - results.begin()));
  }
}

TEST_F(DirectoryTest, RefusesWhatIsNoRegularFile) {
  Write(*directory_, "target", "kept");
  std::filesystem::create_symlink(path_ / "target", path_ / "name_link");
  std::filesystem::create_symlink(path_ / "nowhere", path_ / "name_dangling");
  std::filesystem::create_directory(path_ / "name_folder");
  ASSERT_EQ(mkfifo((path_ / "name_pipe").c_str(), 0600), 0);
  for (const char* name : {"name_link", "name_dangling", "name_folder", "name_pipe"}) {
    SCOPED_TRACE(name);
    constexpr auto kRefused = absl::StatusCode::kFailedPrecondition;
    ExpectError(directory_->OpenRead(name).status(), kRefused, "not a regular file");
    ExpectError(directory_->OpenAppend(name, 4).status(), kRefused);
    ExpectError(directory_->Lock(name).status(), kRefused);
    ExpectError(directory_->IsLocked(name).status(), kRefused);
    ExpectError(directory_->Create(name).status(), absl::StatusCode::kAlreadyExists);
    ExpectError(directory_->Link("target", name), absl::StatusCode::kAlreadyExists);
    EXPECT_TRUE(*directory_->Exists(name));
  }
  EXPECT_FALSE(directory_->Remove("name_folder").ok());
  std::ofstream(path_ / "not ours") << "x";
  EXPECT_THAT(*directory_->List(), UnorderedElementsAre("target"));
  EXPECT_EQ(Contents(*directory_, "target"), "kept");
  EXPECT_FALSE(std::filesystem::exists(path_ / "nowhere"));
}

TEST_F(DirectoryTest, ChecksNames) {
  const std::string longest(255, 'a');
  for (const std::string& name : {longest, std::string("..."), std::string("-A.z_09")}) {
    EXPECT_FALSE(*directory_->Exists(name));
  }
  for (const std::string& name : {std::string(), std::string("."), std::string(".."), std::string("../a"),
                                  std::string("a/b"), std::string("a b"), std::string("a\0b", 3), longest + "a"}) {
    EXPECT_DEATH(std::ignore = directory_->Exists(name), "IsName");
  }
  EXPECT_DEATH(std::ignore = directory_->Link("a", "../b"), "IsName");
  EXPECT_DEATH(std::ignore = directory_->Rename("a", "../b"), "IsName");
  EXPECT_DEATH(std::ignore = directory_->Remove("../a"), "IsName");
  EXPECT_DEATH(std::ignore = directory_->Create("../a"), "IsName");
}

TEST_F(DirectoryTest, OpensFolders) {
  const auto open = [](const std::filesystem::path& path) { return Directory::Open(path.string()).status(); };
  EXPECT_TRUE(open(path_ / "name_new").ok());
  EXPECT_EQ(std::filesystem::status(path_ / "name_new").permissions(), std::filesystem::perms(0700));
  EXPECT_TRUE(open(path_ / "name_new/").ok());
  std::filesystem::create_directory_symlink(path_ / "name_new", path_ / "name_link");
  EXPECT_TRUE(open(path_ / "name_link").ok());
  ExpectError(open(path_ / "none" / "name_new"), absl::StatusCode::kNotFound, "its parent is not there");
  EXPECT_FALSE(std::filesystem::exists(path_ / "none"));
  Write(*directory_, "name_file", "x");
  ExpectError(open(path_ / "name_file"), absl::StatusCode::kFailedPrecondition, "Not a directory");
  ExpectError(open(path_ / "name_file" / "name_new"), absl::StatusCode::kFailedPrecondition, "Not a directory");
  std::filesystem::create_symlink(path_ / "none", path_ / "name_dangling");
  ExpectError(open(path_ / "name_dangling"), absl::StatusCode::kNotFound);
  ExpectError(open(""), absl::StatusCode::kInvalidArgument, "empty");
  ExpectError(Directory::Open(path_.string() + std::string("\0x", 2)).status(), absl::StatusCode::kInvalidArgument);
}

TEST_F(DirectoryTest, MeasuresFreeSpace) {
  const auto bytes = directory_->FreeBytes();
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_GT(*bytes, 0);
  EXPECT_LE(*bytes, static_cast<int64_t>(std::filesystem::space(path_).capacity));
}

}  // namespace
}  // namespace cascade
