// The waiting line between the callers' threads and the engine thread.
//
// DESIGN. Bounded by the number of turns that wait, not by those that were ever pushed: the engine thread takes a turn
// only when it starts it or drops it, so a full line is seen by the next caller at once. They wait in the order of
// their priority, of equal ones in that of their arrival. There is no ageing: a turn starts after all of higher
// priority that come before it does, however many; its deadline ends it where that takes too long. Turns that run are
// left alone, and a full line refuses turns of any priority. The same mutex and condition variable carry everything
// that may wake the engine thread. Nothing here runs a turn or knows a session.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "engine/turn.h"
#include "kernels/base/mutex.h"

namespace cascade {

class RequestQueue {
 public:
  explicit RequestQueue(int capacity) : capacity_(capacity) {}

  // Callers. Takes the turn only when OK; RESOURCE_EXHAUSTED: full; UNAVAILABLE: closed.
  absl::Status Push(std::unique_ptr<Turn>& turn);
  // All or none of some that have one priority; they stay together.
  absl::Status Push(std::vector<std::unique_ptr<Turn>>& turns);
  // No pushes from now on.
  void Close();
  // Runs `work` on the engine thread between two steps and waits for it. False: the engine thread has ended.
  bool RunBetweenSteps(std::function<void()> work);
  // Runs `work` on the engine thread between two steps, soon; it is lost when that thread has ended.
  void Post(std::function<void()> work);
  // Waits until every turn ever pushed is done, or for `patience`; true if all are.
  bool WaitUntilDone(std::chrono::nanoseconds patience);
  // The engine thread looks at everything again.
  void Wake();

  // Engine thread.
  // Takes out those turns for which `take`, called in their order, returns true.
  std::vector<std::unique_ptr<Turn>> Take(const std::function<bool(Turn&)>& take);
  // `count` turns are done: their last deltas have been pushed.
  void Done(int count);
  // Runs what RunBetweenSteps has left.
  void RunWork();
  // Sleeps until there may be something to do.
  void WaitForWork();
  // The engine thread ends: nobody waits for it any more.
  void Stop();

  int size();

 private:
  struct Work {
    std::function<void()> run;
    bool done = false;
  };

  const int capacity_;
  Mutex mutex_;
  CondVar wake_;   // of the engine thread
  CondVar ended_;  // a turn or a piece of work
  std::deque<std::unique_ptr<Turn>> waiting_ CASCADE_GUARDED_BY(mutex_);
  std::vector<Work*> work_ CASCADE_GUARDED_BY(mutex_);  // owned by their callers' stacks
  std::vector<std::function<void()>> posted_ CASCADE_GUARDED_BY(mutex_);
  int64_t not_done_ CASCADE_GUARDED_BY(mutex_) = 0;  // turns that wait or run
  bool signalled_ CASCADE_GUARDED_BY(mutex_) = false;
  bool closed_ CASCADE_GUARDED_BY(mutex_) = false;
  bool stopped_ CASCADE_GUARDED_BY(mutex_) = false;
};

}  // namespace cascade
