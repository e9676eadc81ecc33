// The program's commands, run as a user runs them, against a server in this process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "tests/client/fake_cascade.h"
#include "tests/client/run_program.h"

namespace cascade::client {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

class CommandsTest : public testing::Test {
 protected:
  ProgramResult Run(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.insert(arguments.begin(), {"--address", server_.address()});
    return RunProgram(arguments, input);
  }
  FakeCascade server_;
};

// A file of this test process, removed at the end.
struct TemporaryFile {
  explicit TemporaryFile(const std::string& content) { std::ofstream(path, std::ios::binary) << content; }
  ~TemporaryFile() { std::remove(path.c_str()); }
  const std::string path = testing::TempDir() + "cascade_commands_test_" + std::to_string(getpid());
};

TEST_F(CommandsTest, GenerateStreamsTheReply) {
  const ProgramResult result = Run({"generate", "Hé, 😀", "--usage", "--temperature", "0", "--stop", "x", "--stop", "y",
                                    "--seed", "18446744073709551615", "--max-tokens", "7"});
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.output, "echo: Hé, 😀\n");
  EXPECT_THAT(result.errors, AllOf(HasSubstr("finish: stop"), HasSubstr("tokens fed"), HasSubstr("cache 3.0 MiB")));
  const v1::GenerateRequest request = server_.generate_requests().at(0);
  EXPECT_EQ(request.prompt().text(), "Hé, 😀");
  EXPECT_TRUE(request.sampling().has_temperature());
  EXPECT_FALSE(request.sampling().has_top_p());
  EXPECT_EQ(request.sampling().seed(), 18446744073709551615u);
  EXPECT_EQ(request.stopping().max_tokens(), 7);
  EXPECT_EQ(request.stopping().stop_size(), 2);
}

TEST_F(CommandsTest, GenerateSaysAllOfSamplingAndOutput) {
  const TemporaryFile schema(R"({"type":"object"})");
  const ProgramResult result = Run({"generate",
                                    "x",
                                    "--repetition-penalty",
                                    "1.5",
                                    "--repeat-last-n",
                                    "9",
                                    "--frequency-penalty",
                                    "-1",
                                    "--presence-penalty",
                                    "2",
                                    "--logit-bias",
                                    "7=-100",
                                    "--logit-bias",
                                    "3=1.5",
                                    "--allowed-token-id",
                                    "4",
                                    "--allowed-token-id",
                                    "5",
                                    "--min-tokens",
                                    "2",
                                    "--stop-token-id",
                                    "11",
                                    "--ignore-eos",
                                    "--include-stop",
                                    "--priority",
                                    "-3",
                                    "--json-schema",
                                    schema.path,
                                    "--echo",
                                    "--logprobs",
                                    "2",
                                    "--prompt-logprobs",
                                    "0"});
  EXPECT_EQ(result.code, 0) << result.errors;
  const v1::GenerateRequest request = server_.generate_requests().at(0);
  EXPECT_EQ(request.sampling().repetition_penalty(), 1.5f);
  EXPECT_EQ(request.sampling().repeat_last_n(), 9);
  EXPECT_EQ(request.sampling().frequency_penalty(), -1);
  EXPECT_EQ(request.sampling().presence_penalty(), 2);
  EXPECT_EQ(request.sampling().logit_bias().at(7), -100);
  EXPECT_EQ(request.sampling().logit_bias().at(3), 1.5f);
  EXPECT_EQ(request.sampling().allowed_token_ids_size(), 2);
  EXPECT_EQ(request.stopping().min_tokens(), 2);
  EXPECT_EQ(request.stopping().stop_token_ids(0), 11);
  EXPECT_TRUE(request.stopping().ignore_eos());
  EXPECT_TRUE(request.stopping().include_stop());
  EXPECT_EQ(request.priority(), -3);
  EXPECT_EQ(request.response_format().json_schema(), R"({"type":"object"})");
  EXPECT_TRUE(request.echo());
  EXPECT_EQ(request.logprobs(), 2);
  EXPECT_TRUE(request.has_prompt_logprobs());
  EXPECT_FALSE(request.has_n());
  EXPECT_THAT(Run({"generate", "x", "--json-schema", "/no/such/file"}).errors, HasSubstr("/no/such/file"));
}

