// The HTTP port over a fake engine.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>

#include "server/http/http_endpoint.h"
#include "tests/server/http/http_client.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/fake_engine.h"

namespace cascade {

class HttpFixture : public testing::Test {
 protected:
  explicit HttpFixture(const HttpLimits& limits = {}) : engine_(Options()) {
    absl::StatusOr<std::unique_ptr<ChatTemplate>> chat_template =
        CreateChatTemplate("chatml", tokenizer_, Clock::Real());
    EXPECT_TRUE(chat_template.ok());
    chat_template_ = *std::move(chat_template);
    Restart(limits);
  }

  void Restart(const HttpLimits& limits) {
    endpoint_.reset();
    auto endpoint = HttpEndpoint::Start(
        {"127.0.0.1", 0, limits}, {engine_, tokenizer_, chat_template_.get(), {"fake", "1.2.3", "fp_1", 4096, 7}});
    ASSERT_TRUE(endpoint.ok()) << endpoint.status();
    endpoint_ = *std::move(endpoint);
  }

  static EngineOptions Options() {
    EngineOptions options;
    options.num_slots = 8;
    options.num_layers = 3;
    options.num_kv_heads = 2;
    options.max_prompt_bytes = 1 << 20;
    options.geometry.sub_cache_tokens = {16, 16};
    options.geometry.stride = 8;
    return options;
  }

  ClientResponse Call(const std::string& method, const std::string& path, const std::string& body = "",
                      const std::string& headers = "") {
    return HttpClient(endpoint_->port()).Call(method, path, body, headers);
  }
  // The `field` of its error.
  static std::string ErrorOf(const ClientResponse& response, const std::string& field) {
    const nlohmann::json json = response.json();
    if (!json.is_object() || !json.contains("error")) return "no error: " + response.body;
    const nlohmann::json value = json["error"][field];
    return value.is_string() ? value.get<std::string>() : value.dump();
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
  std::unique_ptr<HttpEndpoint> endpoint_;
};

}  // namespace cascade
