// The server on a CUDA device, which is emulated: turns, what it says of itself, devices that are not there, too old or
// too small, and one that breaks while it serves.
#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/sync_stream.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "tests/end_to_end/sampling_checks.h"
#include "tests/end_to_end/tiny_server.h"

namespace cascade::test {
namespace {

using testing::HasSubstr;
using testing::Not;

// Few sizes of steps to record: the emulated device is slow.
std::vector<std::string> CudaFlags(std::vector<std::string> more = {}) {
  // Nothing is parked, so that what is free tells which slots are in use.
  std::vector<std::string> flags = {
      "--device",           "cuda", "--max-num-seqs", "3", "--max-num-batched-tokens", "32", "--deterministic",
      "--host-cache-bytes", "0"};
  flags.insert(flags.end(), more.begin(), more.end());
  return flags;
}

// The device that servers started meanwhile have.
class Device {
 public:
  Device(const char* name, const std::string& value) : name_(name) { setenv(name, value.c_str(), 1); }
  ~Device() { unsetenv(name_); }

 private:
  const char* name_;
};

std::vector<int32_t> PromptIds(int session) {
  std::vector<int32_t> ids;
  for (int i = 0; i < 40; ++i) ids.push_back(3 + (session * 31 + i * 11) % 250);
  return ids;
}

// Two turns of a session: ids of both replies.
std::vector<int32_t> Chat(client::Client& client, int number) {
  v1::Session session;
  EXPECT_TRUE(client.CreateSession({}, &session).ok());
  std::vector<int32_t> said;
  int64_t position = 0;
  for (int turn = 0; turn < 2; ++turn) {
    const Reply reply = Generate(client, GreedyTurn(session.session_id(), PromptIds(number + turn), 12));
    EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
    EXPECT_GT(reply.ids.size(), 0u);
    position += 40 + static_cast<int64_t>(reply.ids.size());
    EXPECT_EQ(reply.last.usage().position(), position);
    said.insert(said.end(), reply.ids.begin(), reply.ids.end());
  }
  EXPECT_TRUE(client.DeleteSession(session.session_id()).ok());
  return said;
}

TEST(CudaServer, SessionsSayTogetherWhatTheySayAlone) {
  TinyServer server(CudaFlags());
  v1::ServerInfo info;
  ASSERT_TRUE(server.client().GetServerInfo(&info).ok());
  EXPECT_THAT(info.device(), HasSubstr("CUDA"));
  EXPECT_EQ(info.dtype(), "bfloat16");
  EXPECT_EQ(info.kv_cache_dtype(), "bfloat16");
  EXPECT_EQ(info.max_num_seqs(), 3);
  EXPECT_EQ(info.max_num_batched_tokens(), 32);
  // What --cache-memory-bytes of TinyServer leaves, one for one-shot requests.
  EXPECT_EQ(info.max_num_sessions(), std::min<int64_t>(1024, (64 << 20) / info.session_bytes() - 1));
  EXPECT_EQ(info.sessions_free(), info.max_num_sessions());

  std::vector<std::vector<int32_t>> together(4);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] { together[static_cast<size_t>(i)] = Chat(server.client(), i); });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(together[static_cast<size_t>(i)], Chat(server.client(), i)) << "session " << i;
}

// Steps that the host reads logits of are recorded like the others.
TEST(CudaServer, TurnsThatTheHostSamplesFor) {
  TinyServer server(CudaFlags());
  CheckHostAgainstDevice(server.client());
  CheckLogprobsAgainstScore(server.client());
}

class Program : public testing::Test {
 protected:
  Program() : path_(testing::TempDir() + "cascade_cuda_" + std::to_string(getpid()) + ".gguf") {
    WriteTinyModel(path_);
  }
  ~Program() override { std::filesystem::remove(path_); }

  std::vector<std::string> Flags(std::vector<std::string> flags) const {
    for (const std::string& flag : {std::string("--model"), path_, std::string("--port"), std::string("0"),
                                    std::string("--cache-tokens"), std::string("128")}) {
      flags.push_back(flag);
    }
    return flags;
  }

