// Broken model files: exit code 66, one line that says what is wrong and where, never a crash.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "tests/server/server_process.h"
#include "tests/support/tiny_model.h"

namespace cascade::test {
namespace {

class BadModelTest : public ::testing::Test {
 protected:
  BadModelTest() {
    path_ = (std::filesystem::temp_directory_path() / ("cascade_bad_model_" + std::to_string(getpid()) + ".gguf")).string();
    WriteTinyModel(path_);
    std::ifstream file(path_, std::ios::binary);
    good_.assign(std::istreambuf_iterator<char>(file), {});
  }
  ~BadModelTest() override { std::filesystem::remove(path_); }

  // Exit code 66 and a line that holds `names`.
  void ExpectRefused(const std::string& bytes, const std::string& names) {
    std::ofstream(path_, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    ExpectRefusedFile(path_, names);
  }
  void ExpectRefusedFile(const std::string& path, const std::string& names) {
    ServerProcess server({"--model", path, "--port", "0", "--cache-tokens", "128"});
    EXPECT_EQ(server.Wait(), 66) << server.Output();
    EXPECT_THAT(server.Output(), ::testing::HasSubstr(names));
    EXPECT_THAT(server.Output(), ::testing::HasSubstr("cascade-server: "));
  }

  std::string path_, good_;
};

TEST_F(BadModelTest, IsRefusedWithOneLine) {
  std::string bytes = good_;
  bytes[0] = 'X';
  ExpectRefused(bytes, "GGUF");
  bytes = good_;
  bytes[4] = 99;
  ExpectRefused(bytes, "version");
  ExpectRefused(good_.substr(0, 3), "");
  ExpectRefused(good_.substr(0, 100), "");
  ExpectRefused(good_.substr(0, good_.size() - 100), "");
  ExpectRefused("", "empty");
  ExpectRefusedFile(path_ + ".none", "No such file");
  ExpectRefusedFile(std::filesystem::temp_directory_path().string(), "config.json");
}

TEST_F(BadModelTest, FlippedBitsNeverCrash) {
  std::mt19937 random(7);
  int refused = 0;
  for (int i = 0; i < 60; ++i) {
    std::string bytes = good_;
    // Mostly in the header, where they matter.
    bytes[random() % (i % 4 == 0 ? bytes.size() : 6000)] ^= static_cast<char>(1 << (random() % 8));
    std::ofstream(path_, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    ServerProcess server({"--model", path_, "--port", "0", "--cache-tokens", "128", "--cache-memory-bytes", "16MiB"});
    const std::string address = server.WaitUntilReady();
    if (!address.empty()) {  // a file that is still valid: a weight or a name has changed
      server.Signal(SIGTERM);
      EXPECT_EQ(server.Wait(), 0) << server.Output();
      continue;
    }
    ++refused;
    const int code = server.Wait();
    EXPECT_TRUE(code == 66 || code == 78) << code << "\n" << server.Output();
  }
  EXPECT_GE(refused, 5);
}

}  // namespace
}  // namespace cascade::test
