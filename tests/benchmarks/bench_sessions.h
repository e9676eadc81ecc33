// Sessions that read and write without an engine, through the same pipeline of steps: as many in flight as the model
// takes, sampled ids fed back on the device where that is possible.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/cache/cascade_plan.h"
#include "engine/model/llama.h"

namespace cascade::bench {

// What the timed steps did, for limits.
struct StepTotals {
  int64_t steps = 0;
  int64_t rows = 0;
  int64_t held_tokens = 0;    // over steps and sessions, the fed ones included
  int64_t scored_tokens = 0;  // the same without sinks
  int64_t open_tokens = 0;    // in open strides
  double keys_seen = 0;       // over rows
};

struct Timing {
  double seconds = 0;
  double launch_seconds = 0;  // of them the host spent beginning steps
  int64_t waits = 0;          // steps that the host had to wait for: the device had work all the time
  StepTotals totals;
};

// In slots first .. first + count - 1.
class Sessions {
 public:
  // `max_rows` bounds the rows of a prefill step; `vocabulary` ids may be sampled.
  Sessions(Model& model, const CascadeGeometry& geometry, int first, int count, int max_rows);

  // From an empty slot: each session reads `tokens`, one session after the other.
  Timing Prefill(int64_t tokens);
  // Declares that each session has seen so many tokens, whatever its slot holds: the arithmetic of later steps does not
  // depend on that.
  void PretendSeen(int64_t tokens);
  // Each session gets a token per step, `steps` of them timed after `lead` that are not. `on_begin` (may be null): as
  // the timing begins.
  Timing Decode(int lead, int64_t steps, const std::function<void()>& on_begin = nullptr);

 private:
  // Adds the next `rows` tokens of a session; `sampled`: the only row's id is what was sampled last.
  void AddSlice(ForwardBatch& batch, size_t session, int rows, bool sampled);
  void Launch(const ForwardBatch& batch);
  void Collect();
  void BeginTiming();
  Timing EndTiming();

  Model& model_;
  const CascadeGeometry& geometry_;
  const int first_slot_;
  const int max_rows_;
  std::vector<CascadePlan> plans_;
  std::vector<std::vector<kernels::Segment>> segments_;
  std::vector<std::vector<kernels::CloseMove>> moves_;
  std::vector<int32_t> last_ids_;  // of each session, where the model cannot feed them back itself
  ForwardResult result_;
  int in_flight_ = 0;
  Timing timing_;
  double begin_ = 0;
};

// Seconds on a clock that only runs forward.
double Now();

}  // namespace cascade::bench
