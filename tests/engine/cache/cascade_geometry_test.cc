#include "engine/cache/cascade_geometry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace cascade {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Made(const GeometryOptions& options, int64_t max_positions = 8192) {
  const absl::StatusOr<CascadeGeometry> geometry = MakeGeometry(options, max_positions);
  return geometry.ok() ? geometry->ToString() : geometry.status().ToString();
}

TEST(CascadeGeometryTest, DefaultsOfTheSpecification) {
  EXPECT_EQ(Made({}), "W=1024,1024,1024,1024 S=1024 g=64 s=4 both");
  EXPECT_EQ(Made({.cache_tokens = 1024}), "W=256,256,256,256 S=256 g=32 s=4 both");
  EXPECT_EQ(Made({.cache_tokens = 2048}), "W=512,512,512,512 S=512 g=64 s=4 both");
  EXPECT_EQ(Made({.cache_tokens = 512}), "W=128,128,128,128 S=128 g=16 s=4 both");
  EXPECT_EQ(Made({.cache_tokens = 1024, .num_sub_caches = 2}), "W=512,512 S=256 g=64 s=4 both");
  EXPECT_EQ(Made({.cache_tokens = 65536}, 131072), "W=16384,16384,16384,16384 S=4096 g=64 s=4 both");
  EXPECT_EQ(Made({.cache_tokens = 32}), "W=8,8,8,8 S=8 g=1 s=4 both");
  EXPECT_EQ(Made({.cache_tokens = 1000, .num_sub_caches = 1}), "W=1000 S=250 g=2 s=4 both");
}

TEST(CascadeGeometryTest, DefaultCacheFitsTheModelsContext) {
  EXPECT_EQ(Made({}, 4096), "W=512,512,512,512 S=512 g=64 s=4 both");  // 4 + 4096 + 1024 would not fit
  EXPECT_EQ(Made({}, 5124), "W=1024,1024,1024,1024 S=1024 g=64 s=4 both");
  EXPECT_EQ(Made({}, 5123), "W=512,512,512,512 S=512 g=64 s=4 both");
  EXPECT_EQ(Made({}, 2048), "W=256,256,256,256 S=256 g=32 s=4 both");
}

TEST(CascadeGeometryTest, Policies) {
  EXPECT_EQ(Made({.policy = "paper", .cache_tokens = 1024}), "W=256,256,256,256 S=256 g=1 s=4 attention");
  EXPECT_THAT(Made({.policy = "window", .cache_tokens = 1024}), HasSubstr("W=1024 S=256"));
  EXPECT_EQ(Made({.cache_tokens = 1024, .selection = "distinctness"}), "W=256,256,256,256 S=256 g=32 s=4 distinctness");
  const auto max = MakeGeometry({.cache_tokens = 1024, .ema_decay = 0.99, .score_reduction = "max"}, 8192);
  ASSERT_TRUE(max.ok()) << max.status();
  EXPECT_EQ(max->score_reduction, kernels::ScoreReduction::kMax);
  EXPECT_EQ(max->ema_decay, 0.99);
}

TEST(CascadeGeometryTest, UnequalSubCaches) {
  EXPECT_EQ(Made({.sub_cache_tokens = {512, 256, 128, 128}, .stride = 256, .selection_group = 16}),
            "W=512,256,128,128 S=256 g=16 s=4 both");
  EXPECT_EQ(Made({.sub_cache_tokens = {512, 256, 128, 128}, .num_sinks = 0}), "W=512,256,128,128 S=256 g=32 s=0 both");
  const auto geometry = MakeGeometry({.sub_cache_tokens = {8, 4, 4}, .stride = 4, .selection_group = 1}, 64);
  ASSERT_TRUE(geometry.ok()) << geometry.status();
  EXPECT_EQ(geometry->cache_tokens(), 16);
  EXPECT_EQ(geometry->slots(), 4 + 16 + 4);
  EXPECT_EQ(geometry->ring_slots(0), 12);
  EXPECT_EQ(geometry->ring_slots(1), 4);
}

TEST(CascadeGeometryTest, EveryPowerOfTwoHasADefault) {
  for (int64_t tokens = 32; tokens <= 1 << 20; tokens *= 2) {
    const auto geometry = MakeGeometry({.cache_tokens = tokens}, int64_t{1} << 30);
    ASSERT_TRUE(geometry.ok()) << geometry.status();
    EXPECT_EQ(geometry->cache_tokens(), tokens);
    EXPECT_TRUE(geometry->Validate().ok());
  }
}

struct Refusal {
  GeometryOptions options;
  int64_t max_positions;
  std::vector<std::string> says;
};

