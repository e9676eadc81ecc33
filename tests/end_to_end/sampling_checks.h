// What holds for sampling on any device, seen from a client.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "tests/end_to_end/tiny_server.h"

namespace cascade::test {

inline std::vector<int32_t> SamplingPrompt(int number) {
  std::vector<int32_t> ids;
  for (int i = 0; i < 40; ++i) ids.push_back(3 + (number * 31 + i * 11) % 250);
  return ids;
}

inline v1::GenerateRequest SeededTurn(int number, int count) {
  v1::GenerateRequest request = GreedyTurn("", SamplingPrompt(number), count);
  request.mutable_sampling()->set_temperature(1);
  request.mutable_sampling()->set_top_p(0.9f);
  request.mutable_sampling()->set_seed(static_cast<uint64_t>(number));
  return request;
}

// Turns that the host samples for, beside others and alone, pick what the device picks.
inline void CheckHostAgainstDevice(client::Client& client) {
  std::vector<std::vector<int32_t>> device, host(3);
  for (int i = 0; i < 3; ++i) device.push_back(Generate(client, SeededTurn(i, 15)).ids);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      v1::GenerateRequest request = SeededTurn(i, 15);
      if (i != 1) request.set_logprobs(2);  // one stays on the device
      host[static_cast<size_t>(i)] = Generate(client, request).ids;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_GT(device[i].size(), 0u);
    EXPECT_EQ(host[i], device[i]) << "turn " << i;
  }
}

// Log-probabilities of prompt and reply are those that Score gives the same ids.
inline void CheckLogprobsAgainstScore(client::Client& client) {
  v1::GenerateRequest request = SeededTurn(5, 12);
  request.mutable_stopping()->set_ignore_eos(true);
  request.set_logprobs(3);
  request.set_prompt_logprobs(1);
  request.mutable_sampling()->set_repetition_penalty(1.5f);  // changes picks, not log-probabilities
  std::vector<int32_t> ids = SamplingPrompt(5);
  std::vector<float> logprobs;
  const auto stream = client.Generate(request);
  for (v1::GenerateResponse part; stream->Next(&part);) {
    for (const v1::TokenLogprobs& one : part.prompt_logprobs()) {
      EXPECT_EQ(one.token_id(), ids.at(logprobs.size() + 1));
      EXPECT_EQ(one.top_size(), 1);
      logprobs.push_back(one.logprob());
    }
    for (const v1::TokenLogprobs& one : part.logprobs()) {
      EXPECT_EQ(one.top_size(), 3);
      ids.push_back(one.token_id());
      logprobs.push_back(one.logprob());
    }
  }
  ASSERT_TRUE(stream->Finish().ok());
  ASSERT_EQ(ids.size(), 52u);
  ASSERT_EQ(logprobs.size(), 51u);

  v1::ScoreRequest score;
  for (const int32_t id : ids) score.mutable_prompt()->mutable_token_ids()->add_ids(id);
  const auto scored = client.Score(score);
  size_t i = 0;
  double sum = 0, score_sum = 0;
  for (v1::ScoreResponse part; scored->Next(&part);) {
    for (const float logprob : part.logprobs()) {
      ASSERT_LT(i, logprobs.size());
      EXPECT_NEAR(logprobs[i], logprob, 1e-4) << "token " << i;
      sum += logprobs[i++];
      score_sum += logprob;
    }
  }
  ASSERT_TRUE(scored->Finish().ok());
  EXPECT_EQ(i, logprobs.size());
  EXPECT_NEAR(sum, score_sum, 1e-3);
}

}  // namespace cascade::test
