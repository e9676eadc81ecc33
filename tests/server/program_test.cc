// The program itself, over the demo model: exit codes, one clear line, signals.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cascade/v1/cascade.grpc.pb.h"
#include "kernels/cuda_backend.h"
#include "tests/server/server_process.h"

namespace cascade {
namespace {

using testing::HasSubstr;

std::string DemoModel() {
  const char* model = std::getenv("CASCADE_DEMO_MODEL");
  EXPECT_TRUE(model != nullptr && *model != '\0') << "CASCADE_DEMO_MODEL names no file";
  return model == nullptr ? "" : model;
}

// Small caches, so that a test costs little memory.
std::vector<std::string> Flags(std::vector<std::string> more = {}) {
  std::vector<std::string> flags = {
      "--model", DemoModel(), "--port", "0", "--threads", "2", "--cache-tokens", "256", "--cache-memory-bytes",
      "256MiB"};
  flags.insert(flags.end(), more.begin(), more.end());
  return flags;
}

// A port that somebody else listens on.
class TakenPort {
 public:
  TakenPort() : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(socket_, 1), 0);
    getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
  }
  ~TakenPort() { close(socket_); }
  std::string port() const { return std::to_string(port_); }

 private:
  int socket_;
  int port_ = 0;
};

// Its last line begins with the program's name and holds what is wrong.
void ExpectFailure(const std::vector<std::string>& flags, int exit_code, const std::string& names) {
  ServerProcess server(flags);
  EXPECT_EQ(server.Wait(), exit_code) << server.Output();
  std::string output = server.Output();
  ASSERT_FALSE(output.empty());
  EXPECT_EQ(output.back(), '\n');
  output.pop_back();
  const std::string last = output.substr(output.rfind('\n') + 1);
  EXPECT_THAT(last, testing::StartsWith("cascade-server: "));
  EXPECT_THAT(last, HasSubstr(names));
}

TEST(Program, UsageErrorsAre64) {
  ExpectFailure({"--model", "x", "--no-such-flag"}, 64, "--no-such-flag");
  ExpectFailure({}, 64, "--model");
}

TEST(Program, ModelErrorsAre66) {
  ExpectFailure({"--model", "/no/such/file.gguf"}, 66, "--model");
  const std::string name = testing::TempDir() + "not_a_model.gguf";
  std::ofstream(name) << "this is text, not tensors; long enough to hold a header of a model file";
  ExpectFailure({"--model", name}, 66, "not_a_model.gguf");
  std::remove(name.c_str());
}

TEST(Program, PortInUseIs69) {
  const TakenPort taken;
  ExpectFailure(Flags({"--port", taken.port()}), 64, "--port");  // given twice
  std::vector<std::string> flags = Flags();
  *std::find(flags.begin(), flags.end(), "0") = taken.port();
  ExpectFailure(flags, 69, taken.port());
  ExpectFailure(Flags({"--http-port", taken.port()}), 69, "--http-port");
}

TEST(Program, MissingDeviceIs71) {
  if (kernels::CudaDeviceCount() == 0) {
    ExpectFailure(Flags({"--device", "cuda"}), 71, "--device");
  } else {
    ServerProcess server(Flags({"--device", "cuda"}));
    EXPECT_NE(server.WaitUntilReady(), "") << server.Output();
  }
}

TEST(Program, ImpossibleConfigurationIs78) {
  ExpectFailure({"--model", DemoModel(), "--cache-tokens", "1048576"}, 78, "--cache-tokens");
  ExpectFailure({"--model", DemoModel(), "--cache-memory-bytes", "1MiB"}, 78, "--cache-memory-bytes");
  ExpectFailure({"--model", DemoModel(), "--cache-policy", "window", "--sub-caches", "4"}, 78, "--sub-caches");
  ExpectFailure({"--model", DemoModel(), "--max-num-seqs", "0"}, 78, "--max-num-seqs");
  ExpectFailure({"--model", DemoModel(), "--chat-template", "nobody"}, 78, "--chat-template");
  // Before it is looked for the device or the model.
  ExpectFailure({"--model", "x", "--device", "cuda", "--dtype", "int8"}, 78, "bfloat16");
  ExpectFailure({"--model", "x", "--device", "cpu", "--kv-cache-dtype", "bfloat16"}, 78, "float16");
}

