#include "engine/session/commit_queue.h"

#include <chrono>
#include <utility>

namespace cascade {
namespace {

absl::Status Append(Journal& journal, const std::variant<TurnRecord, RewindRecord>& record) {
  return std::visit([&](const auto& written) { return journal.Append(written); }, record);
}

// Another server has the session.
bool IsFinal(const absl::Status& status) {
  return status.ok() || absl::IsAborted(status) || absl::IsUnavailable(status);
}

}  // namespace

CommitQueue::CommitQueue() : thread_([this] { Run(); }) {}

CommitQueue::~CommitQueue() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void CommitQueue::Commit(std::shared_ptr<Journal> journal, std::variant<TurnRecord, RewindRecord> record,
                         std::function<void(absl::Status)> done) {
  MutexLock lock(mutex_);
  waiting_.push_back({std::move(journal), std::move(record), std::move(done), absl::OkStatus()});
  changed_.NotifyAll();
}

absl::Status CommitQueue::CommitAndWait(std::shared_ptr<Journal> journal,
                                        std::variant<TurnRecord, RewindRecord> record) {
  Mutex mutex;
  CondVar ended;
  bool done = false;
  absl::Status result;
  Commit(std::move(journal), std::move(record), [&](absl::Status status) {
    MutexLock lock(mutex);
    result = std::move(status);
    done = true;
    ended.NotifyAll();
  });
  MutexLock lock(mutex);
  while (!done) ended.Wait(mutex);
  return result;
}

CommitQueue::Counters CommitQueue::counters() {
  MutexLock lock(mutex_);
  return counters_;
}

void CommitQueue::Run() {
  while (true) {
    std::vector<Entry> batch;
    {
      MutexLock lock(mutex_);
      while (waiting_.empty() && !stopping_) changed_.Wait(mutex_);
      if (waiting_.empty()) return;
      batch.swap(waiting_);
    }
    const auto begin = std::chrono::steady_clock::now();
    for (Entry& entry : batch) entry.status = Append(*entry.journal, entry.record);
    for (Entry& entry : batch) {
      if (entry.status.ok()) entry.status = entry.journal->Sync();
      if (IsFinal(entry.status)) continue;
      entry.status = Append(*entry.journal, entry.record);
      if (entry.status.ok()) entry.status = entry.journal->Sync();
    }
    const auto spent = std::chrono::steady_clock::now() - begin;
    {
      MutexLock lock(mutex_);
      ++counters_.batches;
      counters_.commits += static_cast<int64_t>(batch.size());
      for (const Entry& entry : batch) counters_.failures += entry.status.ok() ? 0 : 1;
      counters_.microseconds += std::chrono::duration_cast<std::chrono::microseconds>(spent).count();
    }
    for (Entry& entry : batch) {
      entry.journal.reset();
      entry.done(std::move(entry.status));
    }
  }
}

}  // namespace cascade
