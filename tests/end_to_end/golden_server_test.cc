// The demo model behind a running server against the known-good answers: Score, InspectSession, Generate.
#include <gtest/gtest.h>

#include <cstdlib>

#include "client/client.h"
#include "tests/server/server_process.h"
#include "tests/support/golden_checks.h"

namespace cascade::test {
namespace {

std::string DemoModel() {
  const char* model = std::getenv("CASCADE_DEMO_MODEL");
  EXPECT_TRUE(model != nullptr && *model != '\0') << "CASCADE_DEMO_MODEL names no file";
  return model == nullptr ? "" : model;
}

// The device's name comes with the flags of all servers (tests/server/server_process.h).
bool OnCuda() {
  const char* flags = std::getenv("CASCADE_TEST_SERVER_FLAGS");
  return flags != nullptr && std::string(flags).find("cuda") != std::string::npos;
}

class GoldenServerTest : public ::testing::TestWithParam<const char*> {
 protected:
  GoldenTolerance Tolerance() const {
    const std::string dtype = GetParam();
    if (OnCuda()) return Bf16Tolerance();
    return dtype == "float32" ? Float32Tolerance() : dtype == "int8" ? Int8Tolerance() : Half16Tolerance();
  }

  void Serve(std::vector<std::string> flags) {
    for (const char* flag : {"--port", "0", "--cache-memory-bytes", "512MiB", "--dtype", GetParam()})
      flags.push_back(flag);
    flags.push_back("--model");
    flags.push_back(DemoModel());
    server_ = std::make_unique<ServerProcess>(flags);
    const std::string address = server_->WaitUntilReady();
    ASSERT_NE(address, "") << server_->Output();
    client_ = std::make_unique<client::Client>(client::ClientOptions{.address = address});
  }

  // nll[i] is the loss of ids[i + 1]; top1 of all but the last id.
  void Score(const std::string& session, const std::vector<int32_t>& ids, std::vector<double>* nll,
             std::vector<int32_t>* top1) {
    v1::ScoreRequest request;
    request.set_session_id(session);
    for (const int32_t id : ids) request.mutable_prompt()->mutable_token_ids()->add_ids(id);
    auto stream = client_->Score(request);
    v1::ScoreResponse response;
    while (stream->Next(&response)) {
      for (int i = 0; i < response.token_ids_size(); ++i) {
        ASSERT_EQ(response.token_ids(i), ids[nll->size() + 1]);
        nll->push_back(-response.logprobs(i));
        top1->push_back(response.top_ids(i));
      }
    }
    const grpc::Status status = stream->Finish();
    ASSERT_TRUE(status.ok()) << status.error_message();
  }

