#include "kernels/cuda/close_tables.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/cuda/device.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr size_t kMostGridRows = 65535;

// Rows of the table whose turns are by `position`, `position` + `step`, ...
struct TurnRun {
  int64_t position;
  int32_t step;
  int32_t first_row;
  int32_t count;
  int32_t unused;
};

// Grid: [blocks of the longest run, runs], a thread per (row, pair): double sines want many threads.
__global__ void __launch_bounds__(kThreads)
    TurnsKernel(const TurnRun* runs, const double* frequency, int half, float2* turns) {
  WaitForPrevious();
  AllowNext();
  const TurnRun run = runs[blockIdx.y];
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t row = index / half;
  if (row >= run.count) return;
  double sine, cosine;
  sincos(static_cast<double>(run.position + run.step * row) * frequency[index % half], &sine, &cosine);
  turns[static_cast<int64_t>(run.first_row) * half + index] =
      make_float2(static_cast<float>(cosine), static_cast<float>(sine));
}

// With `select`, the o-th to stay of a group came i-th, 0 <= i - o <= g, and all groups before lost g places each.
int MoveTurnRows(const CloseMove& move) { return move.select ? move.count / 2 + 1 : 1; }

void CheckClose(const CacheLayout& layout, const Close& close) {
  CASCADE_CHECK(close.slot >= 0 && close.stride_index >= 0);
  for (const CloseMove& move : close.moves) {
    CASCADE_CHECK(move.from_ring >= 0 && move.from_ring < move.to_ring && move.to_ring + 1 < layout.num_segments);
    CASCADE_CHECK(move.from_index >= 0 && move.to_index >= 0 && move.count >= 0);
    CASCADE_CHECK(move.count <= layout.segment_slots[move.from_ring + 1]);
    CASCADE_CHECK(!move.select || move.count % (2 * layout.selection_group) == 0);
    CASCADE_CHECK((move.select ? move.count / 2 : move.count) <= layout.segment_slots[move.to_ring + 1]);
  }
}

}  // namespace

int64_t CloseTurnRows(const CacheLayout& layout, const Close& close) {
  int64_t rows = layout.stride;
  for (const CloseMove& move : close.moves) rows += MoveTurnRows(move);
  return rows;
}

CloseTables MakeCloseTables(Stream& stream, Staging& staging, const CachePool& pool, std::span<const Close> closes,
                            std::span<const int32_t> slice_of_close, float2* turns) {
  const CacheLayout& layout = pool.layout;
  const auto slot_of = [&layout](int ring, int64_t index) {
    return static_cast<int32_t>(index % layout.segment_slots[ring + 1]);
  };
  std::vector<StrideClose> device_closes;
  std::vector<StrideMove> moves;
  std::vector<TurnRun> runs;
  int rows = 0;
  const auto add_run = [&](int64_t position, int step, int count) {
    runs.push_back({.position = position, .step = step, .first_row = rows, .count = count, .unused = 0});
    rows += count;
    return runs.back().first_row;
  };
  for (size_t i = 0; i < closes.size(); ++i) {
    const Close& close = closes[i];
    CheckClose(layout, close);
    device_closes.push_back({.slot = close.slot,
                             .slice = slice_of_close[i],
                             .open_slot = slot_of(0, close.stride_index),
                             .first_turn = add_run(close.stride_index, 1, layout.stride),
                             .first_move = static_cast<int32_t>(moves.size()),
                             .num_moves = static_cast<int32_t>(close.moves.size())});
    for (const CloseMove& move : close.moves) {
      moves.push_back({.from_ring = move.from_ring,
                       .to_ring = move.to_ring,
                       .from_slot = slot_of(move.from_ring, move.from_index),
                       .to_slot = slot_of(move.to_ring, move.to_index),
                       .count = move.count,
                       .select = move.select,
                       .first_turn = add_run(move.to_index - move.from_index, -1, MoveTurnRows(move))});
    }
  }
  const CloseTables tables = {
      .closes = staging.Upload<StrideClose>(stream, "CloseStrides", device_closes),
      .moves = staging.Upload<StrideMove>(stream, "CloseStrides", moves),
      .turns = turns,
  };
  const TurnRun* device_runs = staging.Upload<TurnRun>(stream, "CloseStrides", runs);
  const int half = layout.head_dim / 2;
  int longest = 0;
  for (const TurnRun& run : runs) longest = std::max(longest, run.count);
  CASCADE_CHECK(runs.size() <= kMostGridRows);
  const LaunchShape shape = {.grid = dim3(static_cast<unsigned>((int64_t{longest} * half + kThreads - 1) / kThreads),
                                          static_cast<unsigned>(runs.size())),
                             .block = dim3(kThreads),
                             .overlap = true};
  stream.Launch("CloseStrides", TurnsKernel, shape, device_runs, pool.frequency, half, turns);
  return tables;
}

}  // namespace cascade::kernels::cuda