// Before it is looked for the device or the model.
TEST(Program, AFolderThatCannotBeUsedIs78) {
  const std::string file = testing::TempDir() + "not_a_folder";
  std::ofstream(file) << "text";
  ExpectFailure({"--model", "x", "--data-dir", file}, 78, "--data-dir");
  ExpectFailure({"--model", "x", "--data-dir", file + "/below"}, 78, "--data-dir");
  ExpectFailure({"--model", "x", "--data-dir", "/no/such/parent"}, 78, "--data-dir");
  ExpectFailure({"--model", "x", "--durability", "journal"}, 78, "--durability");
  ExpectFailure({"--model", "x", "--journal-retain", "images"}, 78, "--journal-retain");
  std::remove(file.c_str());
}

TEST(Program, RaisesItsLimitOfFiles) {
  rlimit limit = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  rlimit low = limit;
  low.rlim_cur = std::min<rlim_t>(256, limit.rlim_max);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  ServerProcess server(Flags());
  setrlimit(RLIMIT_NOFILE, &limit);
  ASSERT_NE(server.WaitUntilReady(), "") << server.Output();
  std::ifstream limits("/proc/" + std::to_string(server.pid()) + "/limits");
  std::string line, soft, hard;
  while (std::getline(limits, line) && line.find("Max open files") == std::string::npos) {
  }
  std::istringstream(line.substr(line.find("files") + 5)) >> soft >> hard;
  EXPECT_EQ(soft, hard) << line;
  EXPECT_EQ(soft, limit.rlim_max == RLIM_INFINITY ? "unlimited" : std::to_string(limit.rlim_max));
}

TEST(Program, ARandomModelSaysThatItsAnswersAreNoise) {
  ServerProcess server({"--model", "random:smollm2-135m:Q8_0", "--device", "cpu", "--port", "0", "--cache-tokens",
                        "256", "--cache-memory-bytes", "256MiB"});
  const std::string address = server.WaitUntilReady();
  ASSERT_NE(address, "") << server.Output();
  EXPECT_THAT(server.Output(), HasSubstr("answers are noise"));
  const auto stub = v1::Cascade::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  v1::GenerateRequest request;
  request.mutable_prompt()->set_text("any");
  request.mutable_stopping()->set_max_tokens(5);
  auto reader = stub->Generate(&context, request);
  v1::GenerateResponse response;
  int tokens = 0;
  while (reader->Read(&response)) tokens += response.token_ids_size();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(tokens, 5);
  ExpectFailure({"--model", "random:llama-3.1-8b", "--device", "cpu", "--cache-memory-bytes", "4GiB"}, 71, "for CUDA");
  ExpectFailure({"--model", "random:nobody"}, 66, "smollm2-135m");
}

TEST(Program, HelpAndVersionAre0) {
  ServerProcess help({"--help"});
  EXPECT_EQ(help.Wait(), 0);
  EXPECT_THAT(help.Output(), HasSubstr("CASCADE_CACHE_TOKENS"));
  ServerProcess version({"--version"});
  EXPECT_EQ(version.Wait(), 0);
}

TEST(Program, ServesAndStopsCleanlyOnASignal) {
  for (const int signal : {SIGTERM, SIGINT}) {
    ServerProcess server(Flags());
    const std::string address = server.WaitUntilReady();
    ASSERT_NE(address, "") << server.Output();
    server.Signal(SIGPIPE);  // as when whoever read its log has gone
    const auto stub = v1::Cascade::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    v1::GenerateRequest request;
    auto* message = request.mutable_prompt()->mutable_messages()->add_messages();
    message->set_role("user");
    message->set_content("What is the capital of France?");
    request.mutable_sampling()->set_temperature(0);
    request.mutable_stopping()->set_max_tokens(20);
    auto reader = stub->Generate(&context, request);
    v1::GenerateResponse response;
    std::string text;
    while (reader->Read(&response)) text += response.text();
    EXPECT_TRUE(reader->Finish().ok());
    EXPECT_THAT(text, HasSubstr("Paris"));
    server.Signal(signal);
    EXPECT_EQ(server.Wait(), 0) << server.Output();
    const std::string output = server.Output();
    for (const char* line : {"model: ", "cache: ", "sessions: ", "ready: ", "draining: ", "stopped"}) {
      EXPECT_THAT(output, HasSubstr(line));
    }
  }
}

