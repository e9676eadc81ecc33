#include "kernels/cpu/attend_plan.h"

#include <algorithm>
#include <cmath>

namespace cascade::kernels {
namespace {

constexpr int64_t kUnitBytes = 1 << 20;   // of logits; with keys and values in the second-level caches of two cores
constexpr int64_t kRoundBytes = 4 << 20;  // many sessions with a row each share a round, and its three barriers
constexpr int kUnitRows = 32;
constexpr int kRowBlock = 6;                 // rows that a kernel takes at once
constexpr int64_t kTaskProducts = 64 << 10;  // a task's least work: about 1.5 us
constexpr int kTasksPerThread = 4;           // evens out what the threads get

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Appends the tiles of a segment of which some row sees something.
void AddTiles(const CacheLayout& layout, const StepSlice& slice, int index, int first, int rows,
              std::vector<VisibleTile>& tiles) {
  const Segment& segment = slice.segments[index];
  const int64_t least = int64_t{segment.count} + (segment.grows ? first : 0);
  const int64_t most = least + (segment.grows ? rows - 1 : 0);
  if (most == 0) return;
  const int64_t slots = layout.segment_slots(index);
  for (int tile = 0; tile < layout.segment_tiles(index); ++tile) {
    const int64_t begin = int64_t{tile} * kTile;
    const int64_t end = std::min(begin + kTile, slots);
    // Places of the tile's slots among those that the slice may see: consecutive, but for a wrap inside the tile.
    int64_t lowest = (begin - segment.first_slot + slots) % slots;
    int64_t highest = lowest + (end - begin) - 1;
    if (highest >= slots) {
      lowest = 0;
      highest = slots - 1;
    }
    if (lowest >= most) continue;
    tiles.push_back({index, tile, end - begin < kTile || highest >= least});
  }
}

// Appends tasks over [0, count) in steps of `granule` items of `products` each, of about `target` products.
void Split(int unit, int kv_head, int begin, int end, int granule, int64_t products, int64_t target,
           std::vector<AttendTask>& tasks) {
  const int64_t granules = CeilDiv(end - begin, granule);
  const int64_t pieces =
      std::clamp<int64_t>(CeilDiv((end - begin) * products, target), 1, std::max<int64_t>(granules, 1));
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const int64_t from = begin + granules * piece / pieces * granule;
    const int64_t to = std::min<int64_t>(begin + granules * (piece + 1) / pieces * granule, end);
    if (from < to) {
      tasks.push_back({.unit = unit, .kv_head = kv_head, .begin = static_cast<int>(from), .end = static_cast<int>(to)});
    }
  }
}

void MakeTasks(const CacheLayout& layout, const CacheStep& step, int num_threads, AttendRound& round) {
  const CacheShape& shape = layout.shape();
  int64_t total = 0;
  for (const AttendUnit& unit : round.units) {
    total += int64_t{unit.rows} * shape.group * shape.num_kv_heads * static_cast<int64_t>(unit.tiles.size()) * kTile *
             shape.head_dim;
  }
  const int64_t target = std::max(kTaskProducts, CeilDiv(total, num_threads * kTasksPerThread));
  constexpr int64_t kExponential = 20;  // products that take as long as one element of softmax
  constexpr int64_t kScore = 4;
  for (int u = 0; u < static_cast<int>(round.units.size()); ++u) {
    const AttendUnit& unit = round.units[u];
    const int tiles = static_cast<int>(unit.tiles.size());
    const int64_t keys = int64_t{tiles} * kTile;
    const int rows = unit.rows * shape.group;
    for (int h = 0; h < shape.num_kv_heads; ++h) {
      Split(u, h, 0, tiles, kChunkTiles, int64_t{rows} * kTile * shape.head_dim, target, round.logits);
      Split(u, h, 0, rows, 1, keys * kExponential, std::max(kTaskProducts, target / 4), round.softmax);
      if (rows >= 2 * kRowBlock) {
        const size_t before = round.values.size();
        Split(u, h, 0, rows, kRowBlock, keys * shape.head_dim, target, round.values);
        for (size_t i = before; i < round.values.size(); ++i) round.values[i].dim_end = layout.value_stride();
      } else {
        std::vector<AttendTask> parts;
        Split(u, h, 0, layout.value_stride(), kTile, keys * rows, target, parts);
        for (AttendTask& part : parts) {
          part.dim_begin = part.begin;
          part.dim_end = part.end;
          part.begin = 0;
          part.end = rows;
          round.values.push_back(part);
        }
      }
      if (!step.slices[unit.slice].sinks) {
        Split(u, h, unit.first_scored, tiles, kChunkTiles, int64_t{rows} * kTile * kScore, target, round.scores);
      }
    }
  }
}

}  // namespace