TEST_F(CommandsTest, LogprobsAreATable) {
  server_.SetReply("a\n");
  const ProgramResult result = Run({"generate", "x", "--logprobs", "2"});
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.output, "a\n");
  EXPECT_EQ(result.errors,
            "reply:\n"
            "id  token  logprob          most probable\n"
            "97  \"a\"     -0.693  50.0 %  \"a\" 50.0 %, \"b\" 50.0 %\n"
            "10  \"\\n\"    -0.693  50.0 %  \"\\n\" 50.0 %, \"\" 50.0 %\n");
}

TEST_F(CommandsTest, SeveralRepliesAreNumbered) {
  const ProgramResult result = Run({"generate", "x", "-n", "2"});
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.output, "[0]\necho: x\n[1]\necho: x\n");
  EXPECT_EQ(server_.generate_requests().at(0).n(), 2);
}

TEST_F(CommandsTest, GenerateReadsStandardInputAndAppliesTheTemplate) {
  const ProgramResult result = Run({"generate", "--chat", "--system", "Be brief.", "-"}, "two\nlines\n");
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.output, "echo: two\nlines\n");
  const v1::Messages messages = server_.generate_requests().at(0).prompt().messages();
  ASSERT_EQ(messages.messages_size(), 2);
  EXPECT_EQ(messages.messages(0).role(), "system");
}

TEST_F(CommandsTest, ErrorsAreOneLineWithCodeAndField) {
  server_.FailGenerate({grpc::StatusCode::INVALID_ARGUMENT, "sampling.top_p: must be in (0, 1]"});
  ProgramResult result = Run({"generate", "x"});
  EXPECT_EQ(result.code, 1);
  EXPECT_EQ(result.errors, "cascade: invalid argument: sampling.top_p: must be in (0, 1]\n");
  server_.FailGenerate({grpc::StatusCode::UNAVAILABLE, "the server is draining"});
  result = Run({"generate", "x"});
  EXPECT_EQ(result.code, 69);
  EXPECT_EQ(result.errors, "cascade: unavailable: the server is draining\n");
}

TEST_F(CommandsTest, WhatIsNoUtf8IsNotSent) {
  EXPECT_EQ(Run({"generate", "a\xff"}).code, 64);
  const ProgramResult result = Run({"generate", "-"}, "ab\xff");
  EXPECT_EQ(result.code, 1);
  EXPECT_EQ(result.errors, "cascade: standard input is no valid UTF-8 (at byte 2)\n");
  EXPECT_THAT(server_.generate_requests(), IsEmpty());
}

TEST_F(CommandsTest, TimeoutEndsACall) {
  server_.ReplyForever(true);
  const ProgramResult result = Run({"generate", "x", "--timeout", "0.3"});
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.errors, StartsWith("cascade: deadline exceeded"));
}

TEST(Commands, NoServerIs69) {
  const ProgramResult result = RunProgram({"generate", "x", "--address", "127.0.0.1:1"});
  EXPECT_EQ(result.code, 69);
  EXPECT_THAT(result.errors, StartsWith("cascade: no server answers at 127.0.0.1:1"));
  EXPECT_EQ(RunProgram({"info", "--wait", "0.3", "--address", "127.0.0.1:1"}).code, 69);
}