TEST(Program, SessionsOutliveTheProcess) {
  const std::string folder = testing::TempDir() + "program_test_sessions_" + std::to_string(getpid());
  std::string id;
  int64_t position = 0;
  uint64_t digest = 0;
  for (const bool again : {false, true}) {
    ServerProcess server(Flags({"--data-dir", folder}));
    const std::string address = server.WaitUntilReady();
    ASSERT_NE(address, "") << server.Output();
    EXPECT_THAT(server.Output(), HasSubstr(again ? "sessions: 1 found in the data folder" : "sessions: 0 found"));
    const auto stub = v1::Cascade::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
    v1::Session session;
    if (again) {
      grpc::ClientContext context;
      v1::GetSessionRequest request;
      request.set_session_id(id);
      ASSERT_TRUE(stub->GetSession(&context, request, &session).ok());
    } else {
      grpc::ClientContext context;
      ASSERT_TRUE(stub->CreateSession(&context, {}, &session).ok());
    }
    id = session.session_id();
    EXPECT_EQ(session.durability(), v1::DURABILITY_JOURNAL);
    EXPECT_EQ(session.position(), position);
    EXPECT_EQ(session.digest(), digest);
    grpc::ClientContext context;
    v1::GenerateRequest request;
    request.set_session_id(id);
    request.set_expected_position(position);
    request.mutable_prompt()->set_text("Once upon a time");
    request.mutable_stopping()->set_max_tokens(5);
    auto reader = stub->Generate(&context, request);
    v1::GenerateResponse response;
    while (reader->Read(&response)) position = response.usage().position();
    EXPECT_TRUE(reader->Finish().ok());
    EXPECT_EQ(response.acknowledgement().turn(), again ? 2 : 1);
    EXPECT_EQ(response.acknowledgement().durability(), v1::DURABILITY_JOURNAL);
    digest = response.acknowledgement().digest();
    server.Signal(SIGTERM);
    EXPECT_EQ(server.Wait(), 0) << server.Output();
    EXPECT_THAT(server.Output(), HasSubstr("draining: 0 turns, 1 sessions; parking takes about "));
    EXPECT_THAT(server.Output(), HasSubstr("1 sessions parked"));
  }
  std::filesystem::remove_all(folder);
}

// A turn that would run for very long.
class BusyServer {
 public:
  explicit BusyServer(const std::string& drain_timeout)
      : server(Flags({"--drain-timeout", drain_timeout})), address_(server.WaitUntilReady()) {
    EXPECT_NE(address_, "") << server.Output();
    stub_ = v1::Cascade::NewStub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
    v1::GenerateRequest request;
    request.mutable_prompt()->set_text("Once upon a time");
    request.mutable_sampling()->set_temperature(2);  // so that an end token is most unlikely
    request.mutable_sampling()->set_seed(1);
    request.mutable_stopping()->set_max_tokens(1'000'000);
    reader = stub_->Generate(&context_, request);
    v1::GenerateResponse response;
    EXPECT_TRUE(reader->Read(&response));
  }

  ServerProcess server;

 private:
  std::string address_;
  std::unique_ptr<v1::Cascade::Stub> stub_;
  grpc::ClientContext context_;

 public:
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader;
};

TEST(Program, ADrainThatTimesOutIs75AndTellsTheClient) {
  BusyServer busy("1");
  busy.server.Signal(SIGTERM);
  v1::GenerateResponse response;
  bool usage = false;
  while (busy.reader->Read(&response)) usage = response.has_usage();
  EXPECT_TRUE(usage);
  EXPECT_EQ(response.finish_reason(), v1::FINISH_REASON_CANCELLED);
  EXPECT_EQ(busy.reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(busy.server.Wait(), 75) << busy.server.Output();
}

TEST(Program, ASecondSignalEndsAtOnce) {
  BusyServer busy("3600");
  busy.server.Signal(SIGTERM);
  while (busy.server.Output().find("draining: ") == std::string::npos) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  busy.server.Signal(SIGTERM);
  EXPECT_EQ(busy.server.Wait(), 75) << busy.server.Output();
}

}  // namespace
}  // namespace cascade
