#include "engine/sampling/logit_rules.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cascade {
namespace {

using ::testing::ElementsAre;

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

LogitRules::Setup SetupOf(SamplingParams sampling, int32_t vocabulary = 4) {
  LogitRules::Setup setup;
  setup.sampling = std::move(sampling);
  setup.vocabulary = vocabulary;
  return setup;
}

std::vector<float> Applied(LogitRules& rules, std::vector<float> logits) {
  EXPECT_TRUE(rules.Apply(logits));
  return logits;
}

TEST(LogitRulesTest, WithoutRulesNothingChanges) {
  EXPECT_FALSE(LogitRules::AreNeeded(SamplingParams()));
  LogitRules rules(SetupOf({}), {});
  rules.Accept(2);
  EXPECT_THAT(Applied(rules, {1, -2, 3, 0}), ElementsAre(1, -2, 3, 0));
}

TEST(LogitRulesTest, RepetitionLooksBackSoFarAndNoFurther) {
  SamplingParams sampling;
  sampling.repetition_penalty = 2;
  sampling.repeat_last_n = 2;
  EXPECT_TRUE(LogitRules::AreNeeded(sampling));
  const std::vector<int32_t> conversation = {0, 1, 1};  // id 0 is too far back
  LogitRules rules(SetupOf(sampling), conversation);
  EXPECT_THAT(Applied(rules, {4, 4, -4, 4}), ElementsAre(4, 2, -4, 4));
  rules.Accept(2);
  EXPECT_THAT(Applied(rules, {4, 4, -4, 4}), ElementsAre(4, 2, -8, 4));
  rules.Accept(3);
  EXPECT_THAT(Applied(rules, {4, 4, -4, 4}), ElementsAre(4, 4, -8, 2));
}

TEST(LogitRulesTest, FrequencyAndPresenceCountTheReplyOnly) {
  SamplingParams sampling;
  sampling.frequency_penalty = 0.5f;
  sampling.presence_penalty = 1;
  const std::vector<int32_t> conversation = {0, 0};
  LogitRules rules(SetupOf(sampling), conversation);
  EXPECT_THAT(Applied(rules, {4, 4, 4, 4}), ElementsAre(4, 4, 4, 4));
  for (const int32_t id : {1, 1, 2}) rules.Accept(id);
  EXPECT_THAT(Applied(rules, {4, 4, 4, 4}), ElementsAre(4, 2, 2.5f, 4));
}

TEST(LogitRulesTest, BiasComesLastAndForbids) {
  SamplingParams sampling;
  sampling.repetition_penalty = 2;
  sampling.logit_bias = {{0, 3.0f}, {1, -100.0f}};
  const std::vector<int32_t> conversation = {0};
  LogitRules rules(SetupOf(sampling), conversation);
  EXPECT_THAT(Applied(rules, {4, 4, 4, 4}), ElementsAre(5, kForbidden, 4, 4));
}

TEST(LogitRulesTest, EndsAreForbiddenBeforeMinTokens) {
  LogitRules::Setup setup = SetupOf({});
  setup.end_ids = {3};
  setup.min_tokens = 2;
  LogitRules rules(std::move(setup), {});
  EXPECT_THAT(Applied(rules, {1, 1, 1, 1}), ElementsAre(1, 1, 1, kForbidden));
  rules.Accept(0);
  EXPECT_THAT(Applied(rules, {1, 1, 1, 1}), ElementsAre(1, 1, 1, kForbidden));
  rules.Accept(0);
  EXPECT_THAT(Applied(rules, {1, 1, 1, 1}), ElementsAre(1, 1, 1, 1));
}

TEST(LogitRulesTest, FiniteLogitsStayFinite) {
  SamplingParams sampling;
  sampling.repetition_penalty = std::numeric_limits<float>::denorm_min();
  const std::vector<int32_t> conversation = {0, 1};
  LogitRules rules(SetupOf(sampling), conversation);
  const std::vector<float> logits = Applied(rules, {4, -4, 4, 4});
  for (const float logit : logits) EXPECT_TRUE(std::isfinite(logit));
  EXPECT_EQ(logits[0], std::numeric_limits<float>::max());
}

TEST(LogitRulesTest, WhatLeavesNothingIsNamed) {
  SamplingParams sampling;
  sampling.allowed_token_ids = {1, 3};
  sampling.logit_bias = {{1, -100.0f}};
  LogitRules::Setup setup = SetupOf(sampling);
  EXPECT_TRUE(LogitRules(std::move(setup), {}).CheckNotEmpty().ok());
  setup = SetupOf(sampling);
  setup.end_ids = {3};
  setup.min_tokens = 1;
  LogitRules rules(std::move(setup), {});
  EXPECT_EQ(rules.CheckNotEmpty(),
            absl::InvalidArgumentError("sampling.allowed_token_ids must leave a token to sample, together with "
                                       "sampling.logit_bias and stopping.min_tokens"));
  std::vector<float> logits = {1, 1, 1, 1};
  EXPECT_FALSE(rules.Apply(logits));
  EXPECT_EQ(rules.NothingLeft(), rules.CheckNotEmpty());
}

// Allows one id after the other, and then the end.
class Sequence final : public TokenMask {
 public:
  explicit Sequence(std::vector<int32_t> ids) : ids_(std::move(ids)) {}
  void Allowed(std::span<uint64_t> bits) override {
    std::fill(bits.begin(), bits.end(), 0);
    if (next_ < ids_.size()) bits[static_cast<size_t>(ids_[next_]) / 64] |= uint64_t{1} << (ids_[next_] % 64);
  }
  bool Accept(int32_t id) override {
    if (next_ >= ids_.size() || ids_[next_] != id) return false;
    ++next_;
    return true;
  }
  bool MayEnd() override { return next_ == ids_.size(); }

 private:
  const std::vector<int32_t> ids_;
  size_t next_ = 0;
};

TEST(LogitRulesTest, AMaskAllowsEndsExactlyWhereItMayEnd) {
  LogitRules::Setup setup = SetupOf({}, 130);
  setup.end_ids = {129};
  setup.mask = std::make_unique<Sequence>(std::vector<int32_t>{5, 127});
  LogitRules rules(std::move(setup), {});
  const auto only = [&](int32_t id) {
    std::vector<float> expected(130, kForbidden);
    expected[static_cast<size_t>(id)] = 0;
    EXPECT_EQ(Applied(rules, std::vector<float>(130)), expected) << id;
  };
  only(5);
  rules.Accept(5);
  only(127);
  rules.Accept(127);
  only(129);
}

}  // namespace
}  // namespace cascade