TEST(CascadeGeometryTest, RefusalsNameTheOptionAndTheNumbers) {
  const std::vector<Refusal> refusals = {
      {{.policy = "lru"}, 8192, {"--cache-policy", "cascade, paper or window", "lru"}},
      {{.policy = "window", .num_sub_caches = 4}, 8192, {"--cache-policy window", "--sub-caches"}},
      {{.policy = "window", .sub_cache_tokens = {64, 64}}, 8192, {"--cache-policy window"}},
      {{.policy = "window", .selection = "both"}, 8192, {"--cache-policy window", "--selection both"}},
      {{.policy = "paper", .selection = "both"}, 8192, {"paper", "--selection"}},
      {{.policy = "paper", .selection_group = 4}, 8192, {"paper", "--selection-group"}},
      {{.stride = 3}, 8192, {"--cache-tokens: no power of two", "no size is valid"}},
      {{.stride = 24}, 8192, {"--cache-tokens: no power of two", "nearest valid: 4032 or"}},
      {{.cache_tokens = -5}, 8192, {"--cache-tokens", "-5"}},
      {{.cache_tokens = 1001}, 8192, {"--cache-tokens 1001", "4 equal sub-caches", "nearest valid: 992 or 1024"}},
      {{.cache_tokens = 1004}, 8192, {"--cache-tokens 1004", "251", "nearest valid: 992 or 1024"}},
      {{.cache_tokens = 3}, 8192, {"--cache-tokens 3", "nearest valid: 32"}},
      {{.cache_tokens = 8192}, 8192, {"--cache-tokens 8192", "context of 8192", "10244", "nearest valid"}},
      {{.cache_tokens = 1024, .stride = 300}, 8192, {"300", "1024"}},
      {{.cache_tokens = 1024, .stride = 256, .selection_group = 64}, 8192, {"256", "64", "x 8"}},
      {{.cache_tokens = 1024, .selection_group = 3}, 8192, {"--selection-group", "power of two", "3"}},
      {{.cache_tokens = 1024, .selection_group = 128}, 8192, {"--selection-group", "128"}},
      {{.cache_tokens = 1024, .stride = -1}, 8192, {"--stride", "-1"}},
      {{.num_sub_caches = 99}, 8192, {"--sub-caches", "99"}},
      {{.num_sub_caches = -2}, 8192, {"--sub-caches", "-2"}},
      {{.num_sinks = -3}, 8192, {"--sinks", "-3"}},
      {{.num_sinks = 100000}, 8192, {"--sinks", "100000"}},
      {{.selection = "luck"}, 8192, {"--selection", "luck"}},
      {{.ema_decay = 0.0}, 8192, {"--ema-decay", "0"}},
      {{.ema_decay = 1.5}, 8192, {"--ema-decay", "1.5"}},
      {{.ema_decay = std::numeric_limits<double>::quiet_NaN()}, 8192, {"--ema-decay"}},
      {{.score_reduction = "median"}, 8192, {"--score-reduction", "median"}},
      {{.cache_tokens = 64, .sub_cache_tokens = {32, 32}}, 8192, {"--cache-tokens", "--sub-cache-tokens"}},
      {{.num_sub_caches = 3, .sub_cache_tokens = {32, 32}}, 8192, {"--sub-caches", "--sub-cache-tokens"}},
      {{.sub_cache_tokens = {32, 0}}, 8192, {"--sub-cache-tokens", "0"}},
      {{.sub_cache_tokens = {100, 50}, .stride = 64}, 8192, {"--sub-cache-tokens", "64", "150"}},
      {{.sub_cache_tokens = {96, 48, 16}, .stride = 32, .selection_group = 16}, 8192, {"--sub-cache-tokens", "16 x 4"}},
      {{.sub_cache_tokens = {8192, 8192}, .stride = 256}, 8192, {"--sub-cache-tokens", "context of 8192"}},
  };
  for (const Refusal& refusal : refusals) {
    const auto geometry = MakeGeometry(refusal.options, refusal.max_positions);
    ASSERT_FALSE(geometry.ok()) << geometry->ToString() << " was to be refused with " << refusal.says.front();
    EXPECT_EQ(geometry.status().code(), absl::StatusCode::kInvalidArgument);
    const std::string message(geometry.status().message().data(), geometry.status().message().size());
    for (const std::string& part : refusal.says) EXPECT_THAT(message, HasSubstr(part));
    EXPECT_THAT(message, ::testing::Not(HasSubstr("\n")));
  }
}

// The sizes that a refusal names are valid, and there is none between them.
TEST(CascadeGeometryTest, NearestValidSizesAreValidAndNearest) {
  const auto valid = [](int64_t tokens) { return MakeGeometry({.cache_tokens = tokens}, 8192).ok(); };
  for (int64_t tokens = 33; tokens < 1500; tokens += 7) {
    if (valid(tokens)) continue;
    int64_t below = tokens;
    int64_t above = tokens;
    while (!valid(below)) --below;
    while (!valid(above)) ++above;
    EXPECT_THAT(Made({.cache_tokens = tokens}),
                HasSubstr("nearest valid: " + std::to_string(below) + " or " + std::to_string(above)));
  }
}

TEST(CascadeGeometryTest, ValidateRefusesWhatHasNoPlan) {
  CascadeGeometry geometry;
  EXPECT_FALSE(geometry.Validate().ok());  // no sub-cache
  geometry.sub_cache_tokens = {8, 8};
  EXPECT_FALSE(geometry.Validate().ok());  // no stride
  geometry.stride = 4;
  geometry.selection_group = 2;
  EXPECT_TRUE(geometry.Validate().ok()) << geometry.Validate();
  geometry.selection_group = 4;  // 4 * 2 does not divide 4
  EXPECT_FALSE(geometry.Validate().ok());
  geometry.selection_group = 0;
  EXPECT_FALSE(geometry.Validate().ok());
  geometry.selection_group = 1;
  geometry.sub_cache_tokens = {6, 10};  // W_0 is no multiple of S
  EXPECT_FALSE(geometry.Validate().ok());
  geometry.sub_cache_tokens = {8, -8};
  EXPECT_FALSE(geometry.Validate().ok());
}

}  // namespace
}  // namespace cascade
