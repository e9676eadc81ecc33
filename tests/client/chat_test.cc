// The chat, through pipes and in a terminal, against a server in this process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/client/fake_cascade.h"
#include "tests/client/run_program.h"

namespace cascade::client {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class ChatTest : public testing::Test {
 protected:
  std::vector<std::string> Arguments(std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {"--address", server_.address(), "chat"});
    return more;
  }
  FakeCascade server_;
};

TEST_F(ChatTest, EachLineOfAPipeIsATurnOfOneSession) {
  const ProgramResult result = RunProgram(Arguments({"--system", "Be kind."}), "one\n\n//two\r\nthree");
  EXPECT_EQ(result.code, 0) << result.errors;
  EXPECT_EQ(result.output, "echo: one\necho: /two\necho: three\n");
  EXPECT_EQ(result.errors, "");
  const auto requests = server_.generate_requests();
  ASSERT_EQ(requests.size(), 3);
  EXPECT_EQ(requests[0].prompt().messages().messages_size(), 2);
  EXPECT_EQ(requests[1].prompt().messages().messages_size(), 1);
  for (const auto& request : requests) EXPECT_EQ(request.session_id(), "session1");
  EXPECT_THAT(server_.session_ids(), IsEmpty());
}

TEST_F(ChatTest, CommandsWorkInAPipe) {
  const ProgramResult result =
      RunProgram(Arguments(), "hello\n/stats\n/cache\n/new\nagain\n/help\n/quit\nnever sent\n");
  EXPECT_EQ(result.code, 0) << result.errors;
  EXPECT_THAT(result.output, AllOf(HasSubstr("tokens      16 seen"), HasSubstr("sub-cache 0"), HasSubstr("/stats")));
  EXPECT_EQ(server_.generate_requests().size(), 2);
  EXPECT_EQ(server_.generate_requests()[1].session_id(), "session2");
  EXPECT_THAT(server_.session_ids(), IsEmpty());
}

TEST_F(ChatTest, AKeptOrGivenSessionStays) {
  ProgramResult result = RunProgram(Arguments({"--keep"}), "hello\n");
  EXPECT_EQ(result.errors, "kept: cascade chat --session session1\n");
  result = RunProgram(Arguments({"--session", "session1"}), "hello\n");
  EXPECT_EQ(result.code, 0);
  EXPECT_THAT(server_.session_ids(), ElementsAre("session1"));
  result = RunProgram(Arguments({"--session", "unknown"}), "hello\n");
  EXPECT_EQ(result.code, 1);
  EXPECT_EQ(result.errors, "cascade: not found: no such session\n");
}

TEST_F(ChatTest, AnErrorEndsAPipe) {
  server_.FailGenerate({grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full"});
  ProgramResult result = RunProgram(Arguments(), "one\ntwo\n");
  EXPECT_EQ(result.code, 1);
  EXPECT_EQ(result.errors, "cascade: resource exhausted: the queue is full\n");
  EXPECT_EQ(server_.generate_requests().size(), 1);
  EXPECT_THAT(server_.session_ids(), IsEmpty());
  EXPECT_EQ(RunProgram(Arguments(), "/unknown\n").code, 1);
  EXPECT_EQ(RunProgram(Arguments(), "a\xff\n").code, 1);
}

TEST_F(ChatTest, ATurnThatTheServerCutsIsAnError) {
  server_.FailGenerate({grpc::StatusCode::CANCELLED, "the turn was cancelled"});
  const ProgramResult result = RunProgram(Arguments(), "one\ntwo\n");
  EXPECT_EQ(result.code, 1);
  EXPECT_EQ(result.errors, "cascade: cancelled: the turn was cancelled\n");
}

TEST_F(ChatTest, CtrlCStopsTheReplyAndNotTheProgram) {
  TerminalProgram chat(Arguments());
  ASSERT_TRUE(chat.WaitFor("fake-model")) << chat.screen();
  ASSERT_TRUE(chat.WaitFor("> ")) << chat.screen();
  server_.ReplyForever(true);
  chat.Type("hello\n");
  ASSERT_TRUE(chat.WaitFor("echo: hello")) << chat.screen();
  chat.Type("\x03");
  ASSERT_TRUE(chat.WaitFor("[stopped]")) << chat.screen();
  ASSERT_TRUE(chat.WaitFor("> ")) << chat.screen();
  // The server hears of it a little later than the client prints it; until then the reply must go on.
  for (int i = 0; i < 1000 && server_.cancelled_replies() == 0; ++i) usleep(10'000);
  EXPECT_EQ(server_.cancelled_replies(), 1);
  // The next turn comes while the server still ends the last one.
  server_.ReplyForever(false);
  server_.BeBusy(2);
  chat.Type("more\n");
  ASSERT_TRUE(chat.WaitFor("echo: more")) << chat.screen();
  chat.Type("\x04");
  EXPECT_EQ(chat.Wait().code, 0);
  EXPECT_THAT(chat.screen(), Not(HasSubstr("aborted")));
  EXPECT_THAT(server_.session_ids(), IsEmpty());
}

TEST_F(ChatTest, CtrlCTwiceAtThePromptLeaves) {
  TerminalProgram chat(Arguments());
  ASSERT_TRUE(chat.WaitFor("> ")) << chat.screen();
  chat.Type("\x03");
  ASSERT_TRUE(chat.WaitFor("Ctrl-C again")) << chat.screen();
  ASSERT_TRUE(chat.WaitFor("> ")) << chat.screen();
  chat.Type("\x03");
  EXPECT_EQ(chat.Wait().code, 0);
  EXPECT_THAT(server_.session_ids(), IsEmpty());
}

TEST_F(ChatTest, AnErrorInATerminalEndsTheTurnOnly) {
  server_.FailGenerate({grpc::StatusCode::NOT_FOUND, "no such session"});
  TerminalProgram chat(Arguments());
  ASSERT_TRUE(chat.WaitFor("> ")) << chat.screen();
  chat.Type("hello\n");
  ASSERT_TRUE(chat.WaitFor("not found: no such session")) << chat.screen();
  ASSERT_TRUE(chat.WaitFor("/new starts a new session")) << chat.screen();
  server_.FailGenerate(grpc::Status::OK);
  ASSERT_TRUE(chat.WaitFor("> ")) << chat.screen();
  // A backslash goes on in the next line.
  chat.Type("two\\\n");
  ASSERT_TRUE(chat.WaitFor("| ")) << chat.screen();
  chat.Type("lines\n");
  ASSERT_TRUE(chat.WaitFor("echo: two")) << chat.screen();
  EXPECT_EQ(server_.generate_requests().back().prompt().messages().messages(0).content(), "two\nlines");
  chat.Type("/quit\n");
  EXPECT_EQ(chat.Wait().code, 0);
}

TEST_F(ChatTest, AReplyCannotSteerTheTerminal) {
  server_.SetReply("\033[2Jred");
  TerminalProgram chat(Arguments());
  ASSERT_TRUE(chat.WaitFor("> ")) << chat.screen();
  chat.Type("hello\n");
  ASSERT_TRUE(chat.WaitFor("[2Jred")) << chat.screen();
  EXPECT_THAT(chat.screen(), Not(HasSubstr("\033[2J")));
}

}  // namespace
}  // namespace cascade::client
