#include "tests/end_to_end/durable_chats.h"

#include <algorithm>
#include <filesystem>
#include <random>

#include "engine/base/token_digest.h"

namespace cascade::test {
namespace {

constexpr int kEndless = 1 << 30;  // tokens

bool IsRefusal(const grpc::Status& status) {
  return status.error_code() == grpc::UNAVAILABLE && status.error_message().find("draining") != std::string::npos;
}

}  // namespace

std::vector<Chat> MakeChats(client::Client& client, int count) {
  std::vector<Chat> chats(static_cast<size_t>(count));
  for (Chat& chat : chats) {
    v1::Session session;
    const grpc::Status status = client.CreateSession({}, &session);
    EXPECT_TRUE(status.ok()) << status.error_message();
    chat.id = session.session_id();
  }
  return chats;
}

void Talk(const TalkOptions& options, Chat& chat, const std::atomic<bool>& stop) {
  std::mt19937_64 random(options.seed);
  client::Client client({.address = options.address});
  while (!stop.load()) {
    chat.asked.clear();
    for (uint64_t i = 1 + random() % 60; i > 0; --i) chat.asked.push_back(3 + static_cast<int32_t>(random() % 250));
    const auto count = static_cast<int>(random() % static_cast<uint64_t>(options.max_reply + 1));
    v1::GenerateRequest request = GreedyTurn(chat.id, chat.asked, options.endless ? kEndless : count);
    request.mutable_stopping()->set_ignore_eos(options.endless);
    request.set_expected_position(static_cast<int64_t>(chat.ids.size()));
    const Reply reply = Generate(client, request);
    chat.end = reply.status;
    if (reply.last.has_acknowledgement()) {
      chat.ids.insert(chat.ids.end(), chat.asked.begin(), chat.asked.end());
      chat.ids.insert(chat.ids.end(), reply.ids.begin(), reply.ids.end());
      const auto position = static_cast<size_t>(reply.last.usage().session_tokens_seen());
      // One that was cut may have read a part of its prompt only.
      EXPECT_TRUE(position == chat.ids.size() ||
                  (position < chat.ids.size() && reply.ids.empty() && !reply.status.ok()))
          << "position " << position << " after " << chat.ids.size() << " tokens";
      chat.ids.resize(std::min(position, chat.ids.size()));
      chat.asked.clear();
      ++chat.acknowledged;
      chat.cut += reply.status.ok() ? 0 : 1;
      EXPECT_EQ(reply.last.acknowledgement().digest(), ExtendTokenDigest(0, chat.ids));
    }
    if (IsRefusal(reply.status)) options.on_refused();
    if (!reply.status.ok()) return;
  }
}

void ExpectAsKnown(client::Client& client, Chat& chat, Unseen unseen) {
  v1::Session session;
  const grpc::Status status = client.GetSession(chat.id, &session);
  ASSERT_TRUE(status.ok()) << status.error_message();
  const auto position = static_cast<size_t>(session.position());
  const size_t read = chat.ids.size() + chat.asked.size();
  ASSERT_GE(position, chat.ids.size()) << "an acknowledged turn is lost";
  if (position > chat.ids.size()) {
    ASSERT_NE(unseen, Unseen::kNone) << "a turn is there that ended without an acknowledgement: "
                                     << chat.end.error_message();
    ASSERT_TRUE(position >= read || unseen == Unseen::kCut) << "half of a turn";
    chat.ids.insert(chat.ids.end(), chat.asked.begin(), chat.asked.end());
    // Its acknowledgement did not arrive, but its ids are kept.
    v1::ResumeTurnRequest request;
    request.set_session_id(chat.id);
    auto stream = client.ResumeTurn(request);
    v1::GenerateResponse response;
    while (stream->Next(&response)) {
      chat.ids.insert(chat.ids.end(), response.token_ids().begin(), response.token_ids().end());
    }
    const grpc::Status ended = stream->Finish();
    ASSERT_TRUE(ended.ok() || (unseen == Unseen::kCut && ended.error_code() == grpc::CANCELLED))
        << ended.error_message();
    if (position < read) chat.ids.resize(position);
  }
  ASSERT_EQ(position, chat.ids.size());
  ASSERT_EQ(session.digest(), ExtendTokenDigest(0, chat.ids));
  chat.asked.clear();
}

void ExpectSameNext(client::Client& client, Chat& chat) {
  if (chat.ids.empty()) return;
  const Reply alone = Generate(client, GreedyTurn("", chat.ids, 8)),
              next = Generate(client, GreedyTurn(chat.id, {}, 8));
  ASSERT_TRUE(alone.status.ok() && next.status.ok()) << alone.status.error_message() << next.status.error_message();
  ASSERT_EQ(next.ids, alone.ids);
  chat.ids.insert(chat.ids.end(), next.ids.begin(), next.ids.end());
}

DurableServer::DurableServer(const std::string& name)
    : folder_(::testing::TempDir() + name + "-" + std::to_string(getpid())), model_(folder_ + ".gguf") {
  std::filesystem::remove_all(folder_);
  WriteTinyModel(model_);
}

DurableServer::~DurableServer() {
  process_.reset();
  std::filesystem::remove_all(folder_);
  std::filesystem::remove(model_);
}

void DurableServer::Start(const std::vector<std::string>& flags) {
  std::vector<std::string> all = {
      "--model", model_,       "--port", "0", "--threads", "1", "--cache-tokens", "128", "--cache-memory-bytes",
      "2MiB",    "--data-dir", folder_};
  all.insert(all.end(), flags.begin(), flags.end());
  process_ = std::make_unique<ServerProcess>(all);
  address_ = process_->WaitUntilReady();
  ASSERT_NE(address_, "") << process_->Output();
  client_ = std::make_unique<client::Client>(client::ClientOptions{.address = address_});
}

void DurableServer::ExpectNoOrphans(const std::vector<Chat>& chats) const {
  int servers = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    const std::string name = entry.path().filename(), kind = entry.path().extension();
    if (name == "seal.key") continue;
    servers += kind == ".server" ? 1 : 0;
    const bool of_session = kind == ".journal" || kind == ".image";
    const bool known = std::ranges::any_of(chats, [&](const Chat& chat) { return name.starts_with(chat.id); });
    EXPECT_TRUE(kind == ".server" || (of_session && known)) << name;
  }
  EXPECT_EQ(servers, 1);
}

}  // namespace cascade::test