  void ExpectFailure(const std::vector<std::string>& flags, int exit_code, const std::vector<std::string>& says) {
    ServerProcess server(Flags(flags));
    EXPECT_EQ(server.Wait(), exit_code) << server.Output();
    std::string output = server.Output();
    ASSERT_FALSE(output.empty());
    output.pop_back();
    const std::string last = output.substr(output.rfind('\n') + 1);
    EXPECT_THAT(last, testing::StartsWith("cascade-server: "));
    for (const std::string& text : says) EXPECT_THAT(last, HasSubstr(text));
  }

  const std::string path_;
};

TEST_F(Program, NoDevice) {
  const Device none("CASCADE_EMULATED_DEVICES", "0");
  ExpectFailure({"--device", "cuda"}, 71, {"--device cuda", "no CUDA device"});
  ExpectFailure({"--dtype", "bfloat16"}, 78, {"--dtype", "int16"});
  ServerProcess server(Flags({"--cache-memory-bytes", "64MiB"}));
  EXPECT_NE(server.WaitUntilReady(), "") << server.Output();
  EXPECT_THAT(server.Output(), HasSubstr("--device auto: CPU; no CUDA device"));
  EXPECT_THAT(server.Output(), HasSubstr("device: CPU"));
}

TEST_F(Program, ADeviceThatIsTooOld) {
  const Device old("CASCADE_EMULATED_MAJOR", "7");
  ExpectFailure({"--device", "cuda"}, 71, {"--device cuda", "compute capability 7"});
}

TEST_F(Program, ADeviceThatIsTooSmall) {
  ExpectFailure(CudaFlags({"--gpu-memory-utilization", "0.01"}), 71,
                {"too small", "--gpu-memory-utilization 0.01", "MiB", "--cache-tokens"});
  ExpectFailure(CudaFlags({"--cache-memory-bytes", "1000"}), 78, {"--cache-memory-bytes"});
}

TEST_F(Program, ADeviceWithoutPredictedScores) {
  ExpectFailure({"--device", "cuda", "--score-kernel", "fast"}, 78,
                {"--score-kernel fast", "compute capability 9.0", "auto"});
}

TEST_F(Program, AutoTakesTheDeviceAndItsTypes) {
  ExpectFailure({"--dtype", "int16"}, 78, {"--dtype", "bfloat16"});
  ServerProcess server(Flags({"--max-num-seqs", "1", "--max-num-sessions", "5"}));
  EXPECT_NE(server.WaitUntilReady(), "") << server.Output();
  EXPECT_THAT(server.Output(), HasSubstr("device: CUDA"));
  EXPECT_THAT(server.Output(), HasSubstr("sessions: 5 fit"));
  EXPECT_THAT(server.Output(), Not(HasSubstr("--device auto")));
}

// A client of the health service, which has no generated code here.
class HealthWatch {
 public:
  HealthWatch(const std::string& address, const std::string& service)
      : channel_(grpc::CreateChannel(address, grpc::InsecureChannelCredentials())) {
    const grpc::Slice slice(std::string("\x0A") + static_cast<char>(service.size()) + service);
    const grpc::internal::RpcMethod method("/grpc.health.v1.Health/Watch", grpc::internal::RpcMethod::SERVER_STREAMING);
    reader_.reset(grpc::internal::ClientReaderFactory<grpc::ByteBuffer>::Create(channel_.get(), method, &context_,
                                                                                grpc::ByteBuffer(&slice, 1)));
  }
  // The next state: 1 SERVING, 2 NOT_SERVING; -1: the connection is gone.
  int Next() {
    grpc::ByteBuffer buffer;
    grpc::Slice slice;
    if (!reader_->Read(&buffer) || !buffer.DumpToSingleSlice(&slice).ok() || slice.size() != 2) return -1;
    return slice.begin()[1];
  }

 private:
  std::shared_ptr<grpc::Channel> channel_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<grpc::ByteBuffer>> reader_;
};

