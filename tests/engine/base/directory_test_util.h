// What the tests of Directory share.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cascade {

inline std::span<const uint8_t> Bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

inline void Write(Directory& directory, const std::string& name, std::string_view text) {
  auto file = directory.Create(name);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE((*file)->Append(Bytes(text)).ok());
}

inline std::string Contents(Directory& directory, const std::string& name) {
  auto file = directory.OpenRead(name);
  if (!file.ok()) return file.status().ToString();
  std::vector<uint8_t> bytes((*file)->size());
  EXPECT_TRUE((*file)->Read(0, bytes).ok());
  return std::string(bytes.begin(), bytes.end());
}

class DirectoryTest : public ::testing::Test {
 protected:
  DirectoryTest() {
    std::string pattern = ::testing::TempDir() + "/directory_XXXXXX";
    path_ = mkdtemp(pattern.data());
    directory_ = MustOpen();
  }
  ~DirectoryTest() override { std::filesystem::remove_all(path_); }

  std::unique_ptr<Directory> MustOpen() {
    auto directory = Directory::Open(path_);
    EXPECT_TRUE(directory.ok()) << directory.status();
    return *std::move(directory);
  }
  // Its code is as given, and it gives nothing away.
  static void ExpectError(const absl::Status& status, absl::StatusCode code, const char* words = "") {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(words));
    EXPECT_EQ(status.message().find_first_of("/\n"), std::string::npos) << status;
    EXPECT_EQ(status.message().find("name_"), std::string::npos) << status;
  }

  std::filesystem::path path_;
  std::unique_ptr<Directory> directory_;
};

}  // namespace cascade
