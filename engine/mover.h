// Moves sessions' caches between slots, host memory and disk, and writes their images.
//
// DESIGN. Two threads: one brings sessions in, whose turns wait; the other makes room and writes images, which takes as
// long as the disk does. Whatever touches a slot is begun by the engine's thread between two steps, in a moment, and
// waited for here; a slot that is read or written is in no step (session_store.h, `moving`; or its turn has not
// started). Files are written here or on a caller's thread, never on the engine's.
//
// Room is made when a turn finds no free slot, from the session that was used longest ago: to host memory while there
// is a place, where the oldest goes to disk for it. A session without a journal never goes to disk.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "engine/between_steps.h"
#include "engine/engine.h"
#include "engine/host_places.h"
#include "engine/metrics.h"
#include "engine/model/llama.h"
#include "engine/session/session_store.h"
#include "kernels/base/mutex.h"

namespace cascade {

// What a session's slot holds once it has been brought in, and what is missing.
struct BroughtIn {
  absl::Status status;
  int64_t tokens_seen = 0;
  uint64_t digest = 0;
  std::vector<int32_t> ids;  // to be fed before the turn's own
};

// Any thread but the engine's, unless said.
class Mover {
 public:
  // `wake`: the engine's thread looks again for what waits. `on_lost_device`: of work that nobody waits for; it may
  // wait for that thread. All outlive it; `between_steps` until Stop has returned.
  Mover(const EngineOptions& options, Model& model, SessionStore& sessions, Metrics& metrics,
        BetweenSteps between_steps, std::function<void()> wake,
        std::function<void(const absl::Status&)> on_lost_device);
  ~Mover() { Stop(); }
  Mover(const Mover&) = delete;
  Mover& operator=(const Mover&) = delete;
  // Ends what runs, and its threads; what is asked for afterwards does not happen. No turn may wait for it any more.
  void Stop();

  // The engine's thread; both return at once.
  // A slot is wanted. False: nothing could be moved out since SomethingChanged was called last, and nothing is on its
  // way.
  bool MakeRoom();
  void SomethingChanged() { out_failed_.store(false); }
  // Brings a session's cache into a slot. `done` runs on this object's thread.
  void BringIn(Session session, int slot, std::function<void(BroughtIn)> done);
  // Writes what `cache` holds as an image of a session whose turn goes on.
  void WriteImage(std::shared_ptr<Journal> journal, int64_t tokens_seen, uint64_t digest,
                  std::shared_ptr<kernels::HostMemory> cache);
  // Memory for that; null: none is free now.
  std::shared_ptr<kernels::HostMemory> TryTurnImage() { return turn_images_.TryTake(); }
  std::shared_ptr<kernels::HostMemory> TryScores() { return scores_.TryTake(); }

  // Begins to write an image of an idle session, if its newest is too old. Returns at once.
  void RefreshImage(const std::string& id);
  // Whether a cache that has seen so many tokens is too far ahead of the newest image.
  bool ImageIsDue(Journal& journal, int64_t tokens_seen) const;
  // Tokens that may be fed without an image at most.
  int64_t image_interval() const { return image_interval_; }

  // An image of what a slot holds, whose session nobody else uses until `done`, on this object's thread. Returns at
  // once.
  void WriteSlotImage(std::shared_ptr<Journal> journal, const SessionCache& cache,
                      std::function<void(absl::Status)> done);

  // Return at once.
  // Of a session that has expired.
  void RemoveFiles(std::shared_ptr<Session> session);
  void RemoveImagesAfter(std::shared_ptr<Journal> journal, int64_t tokens_seen);

  // These wait.
  // Ends the move. FAILED_PRECONDITION: this session can not go there; RESOURCE_EXHAUSTED: there is no room.
  absl::Status Park(SessionMove move, ParkTarget target);
  absl::Status CopyTo(std::span<std::byte> host, int slot);  // `host` lies in HostMemory
  // All sessions with a journal, to disk, until `deadline`: how many went, how many did not.
  std::pair<int, int> ParkAll(std::chrono::steady_clock::time_point deadline);

  std::chrono::nanoseconds TimePerImage() const;

 private:
  // A queue of jobs and its thread.
  struct Worker {
    Mutex mutex;
    CondVar changed;
    std::deque<std::function<void()>> jobs CASCADE_GUARDED_BY(mutex);
    bool stopping CASCADE_GUARDED_BY(mutex) = false;
    std::thread thread;
  };
  static void Run(Worker& worker);
  static void Post(Worker& worker, std::function<void()> job);

  BroughtIn Bring(Session& session, int slot);
  absl::Status CopyIn(int slot, std::span<const std::byte> cache);
  absl::StatusOr<std::shared_ptr<kernels::HostMemory>> CopyOut(int slot);
  absl::Status ParkMove(SessionMove& move, ParkTarget target);
  void Tell(const absl::Status& status);
  absl::Status ParkToHost(SessionMove& move);  // ends the move when it is OK
  absl::Status ParkToDisk(SessionMove& move);
  absl::Status WriteImageNow(Journal& journal, int64_t tokens_seen, uint64_t digest, std::span<const std::byte> cache);
  void MoveOneOut();

  const EngineOptions& options_;
  Model& model_;
  SessionStore& sessions_;
  Metrics& metrics_;
  const BetweenSteps between_steps_;
  const std::function<void()> wake_;
  const std::function<void(const absl::Status&)> on_lost_device_;
  const size_t cache_bytes_;
  const int64_t image_interval_;
  HostPlaces host_;     // of parked sessions
  HostPlaces staging_;  // on their way to and from files
  // Of images of turns that go on. Apart from those: their files are written by the same thread that waits for those.
  HostPlaces turn_images_;
  HostPlaces scores_;  // of turns' starts
  std::atomic<int> moving_out_{0};
  std::atomic<bool> out_failed_{false};  // the last time
  std::atomic<int64_t> image_ns_{0};     // of the last ones, averaged
  Worker in_, out_;
};

// Caches that host memory of so many bytes has places for.
int CountHostPlaces(int64_t bytes, size_t cache_bytes);

}  // namespace cascade
