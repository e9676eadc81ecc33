// A real gRPC server on a real port over a fake engine, and a client's stub.
#pragma once

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>

#include "cascade/v1/cascade.grpc.pb.h"
#include "server/grpc_endpoint.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/fake_engine.h"

namespace cascade {

class EndpointFixture : public testing::Test {
 protected:
  explicit EndpointFixture(bool reflection = true) : engine_(Options()) {
    v1::ServerInfo info;
    info.set_model("fake");
    info.set_max_num_sessions(7);
    absl::StatusOr<std::unique_ptr<ChatTemplate>> chat_template = CreateChatTemplate("chatml", tokenizer_, Clock::Real());
    EXPECT_TRUE(chat_template.ok());
    chat_template_ = *std::move(chat_template);
    auto endpoint =
        GrpcEndpoint::Start({"127.0.0.1", 0, reflection, 2}, Served{engine_, tokenizer_, chat_template_.get(), info});
    EXPECT_TRUE(endpoint.ok()) << endpoint.status();
    endpoint_ = *std::move(endpoint);
    channel_ = grpc::CreateChannel(endpoint_->address(), grpc::InsecureChannelCredentials());
    stub_ = v1::Cascade::NewStub(channel_);
  }

  static EngineOptions Options() {
    EngineOptions options;
    options.num_slots = 8;
    options.num_layers = 3;
    options.num_kv_heads = 2;
    options.max_prompt_bytes = 1 << 20;
    options.geometry.sub_cache_tokens = {16, 16};
    return options;
  }

  static v1::GenerateRequest TextRequest(const std::string& text) {
    v1::GenerateRequest request;
    request.mutable_prompt()->set_text(text);
    return request;
  }

  // Waits until `condition` holds; a failure after ten seconds.
  template <class Condition>
  static void WaitUntil(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  FakeEngine engine_;
  ByteTokenizer tokenizer_;
  std::unique_ptr<ChatTemplate> chat_template_;
  std::unique_ptr<GrpcEndpoint> endpoint_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Cascade::Stub> stub_;
};

}  // namespace cascade
