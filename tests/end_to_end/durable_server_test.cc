// The demo model in a real server on a real folder: sessions that are parked, forked, rewound, exported and imported,
// and whose server ends by SIGTERM and by SIGKILL, in the middle of turns too. Each turn's ids are those of a one-shot
// call with all of the session's ids to another server, which is never restarted.
//
// CASCADE_DURABLE_TURNS: how many turns are compared, 40 if not said.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/token_digest.h"
#include "tests/end_to_end/tiny_server.h"

namespace cascade::test {
namespace {

constexpr int kVocabulary = 49152;
constexpr int kControlTokens = 17;  // at the begin of the vocabulary

struct Chat {
  std::string id;
  std::vector<int32_t> ids;
  std::vector<size_t> turns;  // tokens at each one's begin
  bool moved = false;         // its journal does not go back to its begin
};

struct Counts {
  int turns = 0, greedy = 0, tokens = 0, parks = 0, forks = 0, rewinds = 0, transfers = 0, terminations = 0, kills = 0;
};

class DurableServerTest : public ::testing::Test {
 protected:
  DurableServerTest() : folder_(::testing::TempDir() + "durable-server-" + std::to_string(getpid())) {
    std::filesystem::remove_all(folder_);
    const char* model = std::getenv("CASCADE_DEMO_MODEL");
    EXPECT_TRUE(model != nullptr && *model != '\0') << "CASCADE_DEMO_MODEL names no file";
    model_ = model == nullptr ? "" : model;
  }
  ~DurableServerTest() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  // A small cache, so that short conversations fill it; room for three sessions, so that the others are parked.
  std::unique_ptr<ServerProcess> Serve(std::vector<std::string> flags, std::unique_ptr<client::Client>& client) {
    for (const char* flag : {"--port", "0", "--threads", "1", "--cache-tokens", "64", "--stride", "16",
                             "--cache-memory-bytes", "16MiB", "--model"}) {
      flags.push_back(flag);
    }
    flags.push_back(model_);
    auto process = std::make_unique<ServerProcess>(flags);
    const std::string address = process->WaitUntilReady();
    EXPECT_NE(address, "") << process->Output();
    client = std::make_unique<client::Client>(client::ClientOptions{.address = address});
    return process;
  }
  void Start() { server_ = Serve({"--data-dir", folder_, "--host-cache-bytes", "8MiB"}, client_); }

  int Draw(int below) { return static_cast<int>(random_() % static_cast<uint64_t>(below)); }

  v1::GenerateRequest RandomTurn(const Chat& chat) {
    std::vector<int32_t> prompt(static_cast<size_t>(chat.ids.empty() ? 1 + Draw(30) : Draw(30)));
    for (int32_t& id : prompt) id = kControlTokens + Draw(kVocabulary - kControlTokens);
    v1::GenerateRequest request = GreedyTurn(chat.id, prompt, 1 + Draw(8));
    request.set_expected_position(static_cast<int64_t>(chat.ids.size()));
    if (Draw(2) == 0) request.mutable_sampling()->set_temperature(0.8f);
    request.mutable_sampling()->set_seed(random_());
    if (Draw(6) == 0) request.set_durability(v1::DURABILITY_IMAGE);
    return request;
  }
  static std::vector<int32_t> PromptOf(const v1::GenerateRequest& request) {
    return {request.prompt().token_ids().ids().begin(), request.prompt().token_ids().ids().end()};
  }
  static void Append(Chat& chat, const std::vector<int32_t>& prompt, const std::vector<int32_t>& reply) {
    chat.turns.push_back(chat.ids.size());
    chat.ids.insert(chat.ids.end(), prompt.begin(), prompt.end());
    chat.ids.insert(chat.ids.end(), reply.begin(), reply.end());
  }

  Reply Expected(const Chat& chat, const v1::GenerateRequest& request) {
    std::vector<int32_t> all = chat.ids;
    const std::vector<int32_t> prompt = PromptOf(request);
    all.insert(all.end(), prompt.begin(), prompt.end());
    v1::GenerateRequest alone = GreedyTurn("", all, request.stopping().max_tokens());
    *alone.mutable_sampling() = request.sampling();
    return Generate(*reference_client_, alone);
  }