void AttendPlan::Make(const CacheLayout& layout, const CacheStep& step, int num_threads) {
  const CacheShape& shape = layout.shape();
  const int heads = shape.num_kv_heads * shape.group;
  const int num_slices = static_cast<int>(step.slices.size());
  rounds.clear();
  logits_floats = inverse_floats = worker_floats = 0;

  weights.assign(num_slices, {});
  for (int i = 0; i < num_slices; ++i) {
    const StepSlice& slice = step.slices[i];
    if (slice.sinks) continue;
    const int divisor = shape.reduction == ScoreReduction::kMean ? shape.group : 1;
    for (int row = 0; row < slice.num_rows; ++row) {
      const double power = std::pow(shape.ema_decay, shape.stride - 1 - (slice.open_place + row));
      weights[i].push_back(static_cast<float>(power / divisor));
    }
  }

  std::vector<int> next(num_slices, 0);
  int begin = 0;  // slices before are done
  while (begin < num_slices) {
    AttendRound round;
    int64_t round_floats = 0, round_inverses = 0;
    for (int i = begin; i < num_slices; ++i) {
      const StepSlice& slice = step.slices[i];
      if (next[i] == slice.num_rows) continue;
      int64_t keys = 0;  // at most
      for (int s = 0; s < layout.num_segments(); ++s) {
        const Segment& segment = slice.segments[s];
        keys += std::min<int64_t>(layout.segment_tiles(s), CeilDiv(segment.count + slice.num_rows, kTile) + 2) * kTile;
      }
      const int64_t row_bytes = (keys + kTile) * heads * static_cast<int64_t>(sizeof(float));
      AttendUnit unit;
      unit.slice = i;
      unit.first = next[i];
      unit.rows = static_cast<int>(
          std::min<int64_t>({kUnitRows, std::max<int64_t>(kUnitBytes / row_bytes, 1), slice.num_rows - next[i]}));
      if (!round.units.empty() && round_floats * 4 + unit.rows * row_bytes > kRoundBytes) break;
      for (int s = 0; s < layout.num_segments(); ++s) {
        AddTiles(layout, slice, s, unit.first, unit.rows, unit.tiles);
        if (s == 0) unit.first_scored = static_cast<int>(unit.tiles.size());
      }
      // One tile more than needed: rows a power of two apart would share few sets of the first-level cache.
      unit.logits_stride = (static_cast<int64_t>(unit.tiles.size()) + 1) * kTile;
      unit.logits_offset = round_floats;
      unit.inverse_offset = round_inverses;
      round_floats += unit.logits_stride * unit.rows * heads;
      round_inverses += int64_t{unit.rows} * heads;
      const int64_t rows = int64_t{unit.rows} * shape.group;
      worker_floats =
          std::max(worker_floats, rows * layout.value_stride() + int64_t{kChunkTiles} * kTile * layout.value_stride());
      next[i] += unit.rows;
      round.units.push_back(std::move(unit));
    }
    while (begin < num_slices && next[begin] == step.slices[begin].num_rows) ++begin;
    logits_floats = std::max(logits_floats, round_floats);
    inverse_floats = std::max(inverse_floats, round_inverses);
    MakeTasks(layout, step, num_threads, round);
    rounds.push_back(std::move(round));
  }
}

}  // namespace cascade::kernels
