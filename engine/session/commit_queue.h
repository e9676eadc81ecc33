// Makes turns durable before they are acknowledged: one thread that writes what has come in since it last looked, for
// all sessions together, and then syncs.
//
// DESIGN. Group commit over sessions: while one group's files are being synced the next one gathers. Records are
// written first, all of them, and synced afterwards, so that the file system's own transaction covers the group. A
// record whose write or sync failed is tried once more, in a new segment (journal.h); never is a sync itself repeated.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "engine/session/journal.h"
#include "kernels/base/mutex.h"

namespace cascade {

// Any thread.
class CommitQueue {
 public:
  struct Counters {
    int64_t commits = 0, batches = 0, failures = 0, microseconds = 0;
  };

  CommitQueue();
  // Commits what is there.
  ~CommitQueue();
  CommitQueue(const CommitQueue&) = delete;
  CommitQueue& operator=(const CommitQueue&) = delete;

  // `done` runs on this object's thread; until then nobody else uses the journal. Must not wait.
  void Commit(std::shared_ptr<Journal> journal, std::variant<TurnRecord, RewindRecord> record,
              std::function<void(absl::Status)> done);
  // Waits for it. Not from `done`.
  absl::Status CommitAndWait(std::shared_ptr<Journal> journal, std::variant<TurnRecord, RewindRecord> record);

  Counters counters();

 private:
  struct Entry {
    std::shared_ptr<Journal> journal;
    std::variant<TurnRecord, RewindRecord> record;
    std::function<void(absl::Status)> done;
    absl::Status status;
  };

  void Run();

  Mutex mutex_;
  CondVar changed_;
  std::vector<Entry> waiting_ CASCADE_GUARDED_BY(mutex_);
  bool stopping_ CASCADE_GUARDED_BY(mutex_) = false;
  Counters counters_ CASCADE_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace cascade
