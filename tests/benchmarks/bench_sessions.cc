#include "tests/benchmarks/bench_sessions.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "tests/benchmarks/or_die.h"

namespace cascade::bench {
namespace {

// A wait that is shorter found the step done.
constexpr double kWaitSeconds = 5e-6;

}  // namespace

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

Sessions::Sessions(Model& model, const CascadeGeometry& geometry, int first, int count, int max_rows)
    : model_(model),
      geometry_(geometry),
      first_slot_(first),
      max_rows_(max_rows),
      plans_(static_cast<size_t>(count), CascadePlan(geometry)),
      segments_(static_cast<size_t>(count)),
      moves_(static_cast<size_t>(count)),
      last_ids_(static_cast<size_t>(count), 0) {}

void Sessions::PretendSeen(int64_t tokens) { std::fill(plans_.begin(), plans_.end(), CascadePlan(geometry_, tokens)); }

void Sessions::AddSlice(ForwardBatch& batch, size_t session, int rows, bool sampled) {
  CascadePlan& plan = plans_[session];
  kernels::Slice slice = plan.NextSlice(rows, segments_[session]);
  slice.slot = first_slot_ + static_cast<int>(session);
  slice.first_row = static_cast<int>(batch.ids.size());
  for (int row = 0; row < rows; ++row) {  // any ids will do, but not always the same
    const uint64_t token = static_cast<uint64_t>(slice.first_token + row) * 2654435761u + session;
    batch.ids.push_back(sampled ? kernels::kSampledId
                                : static_cast<int32_t>((token >> 7) % static_cast<uint64_t>(model_.vocabulary())));
  }
  StepTotals& totals = timing_.totals;
  for (const kernels::Segment& segment : slice.segments) {
    totals.keys_seen += static_cast<double>(segment.count) * rows;
    if (segment.grows) totals.keys_seen += static_cast<double>(rows) * (rows - 1) / 2;
  }
  batch.slices.push_back(slice);
  plan.Advance(rows);
  totals.rows += rows;
  totals.held_tokens += plan.tokens_resident();
  totals.scored_tokens += plan.tokens_resident() - plan.sinks();
  totals.open_tokens += plan.open_tokens();
  if (plan.StrideIsFull()) {
    kernels::Close close = plan.CloseStride(moves_[session]);
    close.slot = slice.slot;
    batch.closes.push_back(close);
  }
}

void Sessions::Launch(const ForwardBatch& batch) {
  const double begin = Now();
  Check(model_.Launch(batch));
  timing_.launch_seconds += Now() - begin;
  ++timing_.totals.steps;
  ++in_flight_;
}

void Sessions::Collect() {
  const double begin = Now();
  Check(model_.Collect(result_));
  if (Now() - begin > kWaitSeconds) ++timing_.waits;
  --in_flight_;
  for (const int32_t id : result_.sampled) {
    if (id == kernels::kNoId) Check(absl::InternalError("the logits are not finite"));
  }
}

void Sessions::BeginTiming() {
  timing_ = {};
  begin_ = Now();
}

Timing Sessions::EndTiming() {
  timing_.seconds = Now() - begin_;
  return timing_;
}

Timing Sessions::Prefill(int64_t tokens) {
  for (size_t i = 0; i < plans_.size(); ++i) {
    plans_[i] = CascadePlan(geometry_);
    model_.ClearSlot(first_slot_ + static_cast<int>(i));
  }
  BeginTiming();
  for (size_t session = 0; session < plans_.size(); ++session) {
    for (int64_t left = tokens; left > 0;) {
      const int rows = static_cast<int>(std::min<int64_t>({left, plans_[session].TokensUntilCut(), max_rows_}));
      ForwardBatch batch;
      batch.vocabulary = model_.vocabulary();
      AddSlice(batch, session, rows, /*sampled=*/false);
      left -= rows;
      if (left == 0) {  // as a prompt's end wants it
        batch.sample_rows = {rows - 1};
        batch.samples = {{.slot = first_slot_ + static_cast<int>(session)}};
      }
      if (in_flight_ == model_.max_steps_in_flight()) Collect();
      Launch(batch);
    }
  }
  while (in_flight_ > 0) Collect();
  return EndTiming();
}

Timing Sessions::Decode(int lead, int64_t steps, const std::function<void()>& on_begin) {
  // A step is timed from the end of the one before it to its own end, which is when it is collected; what it held is
  // counted when it is launched, up to two steps earlier.
  BeginTiming();
  const int64_t total = lead + steps;
  int64_t launched = 0, collected = 0;
  double begin = begin_;
  double launch_before = 0;
  int64_t waits_before = 0;
  while (collected < total) {
    if (launched == total || in_flight_ == model_.max_steps_in_flight()) {
      Collect();
      if (++collected == lead) {
        begin = Now();
        launch_before = timing_.launch_seconds;
        waits_before = timing_.waits;
        if (on_begin != nullptr) on_begin();
      }
      if (model_.max_steps_in_flight() == 1) last_ids_ = result_.sampled;
      continue;
    }
    if (launched == lead) timing_.totals = {};
    ForwardBatch batch;
    batch.vocabulary = model_.vocabulary();
    const bool fed_back = launched > 0 && model_.max_steps_in_flight() > 1;
    for (size_t session = 0; session < plans_.size(); ++session) {
      batch.sample_rows.push_back(static_cast<int32_t>(batch.ids.size()));
      batch.samples.push_back({.slot = first_slot_ + static_cast<int>(session)});
      AddSlice(batch, session, 1, fed_back);
      if (!fed_back && launched > 0) batch.ids.back() = last_ids_[session];
    }
    Launch(batch);
    ++launched;
  }
  Timing timing = EndTiming();
  timing.seconds = Now() - begin;
  timing.launch_seconds -= launch_before;
  timing.waits -= waits_before;
  return timing;
}

}  // namespace cascade::bench
