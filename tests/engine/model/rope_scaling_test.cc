#include "engine/model/rope_scaling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace cascade {
namespace {

using ::testing::StartsWith;

ModelConfig Heads(int head_dim) {
  ModelConfig config;
  config.head_dim = head_dim;
  return config;
}

RopeScaling Llama31() {
  RopeScaling scaling;
  scaling.kind = RopeScalingKind::kLlama3;
  scaling.factor = 8;
  scaling.low_freq_factor = 1;
  scaling.high_freq_factor = 4;
  scaling.original_max_position_embeddings = 8192;
  return scaling;
}

TEST(RopeScaling, None) {
  ModelConfig config = Heads(64);
  ASSERT_TRUE(SetRope(10000, {}, config).ok());
  ASSERT_EQ(config.rope.frequency.size(), 32u);
  EXPECT_EQ(config.rope.frequency[0], 1);
  EXPECT_DOUBLE_EQ(config.rope.frequency[16], 0.01);
  EXPECT_EQ(config.rope_theta, 10000.0f);
  EXPECT_EQ(config.rope_scaling, "none");
}

TEST(RopeScaling, Linear) {
  ModelConfig config = Heads(32);
  RopeScaling scaling;
  scaling.kind = RopeScalingKind::kLinear;
  scaling.factor = 2.5;
  ASSERT_TRUE(SetRope(10000, scaling, config).ok());
  EXPECT_DOUBLE_EQ(config.rope.frequency[0], 0.4);
  EXPECT_DOUBLE_EQ(config.rope.frequency[8], 0.004);
  EXPECT_EQ(config.rope_scaling, "linear");
}

// Llama 3.1 8B: theta 500,000, heads of 128. The expected values were computed by hand from the definition: turns in
// the original context above 4 stay, below 1 are divided by 8, and the share between is linear in the turns.
TEST(RopeScaling, Llama3) {
  ModelConfig config = Heads(128);
  ModelConfig plain = Heads(128);
  ASSERT_TRUE(SetRope(500000, Llama31(), config).ok());
  ASSERT_TRUE(SetRope(500000, {}, plain).ok());
  EXPECT_EQ(config.rope_scaling, "llama3");
  int kept = 0, scaled = 0, between = 0;
  double last = 2;
  for (size_t i = 0; i < 64; ++i) {
    const double frequency = plain.rope.frequency[i];
    const double turns = 8192 * frequency / (2 * M_PI);
    const double found = config.rope.frequency[i];
    if (turns > 4) {
      EXPECT_EQ(found, frequency) << i;
      ++kept;
    } else if (turns < 1) {
      EXPECT_EQ(found, frequency / 8) << i;
      ++scaled;
    } else {
      const double share = (turns - 1) / 3;
      EXPECT_NEAR(found, frequency * (share + (1 - share) / 8), 1e-15) << i;
      ++between;
    }
    EXPECT_LT(found, last);
    last = found;
  }
  EXPECT_EQ(kept, 29);
  EXPECT_EQ(between, 6);
  EXPECT_EQ(scaled, 29);
}

// A table of factors made from llama3's formula, as GGUF files carry it, says the same.
TEST(RopeScaling, FactorsAreTheSameAsTheirFormula) {
  ModelConfig formula = Heads(64), plain = Heads(64), table = Heads(64);
  ASSERT_TRUE(SetRope(500000, Llama31(), formula).ok());
  ASSERT_TRUE(SetRope(500000, {}, plain).ok());
  RopeScaling scaling;
  for (size_t i = 0; i < 32; ++i) {
    scaling.factors.push_back(static_cast<float>(plain.rope.frequency[i] / formula.rope.frequency[i]));
  }
  ASSERT_TRUE(SetRope(500000, scaling, table).ok());
  EXPECT_EQ(table.rope_scaling, "factors");
  for (size_t i = 0; i < 32; ++i) {
    EXPECT_NEAR(table.rope.frequency[i] / formula.rope.frequency[i], 1, 1e-7) << i;
  }
}

TEST(RopeScaling, ErrorsNameTheField) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const auto expect = [](double theta, const RopeScaling& scaling, const char* field) {
    ModelConfig config = Heads(16);
    const absl::Status status = SetRope(theta, scaling, config);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_THAT(std::string(status.message()), StartsWith(field));
    EXPECT_TRUE(config.rope.frequency.empty());
  };
  for (const double theta : {0.0, -1.0, 0.99, kNan, HUGE_VAL}) expect(theta, {}, "rope_theta: found ");
  for (const RopeScalingKind kind : {RopeScalingKind::kLinear, RopeScalingKind::kLlama3}) {
    for (const double factor : {0.0, -8.0, 0.5, 1e9, kNan}) {
      RopeScaling scaling = Llama31();
      scaling.kind = kind;
      scaling.factor = factor;
      expect(10000, scaling, "factor: found ");
    }
  }
  for (const double low : {0.0, -1.0, kNan}) {
    RopeScaling scaling = Llama31();
    scaling.low_freq_factor = low;
    expect(10000, scaling, "low_freq_factor: found ");
  }
  for (const double high : {1.0, 0.5, 1e9, kNan}) {
    RopeScaling scaling = Llama31();
    scaling.high_freq_factor = high;
    expect(10000, scaling, "high_freq_factor: found ");
  }
  RopeScaling scaling = Llama31();
  scaling.original_max_position_embeddings = 0;
  expect(10000, scaling, "original_max_position_embeddings: found 0");
  for (const float factor : {0.0f, -1.0f, 1e9f, static_cast<float>(kNan)}) {
    RopeScaling factors;
    factors.factors.assign(8, factor);
    expect(10000, factors, "factors: found ");
  }
  RopeScaling factors;
  factors.factors.assign(7, 1.0f);
  expect(10000, factors, "factors: found 7, expected one for each of the 8 frequencies");
}

}  // namespace
}  // namespace cascade
