#include "tests/support/golden_checks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <numeric>

#include "nlohmann/json.hpp"

namespace cascade::test {
namespace {

nlohmann::json ReadJson(const std::string& file) {
  const char* folder = std::getenv("CASCADE_GOLDEN_DIR");
  if (folder == nullptr) {
    ADD_FAILURE() << "CASCADE_GOLDEN_DIR is not set";
    return {};
  }
  std::ifstream in(std::string(folder) + "/" + file);
  if (!in) {
    ADD_FAILURE() << "no golden " << file << " in " << folder;
    return {};
  }
  return nlohmann::json::parse(in);
}

double Mean(const std::vector<double>& values, size_t begin, size_t end) {
  return std::accumulate(values.begin() + static_cast<long>(begin), values.begin() + static_cast<long>(end), 0.0) /
         static_cast<double>(end - begin);
}

}  // namespace

GoldenTolerance Float32Tolerance() {
  return {.mean_loss = 0.0005, .stride_loss = 0.002, .head_survivors = 0.99, .all_survivors = 0.99,
          .dense_loss = 1e-3, .dense_loss_per_token = true, .margin = 0.02};
}

GoldenTolerance Half16Tolerance() {
  return {.mean_loss = 0.003, .stride_loss = 0.02, .head_survivors = 0.96, .all_survivors = 0.98,
          .dense_loss = 0.01, .dense_loss_per_token = true, .margin = 0.02};
}

GoldenTolerance Int8Tolerance() {
  return {.mean_loss = 0.006, .stride_loss = 0.04, .head_survivors = 0.94, .all_survivors = 0.97,
          .dense_loss = 0.12, .dense_loss_per_token = false, .margin = 0.3};
}

GoldenTolerance Bf16Tolerance() {
  return {.mean_loss = 0.003, .stride_loss = 0.02, .head_survivors = 0.96, .all_survivors = 0.98,
          .dense_loss = 0.12, .dense_loss_per_token = false, .margin = 0.3};
}

CascadeGolden ReadCascadeGolden(const std::string& name) {
  const nlohmann::json json = ReadJson("cascade_moby_dick_" + name + ".json");
  CascadeGolden golden;
  golden.ids = json.at("ids").get<std::vector<int32_t>>();
  CascadeGeometry& g = golden.geometry;
  g.num_sinks = json.at("num_sinks");
  g.sub_cache_tokens = json.at("sub_cache_tokens").get<std::vector<int>>();
  g.stride = json.at("stride");
  g.selection_group = json.at("selection_group");
  const std::string selection = json.at("selection");
  g.selection = selection == "both"        ? kernels::Selection::kBoth
                : selection == "attention" ? kernels::Selection::kAttention
                                           : kernels::Selection::kDistinctness;
  g.ema_decay = json.at("ema_decay");
  g.score_reduction =
      json.at("score_reduction") == "max" ? kernels::ScoreReduction::kMax : kernels::ScoreReduction::kMean;
  golden.mean_loss = json.at("mean_nll");
  golden.loss_by_stride = json.at("mean_nll_by_stride").get<std::vector<double>>();
  for (const auto& [key, tokens] : json.at("retained").items()) {
    CascadeGolden::Head head;
    EXPECT_EQ(std::sscanf(key.c_str(), "layer %d head %d", &head.layer, &head.kv_head), 2) << key;
    for (const int64_t token : tokens) head.retained.insert(token);
    golden.heads.push_back(std::move(head));
  }
  return golden;
}

std::vector<DenseGolden> ReadDenseGoldens() {
  std::vector<DenseGolden> goldens;
  const nlohmann::json file = ReadJson("dense_and_greedy.json");
  for (const nlohmann::json& json : file.at("dense")) {
    goldens.push_back({json.at("ids"), json.at("nll"), json.at("top1"), json.at("margin")});
  }
  return goldens;
}

std::vector<GreedyGolden> ReadGreedyGoldens() {
  std::vector<GreedyGolden> goldens;
  const nlohmann::json file = ReadJson("dense_and_greedy.json");
  for (const nlohmann::json& json : file.at("greedy")) {
    goldens.push_back({json.at("messages").back().at("content"), json.at("rendered"), json.at("prompt_ids"),
                       json.at("output_ids"), json.at("margins")});
  }
  return goldens;
}

void ExpectCascadeAgrees(const CascadeGolden& golden, const std::vector<double>& nll,
                         const std::function<std::set<int64_t>(int, int)>& held, const GoldenTolerance& tolerance) {
  ASSERT_EQ(nll.size() + 1, golden.ids.size());
  const double mean = Mean(nll, 0, nll.size());
  EXPECT_NEAR(mean, golden.mean_loss, tolerance.mean_loss);
  double worst = 0;
  for (size_t j = 0; j < golden.loss_by_stride.size(); ++j) {
    const size_t begin = static_cast<size_t>(golden.geometry.num_sinks) + j * static_cast<size_t>(golden.geometry.stride);
    const size_t end = std::min(nll.size(), begin + static_cast<size_t>(golden.geometry.stride));
    const double difference = Mean(nll, begin, end) - golden.loss_by_stride[j];
    worst = std::max(worst, std::abs(difference));
    EXPECT_LE(std::abs(difference), tolerance.stride_loss) << "stride " << j;
  }
  size_t same = 0, all = 0;
  double lowest = 1;
  for (const CascadeGolden::Head& head : golden.heads) {
    const std::set<int64_t> tokens = held(head.layer, head.kv_head);
    EXPECT_EQ(tokens.size(), head.retained.size()) << "layer " << head.layer << " head " << head.kv_head;
    size_t common = 0;
    for (const int64_t token : head.retained) common += tokens.count(token);
    const double share = static_cast<double>(common) / static_cast<double>(head.retained.size());
    EXPECT_GE(share, tolerance.head_survivors) << "layer " << head.layer << " head " << head.kv_head;
    lowest = std::min(lowest, share);
    same += common;
    all += head.retained.size();
  }
  const double share = static_cast<double>(same) / static_cast<double>(all);
  EXPECT_GE(share, tolerance.all_survivors);
  std::printf("mean loss %.6f (reference %.6f), worst stride %.5f nats, survivors: lowest head %.2f %%, all %.2f %%\n", mean,
              golden.mean_loss, worst, 100 * lowest, 100 * share);
}

void ExpectDenseAgrees(const DenseGolden& golden, const std::vector<double>& nll, const std::vector<int32_t>& top1,
                       const GoldenTolerance& tolerance) {
  ASSERT_EQ(nll.size(), golden.nll.size());
  ASSERT_EQ(top1.size(), golden.top1.size());
  double sum = 0;
  for (size_t i = 0; i < nll.size(); ++i) {
    const double difference = std::abs(nll[i] - golden.nll[i]);
    if (tolerance.dense_loss_per_token) {
      EXPECT_LE(difference, tolerance.dense_loss) << "token " << i;
    }
    sum += difference;
  }
  EXPECT_LE(sum / static_cast<double>(nll.size()), tolerance.dense_loss);
  for (size_t i = 0; i < top1.size(); ++i) {
    if (golden.margin[i] > tolerance.margin) {
      EXPECT_EQ(top1[i], golden.top1[i]) << "token " << i;
    }
  }
}

void ExpectGreedyAgrees(const GreedyGolden& golden, const std::vector<int32_t>& output_ids,
                        const GoldenTolerance& tolerance) {
  for (size_t i = 0; i < golden.output_ids.size() && golden.margins[i] > tolerance.margin; ++i) {
    ASSERT_LT(i, output_ids.size());
    ASSERT_EQ(output_ids[i], golden.output_ids[i]) << "token " << i << " of the reply to: " << golden.user;
  }
}

}  // namespace cascade::test
