#include "kernels/cpu/attend.h"

#include "kernels/base/check.h"
#include "kernels/cpu/attend_tasks.h"

namespace cascade::kernels {

void AttendScratch::Reserve(const AttendPlan& plan, int num_threads) {
  logits.Reserve(plan.logits_floats);
  inverse_sums.Reserve(plan.inverse_floats);
  workers.resize(num_threads);
  for (ScratchFloats& worker : workers) worker.Reserve(plan.worker_floats);
}

void Attend(const CacheLayout& layout, const CacheStep& step, const AttendPlan& plan, int layer, TensorView q,
            TensorView out, AttendScratch& scratch, ThreadPool& pool) {
  const CacheShape& shape = layout.shape();
  const int64_t width = int64_t{shape.num_kv_heads} * shape.group * shape.head_dim;
  CASCADE_CHECK(layer >= 0 && layer < shape.num_layers);
  CASCADE_CHECK(q.type == DType::kF32 && out.type == DType::kF32 && q.cols == width && out.cols == width);
  for (const StepSlice& slice : step.slices) {
    CASCADE_CHECK(slice.first_row + slice.num_rows <= q.rows && slice.first_row + slice.num_rows <= out.rows);
  }
  const AttendKernels kernels = ChooseAttendKernels();
  for (const AttendRound& round : plan.rounds) {
    const auto context = [&](const AttendTask& task) {
      const AttendUnit& unit = round.units[task.unit];
      const StepSlice& slice = step.slices[unit.slice];
      const int64_t rows = int64_t{unit.rows} * shape.group;
      return AttendContext{
          .layout = layout,
          .step = step,
          .slice = slice,
          .unit = unit,
          .weights = plan.weights[unit.slice],
          .block = layout.Block(slice.memory, layer, task.kv_head),
          .q = q.f32(),
          .out = out.f32(),
          .logits = scratch.logits.data() + unit.logits_offset + task.kv_head * rows * unit.logits_stride,
          .inverse_sums = scratch.inverse_sums.data() + unit.inverse_offset + task.kv_head * rows};
    };
    pool.ParallelFor(static_cast<int64_t>(round.logits.size()), [&](int64_t i, int worker) {
      const AttendTask& task = round.logits[i];
      kernels.logits(context(task), task, scratch.workers[worker].data());
    });
    pool.ParallelFor(static_cast<int64_t>(round.softmax.size()), [&](int64_t i, int worker) {
      const AttendTask& task = round.softmax[i];
      kernels.softmax(context(task), task);
    });
    const int64_t num_values = static_cast<int64_t>(round.values.size());
    pool.ParallelFor(num_values + static_cast<int64_t>(round.scores.size()), [&](int64_t i, int worker) {
      if (i < num_values) {
        const AttendTask& task = round.values[i];
        kernels.values(context(task), task, scratch.workers[worker].data());
      } else {
        const AttendTask& task = round.scores[i - num_values];
        kernels.scores(context(task), task);
      }
    });
  }
}

}  // namespace cascade::kernels