  void Turn(Chat& chat, const v1::GenerateRequest& request) {
    Reply expected;
    std::thread other([&] { expected = Expected(chat, request); });
    const Reply reply = Generate(*client_, request);
    other.join();
    ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
    ASSERT_TRUE(expected.status.ok()) << expected.status.error_message();
    ASSERT_FALSE(expected.ids.empty());
    ASSERT_EQ(reply.ids, expected.ids) << "a session of " << chat.ids.size() << " tokens";
    Append(chat, PromptOf(request), reply.ids);
    ASSERT_EQ(reply.last.acknowledgement().digest(), ExtendTokenDigest(0, chat.ids));
    ASSERT_EQ(reply.last.acknowledgement().turn(), static_cast<int64_t>(chat.turns.size()));
  }

  // Turns of some sessions at once.
  void Turns() {
    std::shuffle(chats_.begin(), chats_.end(), random_);
    std::vector<v1::GenerateRequest> requests;
    for (int i = 1 + Draw(3); i > 0; --i) requests.push_back(RandomTurn(chats_[requests.size()]));
    std::vector<std::thread> threads;
    for (size_t i = 0; i < requests.size(); ++i) {
      threads.emplace_back([&, i] { Turn(chats_[i], requests[i]); });
    }
    for (std::thread& thread : threads) thread.join();
    for (size_t i = 0; i < requests.size() && !HasFatalFailure(); ++i) {
      ++counts_.turns;
      counts_.greedy += requests[i].sampling().temperature() == 0 ? 1 : 0;
      counts_.tokens += static_cast<int>(chats_[i].ids.size() - chats_[i].turns.back());
    }
  }

  void ExpectAsKnown(const Chat& chat) {
    v1::Session session;
    const grpc::Status status = client_->GetSession(chat.id, &session);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_EQ(session.position(), static_cast<int64_t>(chat.ids.size()));
    ASSERT_EQ(session.digest(), ExtendTokenDigest(0, chat.ids));
    ASSERT_EQ(session.turns(), static_cast<int64_t>(chat.turns.size()));
  }

  void Park(Chat& chat) {
    v1::ParkSessionRequest request;
    request.set_session_id(chat.id);
    if (Draw(2) == 0) request.set_target(Draw(2) == 0 ? v1::PARK_TARGET_HOST : v1::PARK_TARGET_DISK);
    v1::Session session;
    const grpc::Status status = client_->ParkSession(request, &session);
    if (request.target() == v1::PARK_TARGET_HOST && status.error_code() == grpc::RESOURCE_EXHAUSTED) return;  // full
    ASSERT_TRUE(status.ok()) << status.error_message();
    ++counts_.parks;
  }

  // The session goes on under another id.
  void Become(Chat& chat, const std::string& id) {
    ASSERT_TRUE(client_->DeleteSession(chat.id).ok());
    chat.id = id;
    chat.turns.clear();
  }

  void Fork(Chat& chat) {
    v1::ForkSessionRequest request;
    request.set_session_id(chat.id);
    v1::Session session;
    const grpc::Status status = client_->ForkSession(request, &session);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ++counts_.forks;
    Become(chat, session.session_id());
  }

  void Rewind(Chat& chat) {
    if (chat.turns.empty()) return;
    v1::RewindSessionRequest request;
    request.set_session_id(chat.id);
    request.set_take_back(1 + Draw(static_cast<int>(chat.turns.size())));
    request.set_allow_replay(true);
    v1::Session session;
    const grpc::Status status = client_->RewindSession(request, &session);
    // Older than what is kept, and its ids are not all here: it says so, and nothing changes.
    if (chat.moved && status.error_code() == grpc::FAILED_PRECONDITION) return ExpectAsKnown(chat);
    ASSERT_TRUE(status.ok()) << status.error_message();
    for (int64_t i = request.take_back(); i > 0; --i) {
      chat.ids.resize(chat.turns.back());
      chat.turns.pop_back();
    }
    ++counts_.rewinds;
  }

  void Move(Chat& chat) {
    if (chat.ids.empty()) return;
    v1::ExportSessionRequest request;
    request.set_session_id(chat.id);
    request.set_with_history(!chat.moved && Draw(2) == 0);
    auto out = client_->ExportSession(request);
    auto in = client_->ImportSession({});
    v1::ExportSessionResponse piece;
    while (out->Next(&piece)) in->Send(piece.data());
    ASSERT_TRUE(out->Finish().ok());
    v1::Session session;
    const grpc::Status status = in->Finish(&session);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ++counts_.transfers;
    chat.moved = true;
    Become(chat, session.session_id());
    // What was before came along as one turn, which cannot be taken back: a fork begins with none.
    v1::ForkSessionRequest fork;
    fork.set_session_id(chat.id);
    ASSERT_TRUE(client_->ForkSession(fork, &session).ok());
    Become(chat, session.session_id());
  }

