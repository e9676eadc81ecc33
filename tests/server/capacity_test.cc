#include "server/capacity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/exit_code.h"
#include "server/load_progress.h"
#include "tests/support/fake_clock.h"

namespace cascade {
namespace {

TEST(MemAvailable, Table) {
  EXPECT_EQ(ParseMemAvailable("MemTotal:  100 kB\nMemFree:  10 kB\nMemAvailable:   50 kB\n"), 50 * 1024);
  EXPECT_EQ(ParseMemAvailable("MemTotal: 100 kB\n"), 0);
  EXPECT_EQ(ParseMemAvailable("MemAvailable: many kB\n"), 0);
  EXPECT_EQ(ParseMemAvailable("MemAvailable:"), 0);
  EXPECT_EQ(ParseMemAvailable(""), 0);
}

TEST(MemAvailable, ThisMachineHasSome) { EXPECT_GT(AvailableMemoryBytes(), 0); }

TEST(PlanSlots, WhatFitsAtMostTheSessionsAndOneForOneShots) {
  EXPECT_EQ(*PlanSlots(1000, 100, 1024), 10);
  EXPECT_EQ(*PlanSlots(1099, 100, 1024), 10);
  EXPECT_EQ(*PlanSlots(1000, 100, 4), 5);
  EXPECT_EQ(*PlanSlots(200, 100, 4), 2);
  EXPECT_EQ(*PlanSlots(int64_t{1} << 60, 1, 1'000'000), 1'000'001);
}

TEST(PlanSlots, FewerThanTwoIsAnImpossibleConfiguration) {
  for (const int64_t bytes : {0, 99, 100, 199}) {
    const auto slots = PlanSlots(bytes, 100, 4);
    EXPECT_EQ(ExitCodeOf(slots.status()), ExitCode::kConfig) << bytes;
    EXPECT_THAT(std::string(slots.status().message()), testing::HasSubstr("--cache-memory-bytes"));
  }
}

TEST(PlanDeviceSlots, WhatTheDeviceAndTheLimitLeave) {
  EXPECT_EQ(*PlanDeviceSlots({.bytes = 1000}, 0, 100, 1024), 10);
  EXPECT_EQ(*PlanDeviceSlots({.bytes = 1000}, 0, 100, 4), 5);
  EXPECT_EQ(*PlanDeviceSlots({.bytes = 1000}, 500, 100, 1024), 5);
  EXPECT_EQ(*PlanDeviceSlots({.bytes = 1000}, 5000, 100, 1024), 10);
}

TEST(PlanDeviceSlots, ATooSmallDeviceIsNamedWithItsNumbers) {
  constexpr int64_t kMiB = 1 << 20;
  const auto slots =
      PlanDeviceSlots({.bytes = 150 * kMiB, .utilization = 0.8, .model_bytes = 1536 * kMiB}, 0, 100 * kMiB, 4);
  EXPECT_EQ(ExitCodeOf(slots.status()), ExitCode::kDevice);
  for (const char* number :
       {"--gpu-memory-utilization 0.8", "150.0 MiB", "1536.0 MiB", "100.0 MiB", "Lower --cache-tokens"}) {
    EXPECT_THAT(std::string(slots.status().message()), testing::HasSubstr(number));
  }
  EXPECT_EQ(ExitCodeOf(PlanDeviceSlots({}, 0, 100, 4).status()), ExitCode::kDevice);
}

TEST(PlanDeviceSlots, ATooLowLimitIsTheOperators) {
  const auto slots = PlanDeviceSlots({.bytes = 1000}, 150, 100, 4);
  EXPECT_EQ(ExitCodeOf(slots.status()), ExitCode::kConfig);
  EXPECT_THAT(std::string(slots.status().message()), testing::HasSubstr("--cache-memory-bytes"));
}

TEST(LoadProgress, ALineEveryTwoSeconds) {
  FakeClock clock;
  LoadProgress progress(int64_t{15} << 30, clock);
  EXPECT_EQ(progress.Update(1 << 30), std::nullopt);
  clock.Advance(std::chrono::milliseconds(1999));
  EXPECT_EQ(progress.Update(int64_t{2} << 30), std::nullopt);
  clock.Advance(std::chrono::milliseconds(1));
  EXPECT_EQ(progress.Update(8'000'000'000), "loading weights: 7.5 of 15.0 GiB, 4.0 GB/s");
  EXPECT_EQ(progress.Update(9'000'000'000), std::nullopt);
  clock.Advance(std::chrono::seconds(2));
  EXPECT_EQ(progress.Update(12'000'000'000), "loading weights: 11.2 of 15.0 GiB, 3.0 GB/s");
}

TEST(ExitCode, OfAnyOtherErrorIsAFault) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), ExitCode::kOk);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("x")), ExitCode::kFault);
  EXPECT_EQ(ExitCodeOf(ExitError(ExitCode::kPortInUse, "x")), ExitCode::kPortInUse);
}

}  // namespace
}  // namespace cascade
