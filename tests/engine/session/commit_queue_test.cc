#include "engine/session/commit_queue.h"

#include <atomic>
#include <thread>

#include "tests/engine/session/vault_test_util.h"
#include "tests/support/faulty_directory.h"

namespace cascade {
namespace {

using test::QuickDirectory;
using test::RewindTo;

class CommitQueueTest : public test::VaultTest {
 protected:
  struct Shared {
    test::SessionModel model;
    std::shared_ptr<Journal> journal;
  };
  CommitQueueTest() {
    auto quick = std::make_unique<QuickDirectory>(path_);
    quick_ = quick.get();
    faulty_ = std::make_unique<FaultyDirectory>(std::move(quick));
    vault_ = OpenVault(*faulty_);
  }

  Shared CreateShared() {
    TestSession session = Create(*vault_);
    return {session.model, std::move(session.journal)};
  }
  // What the queue has made durable is there after a restart.
  void ExpectReloaded(Shared& shared) {
    shared.journal.reset();
    auto vault = OpenVault();
    auto journal = Journal::Load(vault->context(), shared.model.key, FilesOf(shared.model.key));
    ASSERT_TRUE(journal.ok()) << journal.status();
    TestSession session{shared.model, *std::move(journal)};
    Expect(session);
  }
  TurnRecord Next(const Shared& shared) { return shared.model.RandomTurnRecord(random_); }
  void Add(Shared& shared, const TurnRecord& turn) { shared.model.Add(turn, options_.keep_turn_starts); }