  void Terminate() {
    server_->Signal(SIGTERM);
    ASSERT_EQ(server_->Wait(), 0) << server_->Output();
    ++counts_.terminations;
    Start();
  }

  // While a session has a turn: afterwards it is there wholly or not at all.
  void Kill() {
    Chat& chat = chats_[static_cast<size_t>(Draw(static_cast<int>(chats_.size())))];
    const v1::GenerateRequest request = RandomTurn(chat);
    auto stream = client_->Generate(request);
    v1::GenerateResponse response;
    if (Draw(2) == 0) stream->Next(&response);
    server_->Signal(SIGKILL);
    server_->Wait();
    stream->Finish();
    ++counts_.kills;
    Start();
    v1::Session session;
    const grpc::Status status = client_->GetSession(chat.id, &session);
    ASSERT_TRUE(status.ok()) << status.error_message();
    if (session.position() == static_cast<int64_t>(chat.ids.size())) return;
    v1::ResumeTurnRequest resume;
    resume.set_session_id(chat.id);
    auto rest = client_->ResumeTurn(resume);
    std::vector<int32_t> reply;
    while (rest->Next(&response)) reply.insert(reply.end(), response.token_ids().begin(), response.token_ids().end());
    ASSERT_TRUE(rest->Finish().ok());
    ASSERT_EQ(reply, Expected(chat, request).ids);
    Append(chat, PromptOf(request), reply);
  }

  void Step() {
    Chat& chat = chats_[static_cast<size_t>(Draw(static_cast<int>(chats_.size())))];
    const int kind = Draw(90);
    SCOPED_TRACE(::testing::Message() << "kind " << kind << ", session of " << chat.ids.size() << " tokens");
    if (kind < 50) return Turns();
    if (kind < 62) return Park(chat);
    if (kind < 70) return Fork(chat);
    if (kind < 82) return Rewind(chat);
    Move(chat);
  }

  void Restart(bool by_kill) {
    by_kill ? Kill() : Terminate();
    for (const Chat& chat : chats_) {
      if (!HasFailure()) ExpectAsKnown(chat);
    }
  }

  const std::string folder_;
  std::string model_;
  std::mt19937_64 random_{20};
  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<client::Client> client_, reference_client_;
  std::vector<Chat> chats_;
  Counts counts_;
};

TEST_F(DurableServerTest, SessionsGoOnAsIfNothingHadBeen) {
  const char* text = std::getenv("CASCADE_DURABLE_TURNS");
  const int wanted = text == nullptr ? 40 : std::atoi(text);
  const auto reference = Serve({}, reference_client_);
  Start();
  ASSERT_FALSE(HasFailure());
  for (int i = 0; i < std::clamp(wanted / 8, 4, 36); ++i) {
    v1::Session session;
    ASSERT_TRUE(client_->CreateSession({}, &session).ok());
    chats_.push_back({session.session_id(), {}, {}, false});
  }
  for (int i = 0; counts_.turns < wanted && !HasFailure(); ++i) {
    SCOPED_TRACE(i);
    i % 10 == 9 ? Restart(i % 20 == 9) : Step();
  }
  for (const bool by_kill : {false, true}) {
    if (!HasFailure()) Restart(by_kill);
    if (!HasFailure()) Turns();
  }
  std::printf(
      "turns %d (greedy %d, seeded %d), tokens %d, sessions %zu, parks %d, forks %d, rewinds %d, transfers %d, "
      "SIGTERM %d, SIGKILL %d\n",
      counts_.turns, counts_.greedy, counts_.turns - counts_.greedy, counts_.tokens, chats_.size(), counts_.parks,
      counts_.forks, counts_.rewinds, counts_.transfers, counts_.terminations, counts_.kills);
  EXPECT_GE(counts_.turns, wanted);
  EXPECT_GE(counts_.greedy, wanted / 4);
  EXPECT_GE(counts_.turns - counts_.greedy, wanted / 4);
  EXPECT_GE(counts_.parks + counts_.forks + counts_.rewinds + counts_.transfers, wanted / 8);
  EXPECT_GE(counts_.terminations, 1 + wanted / 60);
  EXPECT_GE(counts_.kills, 1 + wanted / 60);
}

}  // namespace
}  // namespace cascade::test
