// One step's input to the model, slice by slice, and where each turn finds its results.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/cache/cascade_plan.h"
#include "engine/model/llama.h"

namespace cascade {

// Rows of a slice whose logits the host wants.
struct LogitRows {
  int begin = 0;
  int end = 0;
  bool samples = false;  // it samples from the last one, which is the slice's last
};

// Used by the engine thread.
class Batch {
 public:
  // Ids below `vocabulary` may be sampled.
  explicit Batch(int vocabulary) { forward_.vocabulary = vocabulary; }

  // Which turn's slice it was, and which results are its own.
  struct Entry {
    int64_t turn = 0;
    int rows = 0;
    int sample = -1;      // in ForwardResult::sampled; -1: none wanted
    int first_score = 0;  // in ForwardResult::scores
    int num_scores = 0;
    int first_logits = 0;  // in ForwardResult::logits
    int num_logits = 0;
    bool samples_on_host = false;  // .. from the last of those; what is in `sampled` does not count
    int64_t evicted = 0;           // tokens that left the cache
    bool closed_stride = false;
  };

  // Adds the next `ids` of a turn, at most plan.TokensUntilCut(), and moves `plan` on past them, through the close of
  // the stride if they fill it. `sample`: how the id after the last one is chosen; null: it is not. `targets`: empty,
  // or what each row is scored against, [ids]. Slices of one row come before longer ones.
  void Add(int64_t turn, int slot, CascadePlan& plan, std::span<const int32_t> ids,
           const kernels::SampleRequest* sample, std::span<const int32_t> targets, const LogitRows& logits = {});

  const ForwardBatch& forward() const { return forward_; }
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  ForwardBatch forward_;
  std::vector<Entry> entries_;
  // What the slices' and closes' spans point to: the inner vectors' elements, which stay where they are when the outer
  // ones grow.
  std::vector<std::vector<kernels::Segment>> segments_;
  std::vector<std::vector<kernels::CloseMove>> moves_;
};

}  // namespace cascade
