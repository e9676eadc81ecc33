#include "engine/sampling/counter_random.h"

#include <bit>
#include <cmath>
#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace cascade {
namespace {

// Users may have kept seeds: these values are a promise.
TEST(CounterRandomTest, ValuesAreFixed) {
  EXPECT_EQ(CounterRandom64(0, 0), 0xa706dd2f4d197e6fu);
  EXPECT_EQ(CounterRandom64(0, 1), 0xb382a305f4414f5eu);
  EXPECT_EQ(CounterRandom64(42, 7), 0xbc16a3d4cc48678eu);
}

TEST(CounterRandomTest, UniformOverCountersAndSeeds) {
  for (const bool over_seeds : {false, true}) {
    constexpr int kBins = 100;
    constexpr int kDraws = 100000;
    std::vector<int> bins(kBins, 0);
    double sum = 0;
    for (int i = 0; i < kDraws; ++i) {
      const double u = over_seeds ? CounterRandomUniform(static_cast<uint64_t>(i), 3)
                                  : CounterRandomUniform(3, static_cast<uint64_t>(i));
      ASSERT_GE(u, 0.0);
      ASSERT_LT(u, 1.0);
      ++bins[static_cast<size_t>(u * kBins)];
      sum += u;
    }
    EXPECT_NEAR(sum / kDraws, 0.5, 5 / std::sqrt(12.0 * kDraws));  // five standard deviations
    double chi_squared = 0;
    for (const int bin : bins) chi_squared += std::pow(bin - kDraws / kBins, 2) * kBins / kDraws;
    EXPECT_LT(chi_squared, 170);  // 99 degrees of freedom: mean 99, standard deviation 14
  }
}

// One bit of seed or counter changes half of the bits.
TEST(CounterRandomTest, Avalanche) {
  double changed = 0;
  int pairs = 0;
  for (uint64_t i = 0; i < 200; ++i) {
    for (int bit = 0; bit < 64; ++bit) {
      const uint64_t flip = uint64_t{1} << bit;
      changed += std::popcount(CounterRandom64(i, 5) ^ CounterRandom64(i ^ flip, 5));
      changed += std::popcount(CounterRandom64(5, i) ^ CounterRandom64(5, i ^ flip));
      pairs += 2;
    }
  }
  EXPECT_NEAR(changed / pairs, 32, 0.2);
}

TEST(CounterRandomTest, NeighbouringSeedsShareNoStream) {
  std::set<uint64_t> seen;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    for (uint64_t counter = 0; counter < 200; ++counter) seen.insert(CounterRandom64(seed, counter));
  }
  EXPECT_EQ(seen.size(), 200u * 200u);
}

}  // namespace
}  // namespace cascade
