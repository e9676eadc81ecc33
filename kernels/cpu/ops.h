// The row-wise ops of kernels/backend.h, one per source file; see there for shapes. Each spreads rows over the pool.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/backend.h"
#include "kernels/cpu/packed_weight.h"
#include "kernels/base/thread_pool.h"

namespace cascade::kernels {

// The first rows of `out`, as many as there are ids.
void EmbedRows(const PackedWeight& table, std::span<const int32_t> ids, TensorView out, ThreadPool& pool);

// gain: a weight of one row.
void RmsNormRows(TensorView x, const PackedWeight& gain, float eps, TensorView out, ThreadPool& pool);

void SiluMulRows(TensorView gate, TensorView up, ThreadPool& pool);

void CopyRows(TensorView x, std::span<const int32_t> rows, TensorView out, ThreadPool& pool);

void ScoreRows(TensorView logits, std::span<const int32_t> targets, std::span<TokenScore> scores, ThreadPool& pool);

// Calls function(int64_t row) for every row of `row_elements` elements, several to a task when they are short.
template <class Function>
void ForRows(ThreadPool& pool, int64_t rows, int64_t row_elements, const Function& function) {
  constexpr int64_t kTaskElements = 8192;  // some microseconds; less is not worth waking a thread for
  const int64_t per_task = kTaskElements / (row_elements + 1) + 1;
  pool.ParallelFor((rows + per_task - 1) / per_task, [&](int64_t task, int) {
    const int64_t end = (task + 1) * per_task < rows ? (task + 1) * per_task : rows;
    for (int64_t row = task * per_task; row < end; ++row) function(row);
  });
}

}  // namespace cascade::kernels