TEST_F(Program, ADeviceThatBreaksEndsTurnsHealthAndProcess) {
  ServerProcess server(Flags(CudaFlags()));
  const std::string address = server.WaitUntilReady();
  ASSERT_NE(address, "") << server.Output();
  HealthWatch readiness(address, "readiness"), liveness(address, "liveness"), whole(address, "");
  for (HealthWatch* watch : {&readiness, &liveness, &whole}) EXPECT_EQ(watch->Next(), 1);

  client::Client client({.address = address});
  v1::ServerInfo info;
  ASSERT_TRUE(client.GetServerInfo(&info).ok());
  const int free = info.sessions_free();
  // Prompts that take minutes; two of them wait for a seat.
  std::vector<std::unique_ptr<client::GenerateStream>> streams;
  for (int i = 0; i < 5; ++i) {
    streams.push_back(client.Generate(GreedyTurn("", std::vector<int32_t>(200'000, 40 + i), 1)));
  }
  while (info.sessions_free() > free - 3) ASSERT_TRUE(client.GetServerInfo(&info).ok());
  const auto broken = std::chrono::steady_clock::now();
  server.Signal(SIGUSR1);
  for (HealthWatch* watch : {&readiness, &liveness, &whole}) EXPECT_EQ(watch->Next(), 2);
  EXPECT_LT(std::chrono::steady_clock::now() - broken, std::chrono::seconds(1));
  for (const auto& stream : streams) {
    const grpc::Status status = stream->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
  }
  EXPECT_EQ(server.Wait(), 70) << server.Output();
  EXPECT_LT(std::chrono::steady_clock::now() - broken, std::chrono::seconds(5));
  EXPECT_THAT(server.Output(), HasSubstr("the device has failed"));
}

TEST_F(Program, ADeviceThatBreaksDuringADrain) {
  ServerProcess server(Flags(CudaFlags()));
  const std::string address = server.WaitUntilReady();
  ASSERT_NE(address, "") << server.Output();
  client::Client client({.address = address});
  v1::ServerInfo info;
  ASSERT_TRUE(client.GetServerInfo(&info).ok());
  const int free = info.sessions_free();
  const auto stream = client.Generate(GreedyTurn("", std::vector<int32_t>(200'000, 40), 1));
  while (info.sessions_free() == free) ASSERT_TRUE(client.GetServerInfo(&info).ok());
  server.Signal(SIGTERM);
  while (server.Output().find("draining") == std::string::npos)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  server.Signal(SIGUSR1);
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(server.Wait(), 70) << server.Output();
  EXPECT_THAT(server.Output(), Not(HasSubstr("stopped")));
}

// Nobody's turn fails, and still the process must end.
TEST_F(Program, ADeviceThatBreaksUnderAnInspection) {
  ServerProcess server(Flags(CudaFlags()));
  const std::string address = server.WaitUntilReady();
  ASSERT_NE(address, "") << server.Output();
  client::Client client({.address = address});
  v1::Session session;
  ASSERT_TRUE(client.CreateSession({}, &session).ok());
  ASSERT_TRUE(Generate(client, GreedyTurn(session.session_id(), PromptIds(0), 2)).status.ok());
  server.Signal(SIGUSR1);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // the signal's thread breaks it soon
  v1::InspectSessionRequest request;
  request.set_session_id(session.session_id());
  const grpc::Status status = client.InspectSession(request)->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
  EXPECT_EQ(server.Wait(), 70) << server.Output();
}

TEST_F(Program, ASignalDuringTheStartEndsIt) {
  // Fifteen sizes of steps to record.
  ServerProcess server(Flags({"--device", "cuda", "--max-num-seqs", "24", "--max-num-batched-tokens", "32"}));
  while (server.Output().find("chat template") == std::string::npos) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  server.Signal(SIGTERM);
  EXPECT_EQ(server.Wait(), 0);
  EXPECT_THAT(server.Output(), HasSubstr("stopped during the start"));
  EXPECT_THAT(server.Output(), Not(HasSubstr("ready")));
}

}  // namespace
}  // namespace cascade::test