  void CheckCascade(const std::string& name, std::vector<std::string> flags) {
    const CascadeGolden golden = ReadCascadeGolden(name);
    ASSERT_NO_FATAL_FAILURE(Serve(std::move(flags)));
    v1::Session session;
    ASSERT_TRUE(client_->CreateSession({}, &session).ok());
    std::vector<int> sub_caches(session.geometry().sub_cache_tokens().begin(),
                                session.geometry().sub_cache_tokens().end());
    ASSERT_EQ(sub_caches, golden.geometry.sub_cache_tokens);
    ASSERT_EQ(session.geometry().stride(), golden.geometry.stride);
    ASSERT_EQ(session.geometry().selection_group(), golden.geometry.selection_group);
    std::vector<double> nll;
    std::vector<int32_t> top1;
    ASSERT_NO_FATAL_FAILURE(Score(session.session_id(), golden.ids, &nll, &top1));
    ExpectCascadeAgrees(
        golden, nll,
        [&](int layer, int kv_head) {
          v1::InspectSessionRequest request;
          request.set_session_id(session.session_id());
          request.add_layers(layer);
          request.add_kv_heads(kv_head);
          auto stream = client_->InspectSession(request);
          v1::InspectSessionResponse head;
          std::set<int64_t> tokens;
          while (stream->Next(&head)) {
            for (int i = 0; i < head.token_indices_size(); ++i) {
              const bool resident = head.sub_caches(i) >= 0 && head.sub_caches(i) < golden.geometry.num_sub_caches();
              if (resident) tokens.insert(head.token_indices(i));
            }
          }
          EXPECT_TRUE(stream->Finish().ok());
          return tokens;
        },
        Tolerance());
  }

  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<client::Client> client_;
};

TEST_P(GoldenServerTest, CascadeDefault) { CheckCascade("default", {"--cache-tokens", "512", "--stride", "128"}); }
TEST_P(GoldenServerTest, CascadeHalving) {
  const CascadeGolden golden = ReadCascadeGolden("halving");
  std::string sizes;
  for (const int tokens : golden.geometry.sub_cache_tokens)
    sizes += (sizes.empty() ? "" : ",") + std::to_string(tokens);
  CheckCascade("halving", {"--sub-cache-tokens", sizes, "--stride", std::to_string(golden.geometry.stride),
                           "--selection-group", std::to_string(golden.geometry.selection_group)});
}
TEST_P(GoldenServerTest, CascadePaper) {
  CheckCascade("paper", {"--cache-policy", "paper", "--cache-tokens", "512", "--stride", "128"});
}
TEST_P(GoldenServerTest, CascadePaperMax) {
  CheckCascade("paper_max",
               {"--cache-policy", "paper", "--cache-tokens", "512", "--stride", "128", "--score-reduction", "max"});
}
TEST_P(GoldenServerTest, CascadeWindow) {
  const CascadeGolden golden = ReadCascadeGolden("window");
  CheckCascade("window", {"--cache-policy", "window", "--cache-tokens", std::to_string(golden.geometry.cache_tokens()),
                          "--stride", std::to_string(golden.geometry.stride), "--selection-group",
                          std::to_string(golden.geometry.selection_group)});
}

TEST_P(GoldenServerTest, DenseLossesAndGreedyReplies) {
  ASSERT_NO_FATAL_FAILURE(Serve({"--cache-tokens", "1024"}));
  int checked = 0;
  for (const DenseGolden& golden : ReadDenseGoldens()) {
    std::vector<double> nll;
    std::vector<int32_t> top1;
    ASSERT_NO_FATAL_FAILURE(Score("", golden.ids, &nll, &top1));
    DenseGolden without_last = golden;  // what follows the last id is not scored
    without_last.top1.pop_back();
    ExpectDenseAgrees(without_last, nll, top1, Tolerance());
    ++checked;
  }
  for (const GreedyGolden& golden : ReadGreedyGoldens()) {
    v1::GenerateRequest request;
    for (const int32_t id : golden.prompt_ids) request.mutable_prompt()->mutable_token_ids()->add_ids(id);
    request.mutable_sampling()->set_temperature(0);
    request.mutable_stopping()->set_max_tokens(static_cast<int>(golden.output_ids.size()));
    auto stream = client_->Generate(request);
    v1::GenerateResponse response;
    std::vector<int32_t> ids;
    while (stream->Next(&response)) ids.insert(ids.end(), response.token_ids().begin(), response.token_ids().end());
    EXPECT_TRUE(stream->Finish().ok());
    ExpectGreedyAgrees(golden, ids, Tolerance());
    ++checked;
  }
  EXPECT_EQ(checked, 9);
}

TEST_P(GoldenServerTest, NamesTheCapitalOfFrance) {
  ASSERT_NO_FATAL_FAILURE(Serve({}));
  v1::GenerateRequest request;
  v1::Message* message = request.mutable_prompt()->mutable_messages()->add_messages();
  message->set_role("user");
  message->set_content("What is the capital of France?");
  request.mutable_sampling()->set_temperature(0);
  auto stream = client_->Generate(request);
  v1::GenerateResponse response;
  std::string text;
  while (stream->Next(&response)) text += response.text();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_FALSE(text.empty());
  // The first token wins by 0.08 logits, which 8 bits may turn; then the reply may also run to its limit.
  if (std::string(GetParam()) != "int8") {
    EXPECT_NE(text.find("Paris"), std::string::npos) << text;
    EXPECT_EQ(response.finish_reason(), v1::FINISH_REASON_STOP);
  }
  EXPECT_TRUE(response.has_usage());
}

INSTANTIATE_TEST_SUITE_P(Arithmetics, GoldenServerTest,
                         ::testing::ValuesIn(OnCuda() ? std::vector<const char*>{"auto", "float16"}
                                                      : std::vector<const char*>{"float32", "auto", "int8"}),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace cascade::test
