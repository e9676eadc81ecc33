// cascade sessions, run as a user runs it, against a server in this process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/client/fake_cascade.h"
#include "tests/client/run_program.h"

namespace cascade::client {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

class SessionsTest : public testing::Test {
 protected:
  SessionsTest() : folder_(testing::TempDir() + "cascade_sessions_test_" + std::to_string(getpid())) {
    std::filesystem::create_directory(folder_);
  }
  ~SessionsTest() override { std::filesystem::remove_all(folder_); }

  ProgramResult Run(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.insert(arguments.begin(), {"--address", server_.address()});
    return RunProgram(arguments, input);
  }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  static std::string Content(const std::string& path) {
    std::stringstream content;
    content << std::ifstream(path, std::ios::binary).rdbuf();
    return content.str();
  }
  int Files() const {
    int count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder_)) ++count;
    return count;
  }

  FakeCascade server_;
  const std::string folder_;
};

TEST_F(SessionsTest, SessionsAreListedPageByPage) {
  for (int i = 100; i < 125; ++i) server_.AddSession("s" + std::to_string(i)).set_position(12'345);
  const ProgramResult all = Run({"sessions", "list", "--page-size", "10"});
  EXPECT_EQ(all.code, 0);
  EXPECT_THAT(all.output,
              AllOf(StartsWith("session  label  state"), HasSubstr("s100"), HasSubstr("s124"), HasSubstr("12,345")));
  EXPECT_EQ(std::count(all.output.begin(), all.output.end(), '\n'), 26);
  EXPECT_EQ(all.errors, "25 sessions\n");
  EXPECT_EQ(Run({"sessions", "list", "--page-size", "10", "--limit", "15"}).errors, "15 sessions\n");
}

TEST_F(SessionsTest, SessionsAreMadeShownAndDeleted) {
  EXPECT_EQ(Run({"sessions", "create", "--label", "mine"}).output, "session1\n");
  EXPECT_THAT(Run({"sessions", "show", "session1"}).output, AllOf(HasSubstr("mine"), HasSubstr("3.0 MiB")));
  const ProgramResult result = Run({"sessions", "delete", "unknown", "session1"});
  EXPECT_EQ(result.code, 1);
  EXPECT_EQ(result.errors, "cascade: not found: no such session\n");
  EXPECT_THAT(server_.session_ids(), IsEmpty());
}

TEST_F(SessionsTest, SessionsAreForked) {
  server_.AddSession("mine").set_position(77);
  EXPECT_EQ(Run({"sessions", "fork", "mine", "--label", "other"}).output, "session1\n");
  EXPECT_THAT(Run({"sessions", "show", "session1"}).output, AllOf(HasSubstr("other"), HasSubstr("77 seen")));
  EXPECT_EQ(Run({"sessions", "fork", "unknown"}).errors, "cascade: not found: no such session\n");
}

TEST_F(SessionsTest, ForkChecksThePosition) {
  server_.AddSession("mine").set_position(77);
  EXPECT_EQ(Run({"sessions", "fork", "mine", "--expected-position", "77"}).output, "session1\n");
  const ProgramResult result = Run({"sessions", "fork", "mine", "--expected-position", "0"});
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.errors, StartsWith("cascade: failed precondition: "));
}