  QuickDirectory* quick_;
  std::unique_ptr<FaultyDirectory> faulty_;
  std::unique_ptr<Vault> vault_;
};

TEST_F(CommitQueueTest, CommitsTurnsAndRewinds) {
  CommitQueue queue;
  Shared shared = CreateShared();
  for (int i = 0; i < 50; ++i) {
    const TurnRecord turn = Next(shared);
    ASSERT_TRUE(queue.CommitAndWait(shared.journal, turn).ok());
    Add(shared, turn);
    if (i % 10 == 7) {
      const size_t left = shared.model.turns.size() - 2;
      const RewindRecord rewind = RewindTo(shared.model.Place(left), shared.model.last_used_ms + 1);
      ASSERT_TRUE(queue.CommitAndWait(shared.journal, rewind).ok());
      shared.model.TakeBack(left, rewind.ended_ms);
    }
    EXPECT_EQ(test::Describe(shared.journal->state()), test::Describe(shared.model.State(options_.keep_turn_starts)));
  }
  const CommitQueue::Counters counters = queue.counters();
  EXPECT_EQ(counters.commits, 55);
  EXPECT_EQ(counters.batches, 55);
  EXPECT_EQ(counters.failures, 0);
  EXPECT_GE(counters.microseconds, 0);
  ExpectReloaded(shared);
}

// While one group is synced the next one gathers, and is written before any of it is synced.
TEST_F(CommitQueueTest, CommitsInGroups) {
  constexpr int kSessions = 100;
  std::vector<Shared> sessions;
  for (int i = 0; i < kSessions; ++i) sessions.push_back(CreateShared());
  Mutex mutex;
  CondVar changed;
  bool gathered = false, begun = false;
  std::atomic<int> done = 0;
  std::atomic<int64_t> written_at_first_sync = 0;
  {
    CommitQueue queue;
    const int64_t before = BytesOnDisk();
    int syncs = 0;
    quick_->in_file_sync = [&] {
      MutexLock lock(mutex);
      begun = true;
      changed.NotifyAll();
      while (!gathered) changed.Wait(mutex);
      if (++syncs == 2) written_at_first_sync = BytesOnDisk() - before;
    };
    int64_t bytes = 0;
    for (Shared& shared : sessions) {
      const TurnRecord turn = Next(shared);
      Tag tag = {};
      bytes += static_cast<int64_t>(EncodeRecord(turn, vault_->sealer(), &tag).size());
      Add(shared, turn);
      queue.Commit(shared.journal, turn, [&](absl::Status status) {
        EXPECT_TRUE(status.ok()) << status;
        ++done;
      });
      if (&shared == &sessions[0]) {
        MutexLock lock(mutex);
        while (!begun) changed.Wait(mutex);
      }
    }
    EXPECT_EQ(done, 0);
    {
      MutexLock lock(mutex);
      gathered = true;
      changed.NotifyAll();
    }
    while (queue.counters().commits < kSessions) std::this_thread::yield();
    EXPECT_EQ(queue.counters().batches, 2);
    EXPECT_EQ(written_at_first_sync, bytes);
  }
  EXPECT_EQ(done, kSessions);
  quick_->in_file_sync = nullptr;
  for (Shared& shared : sessions) ExpectReloaded(shared);
}

TEST_F(CommitQueueTest, CommitsWhatIsThereWhenItEnds) {
  std::vector<Shared> sessions;
  for (int i = 0; i < 20; ++i) sessions.push_back(CreateShared());
  int done = 0;
  {
    CommitQueue queue;
    for (Shared& shared : sessions) {
      const TurnRecord turn = Next(shared);
      Add(shared, turn);
      queue.Commit(shared.journal, turn, [&](absl::Status status) { done += status.ok(); });
    }
  }
  EXPECT_EQ(done, 20);
  for (Shared& shared : sessions) ExpectReloaded(shared);
}

TEST_F(CommitQueueTest, ServesManyThreads) {
  constexpr int kThreads = 8, kTurns = 50;
  std::vector<Shared> sessions;
  std::vector<std::vector<TurnRecord>> turns(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    sessions.push_back(CreateShared());
    const Shared first = sessions.back();
    for (int turn = 0; turn < kTurns; ++turn) {
      turns[static_cast<size_t>(i)].push_back(Next(sessions.back()));
      Add(sessions.back(), turns[static_cast<size_t>(i)].back());
    }
  }
  CommitQueue queue;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (const TurnRecord& turn : turns[i]) EXPECT_TRUE(queue.CommitAndWait(sessions[i].journal, turn).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(queue.counters().commits, kThreads * kTurns);
  EXPECT_EQ(queue.counters().failures, 0);
  for (Shared& shared : sessions) ExpectReloaded(shared);
}

// One session's trouble is its own, and is tried once more.
TEST_F(CommitQueueTest, TriesOnceMoreInANewSegment) {
  CommitQueue queue;
  Shared shared = CreateShared(), other = CreateShared();
  for (const Fault fault : {Fault::kIoError, Fault::kFailedSync, Fault::kShortWrite, Fault::kNoSpace}) {
    for (const int operation : {1, 2}) {
      SCOPED_TRACE(static_cast<int>(fault) * 10 + operation);
      const TurnRecord turn = Next(shared);
      const int64_t fired = faulty_->faults_fired();
      const size_t segments = shared.journal->files().segments.size();
      faulty_->FailAt(operation, fault, false);
      const absl::Status status = queue.CommitAndWait(shared.journal, turn);
      EXPECT_TRUE(status.ok()) << status;
      Add(shared, turn);
      if (faulty_->faults_fired() > fired) {
        EXPECT_EQ(shared.journal->files().segments.size(), segments + 1);
      }
      faulty_->Heal();
    }
  }
  EXPECT_GE(faulty_->faults_fired(), 7);
  EXPECT_EQ(queue.counters().failures, 0);

  faulty_->FailAt(1, Fault::kFailedSync, true);
  const TurnRecord lost = Next(shared), others = Next(other);
  std::atomic<int> failed = 0;
  queue.Commit(shared.journal, lost, [&](absl::Status status) { failed += absl::IsInternal(status); });
  queue.CommitAndWait(other.journal, others).IgnoreError();
  EXPECT_EQ(failed, 1);
  EXPECT_EQ(queue.counters().failures, 2);
  faulty_->Heal();
  for (Shared* session : {&shared, &other}) {
    const TurnRecord turn = Next(*session);
    EXPECT_TRUE(queue.CommitAndWait(session->journal, turn).ok());
    Add(*session, turn);
    ExpectReloaded(*session);
  }
  EXPECT_EQ(faulty_->uses_after_failure(), 0);
}

// Whose session it is not may not write, however often.
TEST_F(CommitQueueTest, DoesNotFightForASession) {
  CommitQueue queue;
  Shared shared = CreateShared();
  QuickDirectory blind(path_);
  blind.all_dead = true;
  auto second = OpenVault(blind);
  auto taken = second->Load(shared.model.key);
  ASSERT_TRUE(taken.ok()) << taken.status();
  ASSERT_TRUE((*taken)->Claim().ok());
  faulty_->Heal();
  EXPECT_TRUE(absl::IsAborted(queue.CommitAndWait(shared.journal, Next(shared))));
  EXPECT_EQ(faulty_->operations(), 3);  // written, synced, looked
  EXPECT_TRUE(absl::IsAborted(queue.CommitAndWait(shared.journal, Next(shared))));
  EXPECT_EQ(faulty_->operations(), 3);
  std::shared_ptr<Journal> late = *Journal::Load(vault_->context(), shared.model.key, FilesOf(shared.model.key));
  faulty_->Heal();
  EXPECT_TRUE(absl::IsUnavailable(queue.CommitAndWait(late, Next(shared))));
  EXPECT_EQ(faulty_->operations(), 1);  // looked for the owner
  EXPECT_EQ(queue.counters().failures, 3);
}

}  // namespace
}  // namespace cascade
