#include "server/capacity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/exit_code.h"

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

TEST(ExitCode, OfAnyOtherErrorIsAFault) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), ExitCode::kOk);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("x")), ExitCode::kFault);
  EXPECT_EQ(ExitCodeOf(ExitError(ExitCode::kPortInUse, "x")), ExitCode::kPortInUse);
}

}  // namespace
}  // namespace cascade
