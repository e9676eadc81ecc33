// Sampling and output over the wire.
#include "tests/end_to_end/sampling_checks.h"

namespace cascade::test {
namespace {

class SamplingTest : public ::testing::Test {
 protected:
  client::Client& client() { return server_.client(); }
  TinyServer server_;
};

TEST_F(SamplingTest, TheHostPicksWhatTheDevicePicks) { CheckHostAgainstDevice(client()); }

TEST_F(SamplingTest, LogprobsAreThoseOfScore) { CheckLogprobsAgainstScore(client()); }

TEST_F(SamplingTest, RepliesOfOneCallAreThoseOfTheirSeeds) {
  v1::GenerateRequest request = SeededTurn(40, 10);
  request.set_n(4);
  std::vector<std::vector<int32_t>> replies(4);
  std::vector<int> ends(4);
  const auto stream = client().Generate(request);
  for (v1::GenerateResponse part; stream->Next(&part);) {
    auto& ids = replies.at(static_cast<size_t>(part.index()));
    ids.insert(ids.end(), part.token_ids().begin(), part.token_ids().end());
    ends.at(static_cast<size_t>(part.index())) += part.has_usage() ? 1 : 0;
  }
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_THAT(ends, testing::Each(1));
  request.clear_n();
  for (size_t i = 0; i < 4; ++i) {
    request.mutable_sampling()->set_seed(40 + i);
    EXPECT_EQ(replies[i], Generate(client(), request).ids) << i;
  }
}

TEST_F(SamplingTest, StopTokensEchoAndWhatIsIncluded) {
  const v1::GenerateRequest plain = GreedyTurn("", SamplingPrompt(1), 20);
  const Reply whole = Generate(client(), plain);
  ASSERT_GE(whole.ids.size(), 5u);
  v1::GenerateRequest request = plain;
  request.mutable_stopping()->add_stop_token_ids(whole.ids[4]);
  const Reply stopped = Generate(client(), request);
  ASSERT_LE(stopped.ids.size(), 5u);
  EXPECT_EQ(stopped.ids.back(), whole.ids[4]);
  EXPECT_EQ(stopped.last.stop_token_id(), whole.ids[4]);
  EXPECT_EQ(stopped.last.finish_reason(), v1::FINISH_REASON_STOP);
  request.mutable_prompt()->set_text("once");
  request.set_echo(true);
  EXPECT_THAT(Generate(client(), request).text, testing::StartsWith("once"));
}

TEST_F(SamplingTest, AForbiddenTokenDoesNotCome) {
  v1::GenerateRequest request = GreedyTurn("", SamplingPrompt(2), 20);
  request.mutable_stopping()->set_ignore_eos(true);
  for (int round = 0; round < 5; ++round) {
    const Reply reply = Generate(client(), request);
    ASSERT_EQ(reply.ids.size(), 20u);
    for (const auto& [id, bias] : request.sampling().logit_bias()) {
      EXPECT_THAT(reply.ids, testing::Not(testing::Contains(id)));
    }
    (*request.mutable_sampling()->mutable_logit_bias())[reply.ids[static_cast<size_t>(round)]] = -100;
  }
}

}  // namespace
}  // namespace cascade::test