TEST_F(SessionsTest, DurabilityStateAndDigestAreShown) {
  EXPECT_EQ(Run({"sessions", "create", "--durability", "image"}).output, "session1\n");
  EXPECT_THAT(Run({"sessions", "show", "session1"}).output, HasSubstr("durability  image\n"));
  v1::Session& session = server_.AddSession("mine");
  session.set_state(v1::SESSION_STATE_PARKED_DISK);
  session.set_durability(v1::DURABILITY_JOURNAL);
  session.set_journal_bytes(1536);
  session.set_digest(0x00AB'0000'0000'0001);
  EXPECT_THAT(Run({"sessions", "show", "mine"}).output,
              AllOf(HasSubstr("state       parked (disk)\n"),
                    HasSubstr("durability  journal, 1.5 KiB of journal on the disk\n"),
                    HasSubstr("digest      00ab000000000001\n")));
  EXPECT_THAT(Run({"sessions", "list"}).output, HasSubstr("parked (disk)"));
}

TEST_F(SessionsTest, Park) {
  server_.AddSession("mine");
  EXPECT_EQ(Run({"sessions", "park", "mine"}).output, "parked (disk)\n");
  EXPECT_EQ(Run({"sessions", "park", "mine", "--to", "host"}).output, "parked (host)\n");
  EXPECT_EQ(Run({"sessions", "park", "mine", "--to", "disk"}).output, "parked (disk)\n");
  EXPECT_EQ(Run({"sessions", "park", "unknown"}).errors, "cascade: not found: no such session\n");
}

TEST_F(SessionsTest, Rewind) {
  server_.AddSession("mine").set_turns(1234);
  EXPECT_EQ(Run({"sessions", "rewind", "mine"}).output, "1,233 turns, 0 tokens\n");
  EXPECT_EQ(Run({"sessions", "rewind", "mine", "--turns", "3", "--allow-replay"}).output, "1,230 turns, 0 tokens\n");
  EXPECT_EQ(Run({"sessions", "rewind", "mine", "--to-turn", "0", "--expected-position", "5"}).output,
            "0 turns, 0 tokens\n");
  EXPECT_EQ(Run({"sessions", "rewind", "unknown"}).code, 1);
  const auto requests = server_.rewind_requests();
  ASSERT_EQ(requests.size(), 4u);
  EXPECT_FALSE(requests[0].has_take_back() || requests[0].has_to_turn() || requests[0].has_expected_position());
  EXPECT_EQ(requests[1].take_back(), 3);
  EXPECT_TRUE(requests[1].allow_replay());
  EXPECT_TRUE(requests[2].has_to_turn());
  EXPECT_EQ(requests[2].expected_position(), 5);
  EXPECT_FALSE(requests[2].allow_replay());
}

TEST_F(SessionsTest, ExportAndImport) {
  server_.AddSession("mine").set_position(77);
  const std::string path = Path("a session");
  for (const bool history : {false, true}) {
    std::vector<std::string> arguments = {"sessions", "export", "mine", path};
    if (history) arguments.push_back("--with-history");
    const ProgramResult result = Run(arguments);
    EXPECT_EQ(result.code, 0) << result.errors;
    EXPECT_EQ(result.output + result.errors, "");
    EXPECT_EQ(Content(path).size() > (3 << 20), history);
    struct stat status {};
    ASSERT_EQ(stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
    EXPECT_EQ(Files(), 1);
  }
  EXPECT_EQ(Run({"sessions", "import", path, "--label", "copy", "--durability", "none", "--replay"}).output,
            "session1\n");
  EXPECT_THAT(Run({"sessions", "show", "session1"}).output, AllOf(HasSubstr("copy"), HasSubstr("77 seen")));
  const v1::ImportOptions options = server_.import_options().at(0);
  EXPECT_EQ(options.durability(), v1::DURABILITY_NONE);
  EXPECT_TRUE(options.replay());
}

TEST_F(SessionsTest, ThroughAPipe) {
  server_.AddSession("mine").set_position(77);
  const ProgramResult out = Run({"sessions", "export", "mine", "-"});
  EXPECT_EQ(out.code, 0) << out.errors;
  EXPECT_EQ(Run({"sessions", "import", "-"}, out.output).output, "session1\n");
  EXPECT_EQ(server_.import_options().at(0).durability(), v1::DURABILITY_UNSPECIFIED);
  EXPECT_FALSE(server_.import_options().at(0).replay());
  EXPECT_EQ(Run({"sessions", "export", "mine", "/dev/null"}).code, 0);  // which is not replaced
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

// What was there stays as it is until all of the new one is on the disk.
TEST_F(SessionsTest, AnExportThatFailsLeavesNothing) {
  const std::string path = Path("file");
  std::ofstream(path) << "old";
  EXPECT_EQ(Run({"sessions", "export", "unknown", path}).errors, "cascade: not found: no such session\n");
  server_.AddSession("mine");
  server_.CutExports();
  const ProgramResult cut = Run({"sessions", "export", "mine", path, "--with-history"});
  EXPECT_EQ(cut.code, 1);
  EXPECT_THAT(cut.errors, StartsWith("cascade: the server sent "));
  EXPECT_EQ(Content(path), "old");
  EXPECT_EQ(Files(), 1);
  EXPECT_THAT(Run({"sessions", "export", "mine", "/no/such/folder/file"}).errors,
              StartsWith("cascade: cannot write /no/such/folder/file: "));
  EXPECT_THAT(Run({"sessions", "export", "mine", folder_}).errors, HasSubstr("Is a directory"));
}

TEST_F(SessionsTest, WhatCannotBeImportedIsSaid) {
  EXPECT_THAT(Run({"sessions", "import", "/no/such/file"}).errors,
              StartsWith("cascade: cannot open /no/such/file: No such file"));
  EXPECT_THAT(Run({"sessions", "import", folder_}).errors, HasSubstr("Is a directory"));
  EXPECT_EQ(Run({"sessions", "import", "-"}, "garbage").errors, "cascade: data loss: the bytes are damaged\n");
  // Said in the middle of many bytes.
  EXPECT_EQ(Run({"sessions", "import", "-"}, "refuse" + std::string(30 << 20, 'x')).errors,
            "cascade: data loss: the bytes are damaged\n");
  EXPECT_THAT(server_.session_ids(), IsEmpty());
}

}  // namespace
}  // namespace cascade::client
