// The inner kernels of attention, one per kind of task (attend_plan.h), for the instruction set of this machine.
#pragma once

#include <vector>

#include "kernels/cpu/attend_plan.h"
#include "kernels/cpu/cache_layout.h"
#include "kernels/cpu/cache_step.h"

namespace cascade::kernels {

// What a task works on: one unit and KV head.
struct AttendContext {
  const CacheLayout& layout;
  const CacheStep& step;
  const StepSlice& slice;
  const AttendUnit& unit;
  const std::vector<float>& weights;  // [slice rows]; empty for sinks
  HeadBlock block;
  const float* q;       // [step rows, kv_heads * G * head_dim]
  float* out;           // same
  float* logits;        // [rows * G][unit.logits_stride], row-major: row * G + g
  float* inverse_sums;  // [rows * G]
};

struct AttendKernels {
  // logits[task.begin tiles ..) in units of log2, -infinity where a row does not see the key.
  // scratch: AttendPlan::worker_floats.
  void (*logits)(const AttendContext& context, const AttendTask& task, float* scratch);
  // logits become exp2(logit - maximum); inverse_sums their inverse sums.
  void (*softmax)(const AttendContext& context, const AttendTask& task);
  // out = exponentials * values * inverse sum, for the task's rows and head elements.
  void (*values)(const AttendContext& context, const AttendTask& task, float* scratch);
  // Adds the rows' probabilities, weighted, to the scores (mean) or sums (max) of the task's tiles, row by row.
  void (*scores)(const AttendContext& context, const AttendTask& task);
};

AttendKernels ChooseAttendKernels();

}  // namespace cascade::kernels
