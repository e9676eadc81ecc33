// Attention of one layer: prefill slices, one and many decode rows, over caches of several sizes; and closing a stride.
// Memory is touched before: a cache that is full and has been read.
#include <benchmark/benchmark.h>

#include <cmath>
#include <vector>

#include "kernels/cpu/cache_ops.h"

namespace cascade::kernels {
namespace {

struct Setup {
  // Two sub-caches of keys / 2 each, and room for an open stride.
  Setup(int threads, int sessions, int row_count, int keys, int kv_heads, int group, int head_dim, int layers = 1)
      : pool(threads), rows(row_count) {
    shape.num_layers = layers;
    shape.num_kv_heads = kv_heads;
    shape.group = group;
    shape.head_dim = head_dim;
    for (int i = 0; i < head_dim / 2; ++i) shape.rope.frequency.push_back(std::pow(1e4, -2.0 * i / head_dim));
    shape.num_sinks = 4;
    shape.stride = std::max(rows, keys / 4);
    shape.ring_slots = {keys / 2 + shape.stride, keys / 2};
    shape.selection_group = 64;
    ops = CacheOps::Create(shape, sessions, sessions * shape.stride, pool).value();
    const int64_t kv_width = int64_t{kv_heads} * head_dim;
    const int64_t all = int64_t{sessions} * std::max(rows, 1);
    kv.assign(all * kv_width, 0.1f);
    for (size_t i = 0; i < kv.size(); ++i) kv[i] = std::sin(static_cast<float>(i));
    q.assign(all * kv_width * group, 0.2f);
    out.resize(q.size());
    for (int s = 0; s < sessions; ++s) {
      const uint32_t half = static_cast<uint32_t>(keys / 2);
      segments.push_back({{.count = 4, .query_position = keys + 4},
                          {.count = half + 1, .grows = true, .query_position = half},
                          {.count = half, .query_position = 3 * half}});
    }
    for (int s = 0; s < sessions; ++s) {
      slices.push_back({.slot = s,
                        .first_row = s * rows,
                        .num_rows = rows,
                        .open_place = 1,
                        .write_slot = static_cast<uint32_t>(keys / 2),
                        .segments = segments[s]});
      if (rows == shape.stride) slices.back().open_place = 0;
    }
    ops->BeginStep(slices);
    view_kv = {.data = kv.data(), .rows = all, .cols = kv_width};
    view_q = {.data = q.data(), .rows = all, .cols = kv_width * group};
    view_out = {.data = out.data(), .rows = all, .cols = kv_width * group};
  }

  CacheShape shape;
  ThreadPool pool;
  int rows;
  std::unique_ptr<CacheOps> ops;
  std::vector<float> kv, q, out;
  std::vector<std::vector<Segment>> segments;
  std::vector<Slice> slices;
  TensorView view_kv, view_q, view_out;
};

// threads, sessions, rows, keys, kv_heads, group, head_dim
void BM_Attend(benchmark::State& state) {
  Setup setup(state.range(0), state.range(1), state.range(2), state.range(3), state.range(4), state.range(5),
              state.range(6));
  for (auto _ : state) {
    setup.ops->AppendKv(0, setup.view_kv, setup.view_kv);
    setup.ops->Attend(0, setup.view_q, setup.view_out);
  }
  const double products = 2.0 * state.range(1) * state.range(2) * (state.range(3) + state.range(2) / 2.0) *
                          state.range(4) * state.range(5) * state.range(6);
  state.counters["Gfma/s"] = benchmark::Counter(products * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(BM_Attend)
    ->ArgNames({"threads", "sessions", "rows", "keys", "kv_heads", "group", "head_dim"})
    ->Args({1, 1, 1, 1280, 3, 3, 64})
    ->Args({2, 1, 1, 1280, 3, 3, 64})
    ->Args({2, 8, 1, 1280, 3, 3, 64})
    ->Args({2, 32, 1, 1280, 3, 3, 64})
    ->Args({1, 1, 128, 1280, 3, 3, 64})
    ->Args({2, 1, 128, 1280, 3, 3, 64})
    ->Args({2, 1, 512, 4096, 3, 3, 64})
    ->Args({2, 1, 128, 1280, 8, 4, 128})
    ->Args({2, 1, 1, 4096, 8, 4, 128})
    ->Args({2, 1, 1, 65536, 3, 3, 64})
    ->Args({2, 1, 128, 65536, 3, 3, 64})
    ->Unit(benchmark::kMicrosecond)
    ->UseRealTime();

// keys; 30 layers, a stride of keys / 4, half of it thinned.
void BM_CloseStride(benchmark::State& state) {
  const int keys = static_cast<int>(state.range(1));
  Setup setup(state.range(0), 1, 1, keys, 3, 3, 64, 30);
  const CloseMove move{.to_ring = 1, .from_index = 0, .to_index = keys, .count = setup.shape.stride, .select = true};
  const Close close{.stride_index = keys / 2, .moves = {&move, 1}};
  for (auto _ : state) setup.ops->CloseStrides({&close, 1});
}
BENCHMARK(BM_CloseStride)
    ->ArgNames({"threads", "keys"})
    ->Args({1, 2048})
    ->Args({2, 2048})
    ->Unit(benchmark::kMicrosecond)
    ->UseRealTime();

}  // namespace
}  // namespace cascade::kernels

BENCHMARK_MAIN();
