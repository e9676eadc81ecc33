// An engine without a model: tests script what turns and sessions answer.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "kernels/base/mutex.h"

namespace cascade {

// A turn that was submitted and that the test now plays the engine for.
struct FakeTurn {
  TurnRequest request;
  std::shared_ptr<TokenStream> stream;
};

// Thread-safe.
class FakeEngine final : public Engine {
 public:
  explicit FakeEngine(EngineOptions options);

  // The next turn in order of submission; waits for it. Fails the process after ten seconds.
  FakeTurn NextTurn();
  // What the next calls answer instead of OK. OK: as usual.
  void FailWith(absl::Status status);
  // Runs inside DeleteSession, ForkSession and InspectSession, which may wait.
  void OnWait(std::function<void()> hook);

  absl::StatusOr<SessionInfo> CreateSession(const std::string& label) override;
  absl::StatusOr<SessionInfo> GetSession(const std::string& id) override;
  absl::StatusOr<SessionPage> ListSessions(int page_size, const std::string& page_token) override;
  absl::Status DeleteSession(const std::string& id) override;
  absl::StatusOr<SessionInfo> ForkSession(const std::string& id, const std::string& label,
                                          std::optional<int64_t> expected_position) override;
  absl::StatusOr<std::vector<HeadView>> InspectSession(const std::string& id, std::vector<int> layers,
                                                       std::vector<int> kv_heads, int64_t* position) override;
  absl::StatusOr<std::shared_ptr<TokenStream>> Submit(TurnRequest request) override;
  void StopAdmission() override;
  void Drain(SteadyTime deadline) override;
  int SlotsFree() const override;
  const Metrics& metrics() const override { return metrics_; }
  const EngineOptions& options() const override { return options_; }

  Metrics& mutable_metrics() { return metrics_; }

 private:
  void Wait();

  const EngineOptions options_;
  Metrics metrics_;
  mutable Mutex mutex_;
  CondVar submitted_;
  absl::Status failure_ CASCADE_GUARDED_BY(mutex_);
  std::function<void()> on_wait_ CASCADE_GUARDED_BY(mutex_);
  std::deque<FakeTurn> turns_ CASCADE_GUARDED_BY(mutex_);
  std::map<std::string, SessionInfo> sessions_ CASCADE_GUARDED_BY(mutex_);
  int made_ CASCADE_GUARDED_BY(mutex_) = 0;
};

// Deltas as an engine makes them.
TurnDelta TextDelta(const std::string& text, std::vector<int32_t> ids);
TurnDelta FinishedDelta(FinishReason reason, absl::Status status = absl::OkStatus());

}  // namespace cascade
