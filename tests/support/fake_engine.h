// An engine without a model: tests script what turns and sessions answer.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
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
  // Runs inside everything that may wait.
  void OnWait(std::function<void()> hook);
  // What Submit for sessions does from now on: whether it waits.
  void SubmitWaitsFromNowOn() { submit_waits_ = true; }
  // What ExportSession gives from now on; the fake's own is "head" and 8 bytes of cache.
  void SetExport(SessionExport session);
  // Bytes that were imported and finished, and what was asked of them.
  struct Imported {
    std::string bytes, label;
    std::optional<Durability> durability;
    bool replay = false;
  };
  std::vector<Imported> imported() const;
  int imports_open() const { return imports_open_; }  // neither finished nor dropped
  std::vector<RewindRequest> rewinds() const;
  // The next streams of ResumeTurn in order, which the test pushes into; waits as NextTurn.
  struct FakeResume {
    std::string session_id;
    int64_t from_seq = 0;
    std::shared_ptr<TokenStream> stream;
  };
  FakeResume NextResume();

  absl::StatusOr<SessionInfo> CreateSession(const std::string& label, std::optional<Durability> durability) override;
  absl::StatusOr<SessionInfo> GetSession(const std::string& id) override;
  absl::StatusOr<SessionPage> ListSessions(int page_size, const std::string& page_token) override;
  absl::Status DeleteSession(const std::string& id) override;
  absl::StatusOr<SessionInfo> ForkSession(const std::string& id, const std::string& label,
                                          std::optional<int64_t> expected_position) override;
  absl::StatusOr<std::vector<HeadView>> InspectSession(const std::string& id, std::vector<int> layers,
                                                       std::vector<int> kv_heads, int64_t* position) override;
  absl::StatusOr<SessionInfo> ParkSession(const std::string& id, ParkTarget target) override;
  absl::StatusOr<SessionInfo> RewindSession(const RewindRequest& request) override;
  absl::StatusOr<SessionExport> ExportSession(const std::string& id, bool with_history) override;
  absl::StatusOr<std::unique_ptr<SessionImport>> ImportSession() override;
  absl::StatusOr<std::shared_ptr<TokenStream>> ResumeTurn(const std::string& id, int64_t from_seq) override;
  absl::StatusOr<std::shared_ptr<TokenStream>> Submit(TurnRequest request) override;
  absl::StatusOr<std::vector<std::shared_ptr<TokenStream>>> SubmitReplies(TurnRequest request, int n) override;
  bool SubmitWaits(const std::string& session_id) override { return submit_waits_; }
  void StopAdmission() override;
  DrainReport Drain(SteadyTime deadline) override;
  std::chrono::nanoseconds ParkingTime() const override { return {}; }
  int SlotsFree() const override;
  const Metrics& metrics() const override { return metrics_; }
  const EngineOptions& options() const override { return options_; }

  Metrics& mutable_metrics() { return metrics_; }

 private:
  class FakeImport;

  void Wait();
  // What FailWith says, or NOT_FOUND.
  absl::StatusOr<SessionInfo*> Find(const std::string& id) CASCADE_REQUIRES(mutex_);

  const EngineOptions options_;
  Metrics metrics_;
  mutable Mutex mutex_;
  CondVar submitted_;
  absl::Status failure_ CASCADE_GUARDED_BY(mutex_);
  std::function<void()> on_wait_ CASCADE_GUARDED_BY(mutex_);
  std::deque<FakeTurn> turns_ CASCADE_GUARDED_BY(mutex_);
  std::deque<FakeResume> resumes_ CASCADE_GUARDED_BY(mutex_);
  std::map<std::string, SessionInfo> sessions_ CASCADE_GUARDED_BY(mutex_);
  std::vector<Imported> imported_ CASCADE_GUARDED_BY(mutex_);
  std::vector<RewindRequest> rewinds_ CASCADE_GUARDED_BY(mutex_);
  SessionExport export_ CASCADE_GUARDED_BY(mutex_);
  std::atomic<bool> submit_waits_{false};
  std::atomic<int> imports_open_{0};
  int made_ CASCADE_GUARDED_BY(mutex_) = 0;
};

// Host memory of a cache, each byte a function of its place.
std::shared_ptr<kernels::HostMemory> FakeCache(size_t bytes);

// Deltas as an engine makes them.
TurnDelta TextDelta(const std::string& text, std::vector<int32_t> ids);
TurnDelta FinishedDelta(FinishReason reason, absl::Status status = absl::OkStatus());

}  // namespace cascade
