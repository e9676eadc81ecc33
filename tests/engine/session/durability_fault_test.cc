// Every file operation of every thing that is done to a session fails, in every way, once and from then on. Then the
// disk is good again and a new server starts: what was acknowledged is there, and nothing is half.
#include <cstdio>
#include <functional>

#include "absl/strings/str_cat.h"
#include "tests/engine/session/durability_test_util.h"

namespace cascade {
namespace {

constexpr Fault kFaults[] = {Fault::kNoSpace, Fault::kIoError, Fault::kShortWrite, Fault::kFailedSync,
                             Fault::kFailedRename};

class DurabilityFaultTest : public test::DurabilityTest {
 protected:
  struct Scenario {
    const char* name;
    int min_faults;
    std::function<void()> run;
    bool retries = false;  // a fault that comes once is mended
  };
  void TryEveryFault(const Scenario& scenario) {
    Start();
    faulty_->Heal();
    from_then_on_ = false;
    scenario.run();
    const int64_t operations = faulty_->operations();
    ExpectAllThere();
    int64_t fired = 0;
    int runs = 0, failures = 0;
    for (const Fault fault : kFaults) {
      bool suits = true;  // some operation from this one on
      for (int64_t operation = 1; operation <= operations && suits && !HasFatalFailure(); ++operation) {
        for (const bool from_then_on : {false, true}) {
          SCOPED_TRACE(absl::StrCat(scenario.name, ": fault ", static_cast<int>(fault), " at ", operation, " of ",
                                    operations, from_then_on ? ", from then on" : ""));
          from_then_on_ = from_then_on;
          Start();
          faulty_->FailAt(operation, fault, from_then_on);
          scenario.run();
          fired += faulty_->faults_fired();
          suits = faulty_->faults_fired() > 0;
          faulty_->Heal();
          EXPECT_FALSE(scenario.retries && !from_then_on && once_failed_);
          if (once_failed_) ++failures;
          ++runs;
          // The server itself goes on, too.
          if (live_.journal != nullptr && expected_[session_.key].may_be_gone == false) {
            EXPECT_TRUE(RecordTurn().ok());
          }
          EXPECT_TRUE(live_other_.journal == nullptr || live_other_.journal->Claim().ok());
          ExpectAllThere();
        }
      }
    }
    std::printf("%s: %lld operations, %d runs, %lld faults fired, %d runs with a turn that failed\n", scenario.name,
                static_cast<long long>(operations), runs, static_cast<long long>(fired), failures);
    EXPECT_GE(fired, scenario.min_faults);
  }
};

TEST_F(DurabilityFaultTest, Create) {
  TryEveryFault({"create", 70, [&] { CreateOne(); }});
}

TEST_F(DurabilityFaultTest, CreateFromACache) {
  TryEveryFault({"create from a cache", 120, [&] { CreateFrom(); }});
}

TEST_F(DurabilityFaultTest, Turn) {
  TryEveryFault({"turn", 120, [&] {
                   for (int turn = 0; turn < 3; ++turn) {
                     RecordTurn().IgnoreError();
                     if (turn == 1) live_.journal->CloseFile();
                   }
                 }});
}

TEST_F(DurabilityFaultTest, TurnInTheQueue) {
  TryEveryFault({"turn in the queue", 450,
                 [&] {
                   CommitQueue queue;
                   for (int turn = 0; turn < 3; ++turn) RecordTurn(&queue).IgnoreError();
                   RecordRewind(&queue).IgnoreError();
                   RecordTurn(&queue).IgnoreError();
                 },
                 true});
}

TEST_F(DurabilityFaultTest, Image) {
  TryEveryFault({"image", 320, [&] {
                   RecordTurn().IgnoreError();
                   Image();
                   RecordTurn().IgnoreError();
                   Image();
                 }});
}

TEST_F(DurabilityFaultTest, Retention) {
  options_.retain_all = false;
  Prepare();
  TryEveryFault({"retention", 1500, [&] {
                   for (int image = 0; image < 3; ++image) {
                     RecordTurn().IgnoreError();
                     RecordTurn().IgnoreError();
                     Image();
                   }
                 }});
}

TEST_F(DurabilityFaultTest, Restore) {
  TryEveryFault({"restore", 70, [&] { RestoreAll(); }});
}

TEST_F(DurabilityFaultTest, Rewind) {
  TryEveryFault({"rewind", 260, [&] {
                   RecordRewind().IgnoreError();
                   RecordTurn().IgnoreError();
                   Image();
                   RecordRewind().IgnoreError();
                 }});
}

TEST_F(DurabilityFaultTest, Fork) {
  TryEveryFault({"fork", 450, [&] {
                   Fork();
                   RecordTurn().IgnoreError();
                   Fork();
                 }});
}

TEST_F(DurabilityFaultTest, Remove) {
  TryEveryFault({"remove", 50, [&] { RemoveIt(); }});
}

TEST_F(DurabilityFaultTest, RemoveAndTryAgain) {
  TryEveryFault({"remove twice", 140, [&] {
                   RemoveIt();
                   RemoveIt();
                 }});
}

TEST_F(DurabilityFaultTest, Recover) {
  TryEveryFault({"recover", 400, [&] { Recover(); }});
}

}  // namespace
}  // namespace cascade