TEST(Commands, WrongArgumentsAre64InOneLine) {
  const std::vector<std::vector<std::string>> cases = {
      {},
      {"frobnicate"},
      {"generate"},
      {"generate", "x", "--temperature", "warm"},
      {"generate", "x", "--system", "needs --chat"},
      {"generate", "x", "--seed", "-1"},
      {"generate", "x", "--session", ""},
      {"generate", "x", "--logit-bias", "7"},
      {"generate", "x", "--logit-bias", "seven=1"},
      {"generate", "x", "--replies", "0"},
      {"generate", "x", "--json-schema", ""},
      {"generate", "x", "--chat", "--echo"},
      {"chat", "--keep", "--session", "abc"},
      {"chat", "surplus"},
      {"score", "x", "--tokens", "0"},
      {"bench", "--concurrency", "0"},
      {"sessions"},
      {"sessions", "show"},
      {"sessions", "fork"},
      {"sessions", "fork", "x", "--expected-position", "y"},
      {"sessions", "create", "--durability", "tape"},
      {"sessions", "park"},
      {"sessions", "park", ""},
      {"sessions", "park", "x", "--to", "moon"},
      {"sessions", "rewind"},
      {"sessions", "rewind", "x", "--turns", "many"},
      {"sessions", "rewind", "x", "--turns", "1", "--to-turn", "1"},
      {"sessions", "export", "x"},
      {"sessions", "export", "", "file"},
      {"sessions", "export", "x", ""},
      {"sessions", "import"},
      {"sessions", "import", "file", "--durability", "IMAGE"},
      {"inspect"},
      {"info", "--wait", "-1"},
      {"info", "--timeout", "0"},
      {"info", "--timeout", "nan"},
      {"tokenize", "x", "--decode", "--special"},
  };
  for (const auto& arguments : cases) {
    const ProgramResult result = RunProgram(arguments);
    std::string line;
    for (const std::string& argument : arguments) line += argument + " ";
    EXPECT_EQ(result.code, 64) << line;
    EXPECT_THAT(result.errors, AllOf(StartsWith("cascade: "), EndsWith("--help)\n"))) << line;
    EXPECT_EQ(std::count(result.errors.begin(), result.errors.end(), '\n'), 1) << result.errors;
  }
}

TEST(Commands, AnUnknownCommandIsNamed) {
  EXPECT_THAT(RunProgram({"frobnicate"}).errors, HasSubstr("no command or option frobnicate"));
  EXPECT_THAT(RunProgram({"sessions", "frobnicate"}).errors, HasSubstr("frobnicate"));
}

TEST(Commands, HelpAndVersionAreNoErrors) {
  for (const char* argument : {"--help", "--version"}) {
    const ProgramResult result = RunProgram({argument});
    EXPECT_EQ(result.code, 0);
    EXPECT_THAT(result.output, HasSubstr("cascade"));
    EXPECT_EQ(result.errors, "");
  }
  EXPECT_EQ(RunProgram({"chat", "--help"}).code, 0);
}

TEST_F(CommandsTest, ScoreTellsPerplexityAndWritesJson) {
  TemporaryFile file("A text of 24 characters!");
  const std::string json_path = file.path + ".json";
  const ProgramResult result = Run({"score", file.path, "--json", json_path});
  EXPECT_EQ(result.code, 0) << result.errors;
  EXPECT_THAT(result.output, AllOf(HasSubstr("tokens      23\n"), HasSubstr("perplexity  2.000\n")));
  std::stringstream written;
  written << std::ifstream(json_path).rdbuf();
  EXPECT_THAT(written.str(), AllOf(StartsWith("{\"token_ids\": [32,116"), HasSubstr("\"logprobs\": [-0.693147182,"),
                                   EndsWith("\"top_margins\": [0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,"
                                            "0.5,0.5,0.5,0.5,0.5,0.5,\n0.5,0.5,0.5]\n}\n")));
  std::remove(json_path.c_str());
}

