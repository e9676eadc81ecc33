// cascade-server over a tiny random model, and a client of it.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "client/client.h"
#include "tests/server/server_process.h"
#include "tests/support/tiny_model.h"

namespace cascade::test {

class TinyServer {
 public:
  explicit TinyServer(std::vector<std::string> flags = {}) {
    static int count = 0;
    path_ = (std::filesystem::temp_directory_path() /
             ("cascade_tiny_" + std::to_string(getpid()) + "_" + std::to_string(count++) + ".gguf"))
                .string();
    WriteTinyModel(path_);
    for (const char* flag : {"--port", "0", "--threads", "2", "--cache-tokens", "128", "--cache-memory-bytes", "64MiB", "--model"}) {
      flags.push_back(flag);
    }
    flags.push_back(path_);
    process_ = std::make_unique<ServerProcess>(flags);
    const std::string address = process_->WaitUntilReady();
    EXPECT_NE(address, "") << process_->Output();
    client_ = std::make_unique<client::Client>(client::ClientOptions{.address = address});
  }
  ~TinyServer() {
    process_->Signal(SIGTERM);
    EXPECT_EQ(process_->Wait(), 0) << process_->Output();
    std::filesystem::remove(path_);
  }

  client::Client& client() { return *client_; }

 private:
  std::string path_;
  std::unique_ptr<ServerProcess> process_;
  std::unique_ptr<client::Client> client_;
};

// A greedy turn of `count` tokens after `ids`.
inline v1::GenerateRequest GreedyTurn(const std::string& session, const std::vector<int32_t>& ids, int count) {
  v1::GenerateRequest request;
  request.set_session_id(session);
  request.mutable_prompt()->mutable_token_ids();
  for (const int32_t id : ids) request.mutable_prompt()->mutable_token_ids()->add_ids(id);
  request.mutable_sampling()->set_temperature(0);
  request.mutable_stopping()->set_max_tokens(count);
  return request;
}

struct Reply {
  std::vector<int32_t> ids;
  std::string text;
  v1::GenerateResponse last;
  grpc::Status status;
};

inline Reply Generate(client::Client& client, const v1::GenerateRequest& request) {
  Reply reply;
  auto stream = client.Generate(request);
  v1::GenerateResponse response;
  while (stream->Next(&response)) {
    reply.ids.insert(reply.ids.end(), response.token_ids().begin(), response.token_ids().end());
    reply.text += response.text();
    reply.last = response;
  }
  reply.status = stream->Finish();
  return reply;
}

}  // namespace cascade::test