TEST_F(CommandsTest, ScoreTakesTheFirstTokensInAKeptSession) {
  const ProgramResult result = Run({"score", "-", "--tokens", "5", "--keep"}, "0123456789");
  EXPECT_EQ(result.code, 0) << result.errors;
  EXPECT_THAT(result.output, AllOf(HasSubstr("tokens      4\n"), HasSubstr("session     session1\n")));
  EXPECT_EQ(server_.score_requests().at(0).prompt().token_ids().ids_size(), 5);
  EXPECT_EQ(server_.session_ids(), std::vector<std::string>{"session1"});
}

TEST_F(CommandsTest, ScoreNamesWhatIsWrongWithAFile) {
  EXPECT_THAT(Run({"score", "/no/such/file"}).errors, HasSubstr("cannot open /no/such/file: No such file"));
  EXPECT_THAT(Run({"score", "/"}).errors, HasSubstr("cannot read /: Is a directory"));
  // The fake server takes 1,000 bytes.
  TemporaryFile file(std::string(1001, 'x'));
  const ProgramResult result = Run({"score", file.path});
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.errors, HasSubstr("--tokens N"));
  EXPECT_EQ(Run({"score", file.path, "--tokens", "10"}).code, 0);
  EXPECT_THAT(Run({"score", file.path, "--tokens", "10", "--json", "/no/such/file"}).errors, HasSubstr("cannot write"));
}

TEST_F(CommandsTest, InspectDraws) {
  server_.AddSession("mine");
  ProgramResult result = Run({"inspect", "mine", "--ascii"});
  EXPECT_EQ(result.code, 0) << result.errors;
  EXPECT_THAT(result.output, AllOf(HasSubstr("average of 2 layers"), HasSubstr("sub-cache 1"), HasSubstr("32 - 38"),
                                   HasSubstr("all          S" + std::string(31, '.') + "#.#.#.#.#####\n")));
  EXPECT_THAT(Run({"inspect", "mine", "--zoom", "--layer", "1"}).output, HasSubstr("all          █·█·█·█·█████\n"));
  EXPECT_EQ(Run({"inspect", "unknown"}).errors, "cascade: not found: no such session\n");
}

TEST_F(CommandsTest, TokenizeThereAndBack) {
  EXPECT_EQ(Run({"tokenize", "a\nb"}).output, "97  \"a\"\n10  \"\\n\"\n98  \"b\"\n");
  EXPECT_EQ(Run({"tokenize", "--ids", "-"}, "ab").output, "97 98\n");
  EXPECT_EQ(Run({"tokenize", "--decode", "[97, 98]"}).output, "ab\n");
  EXPECT_EQ(Run({"tokenize", "--decode", "97 x"}).code, 64);
  EXPECT_EQ(Run({"tokenize", "--decode", "99999999999"}).code, 64);
  EXPECT_EQ(Run({"tokenize", "--decode", "500"}).errors,
            "cascade: invalid argument: token_ids: outside the vocabulary\n");
}

TEST_F(CommandsTest, BenchCountsRequestsAndErrors) {
  ProgramResult result = Run({"bench", "--concurrency", "4", "--requests", "10", "--prompt-tokens", "5"});
  EXPECT_EQ(result.code, 0) << result.errors;
  EXPECT_THAT(result.output, AllOf(HasSubstr("finished    10 in"), HasSubstr("(110)"), HasSubstr("errors      0\n")));
  EXPECT_EQ(server_.generate_requests().size(), 10);
  EXPECT_THAT(server_.session_ids(), IsEmpty());
  server_.FailGenerate({grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full"});
  result = Run({"bench", "--concurrency", "2", "--requests", "3"});
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("errors      3\n"), HasSubstr("3 x resource exhausted: the queue is full")));
  EXPECT_THAT(server_.session_ids(), IsEmpty());
}

TEST_F(CommandsTest, InfoTellsTheModel) {
  EXPECT_THAT(Run({"info"}).output,
              AllOf(HasSubstr("cascade-server 9.9"), HasSubstr("fake-model"), HasSubstr("no data folder")));
  EXPECT_EQ(Run({"info", "--wait", "10"}).code, 0);
}

}  // namespace
}  // namespace cascade::client
