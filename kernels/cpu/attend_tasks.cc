#include "kernels/cpu/attend_tasks.h"

#include <algorithm>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attend_tasks.cc"
#include "hwy/foreach_target.h"  // compiles the rest once per instruction set
#include "hwy/highway.h"
#include "kernels/cpu/kv_vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cascade::kernels::HWY_NAMESPACE {
namespace {

// A block of kMaxRows rows by kBlockTiles tiles keeps its sums, one vector of keys or values per tile part and a
// broadcast in registers: 6 x 4 of 32 (AVX-512), 6 x 2 of 16 (AVX2), 3 x 4 of 16 (4 lanes). Every sum is one chain of
// fused multiply-adds in the order of its index, so the block that it falls into does not change its bits.
constexpr int kMaxRows = kLanes >= 8 ? 6 : 3;
constexpr int kBlockTiles = kLanes >= 16 ? 4 : 1;
static_assert(kChunkTiles % kBlockTiles == 0);

// out[r][tile * 16 + lane] = sum over d of q[r][d] * tiles[tile][d][lane]. q: [R][head_dim].
template <int R, int kTiles, class T>
HWY_INLINE void LogitsBlock(const T* const* tiles, const float* q, int head_dim, float* out, int64_t out_stride) {
  constexpr int kVecs = kTiles * kTileVecs;
  const FloatTag tag;
  FloatVec sums[R][kVecs];
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < kVecs; ++v) sums[r][v] = hn::Zero(tag);
  }
  for (int d = 0; d < head_dim; ++d) {
    FloatVec keys[kVecs];
    for (int v = 0; v < kVecs; ++v) keys[v] = LoadKv(tiles[v / kTileVecs] + d * kTile + v % kTileVecs * kLanes);
    for (int r = 0; r < R; ++r) {
      const FloatVec element = hn::Set(tag, q[r * head_dim + d]);
      for (int v = 0; v < kVecs; ++v) sums[r][v] = hn::MulAdd(element, keys[v], sums[r][v]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < kVecs; ++v) hn::StoreU(sums[r][v], tag, out + r * out_stride + v * kLanes);
  }
}

// sums[r][i] += sum over keys of weights[r][key] * tiles[..][key][i], for kTiles * 16 head elements from `dim` on.
template <int R, int kTiles, class T>
HWY_INLINE void ValuesBlock(const T* const* tiles, int num_tiles, int value_stride, int dim, const float* weights,
                            int64_t weights_stride, float* out, int64_t out_stride) {
  constexpr int kVecs = kTiles * kTileVecs;
  const FloatTag tag;
  FloatVec sums[R][kVecs];
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < kVecs; ++v) sums[r][v] = hn::LoadU(tag, out + r * out_stride + v * kLanes);
  }
  for (int t = 0; t < num_tiles; ++t) {
    const T* value = tiles[t] + dim;
    for (int key = 0; key < kTile; ++key, value += value_stride) {
      FloatVec values[kVecs];
      for (int v = 0; v < kVecs; ++v) values[v] = LoadKv(value + v * kLanes);
      for (int r = 0; r < R; ++r) {
        const FloatVec weight = hn::Set(tag, weights[r * weights_stride + t * kTile + key]);
        for (int v = 0; v < kVecs; ++v) sums[r][v] = hn::MulAdd(weight, values[v], sums[r][v]);
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < kVecs; ++v) hn::StoreU(sums[r][v], tag, out + r * out_stride + v * kLanes);
  }
}

// Calls function.template operator()<R>() with R = rows.
template <int R = kMaxRows, class Function>
HWY_INLINE void WithRows(int rows, const Function& function) {
  if constexpr (R == 1) {
    function.template operator()<1>();
  } else if (rows == R) {
    function.template operator()<R>();
  } else {
    WithRows<R - 1>(rows, function);
  }
}

template <class T>
const T* KeyTile(const AttendContext& c, const VisibleTile& tile) {
  const int64_t entry = c.layout.first_entry(tile.segment) + int64_t{tile.tile} * kTile;
  return static_cast<const T*>(c.block.keys) + entry * c.layout.shape().head_dim;
}

template <class T>
const T* ValueTile(const AttendContext& c, const VisibleTile& tile) {
  const int64_t entry = c.layout.first_entry(tile.segment) + int64_t{tile.tile} * kTile;
  return static_cast<const T*>(c.block.values) + entry * c.layout.value_stride();
}

// The tile's keys that a row does not see get -infinity. out: [rows * G], at the tile's column.
void MaskTile(const AttendContext& c, const VisibleTile& tile, float* out) {
  const Segment& segment = c.slice.segments[tile.segment];
  const int64_t slots = c.layout.segment_slots(tile.segment);
  int64_t place[kTile];  // among the segment's visible slots
  for (int i = 0; i < kTile; ++i) {
    const int64_t slot = int64_t{tile.tile} * kTile + i;
    place[i] = slot < slots ? (slot - segment.first_slot + slots) % slots : slots;
  }
  const int group = c.layout.shape().group;
  for (int row = 0; row < c.unit.rows; ++row) {
    const int64_t visible = int64_t{segment.count} + (segment.grows ? c.unit.first + row : 0);
    for (int g = 0; g < group; ++g, out += c.unit.logits_stride) {
      for (int i = 0; i < kTile; ++i) {
        if (place[i] >= visible) out[i] = -std::numeric_limits<float>::infinity();
      }
    }
  }
}

template <int kTiles, class T>
HWY_INLINE void LogitsOfRows(const T* const* tiles, const float* q, int rows, int head_dim, float* out,
                             int64_t out_stride) {
  for (int r = 0; r < rows; r += kMaxRows) {
    WithRows(std::min(kMaxRows, rows - r), [&]<int R>() HWY_ATTR {
      LogitsBlock<R, kTiles>(tiles, q + r * head_dim, head_dim, out + r * out_stride, out_stride);
    });
  }
}

template <class T>
void LogitsOfTiles(const AttendContext& c, const AttendTask& task, float* scratch) {
  const CacheShape& shape = c.layout.shape();
  const int head_dim = shape.head_dim;
  const int rows = c.unit.rows * shape.group;
  const int64_t row_width = int64_t{shape.num_kv_heads} * shape.group * head_dim;
  const float scale = static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(head_dim)));
  float* q = scratch;                                // [rows][head_dim], turned for one segment
  float* wide = q + rows * c.layout.value_stride();  // [kBlockTiles][head_dim][16]
  int turned = -1;
  for (int t = task.begin; t < task.end;) {
    const VisibleTile* tiles = &c.unit.tiles[t];
    if (tiles->segment != turned) {
      turned = tiles->segment;
      for (int r = 0; r < rows; ++r) {
        const int row = c.unit.first + r / shape.group;
        const float* source = c.q + (c.slice.first_row + row) * row_width +
                              (int64_t{task.kv_head} * shape.group + r % shape.group) * head_dim;
        TurnHead(source, c.step.Turn(c.slice, row, turned), shape.rope.pairs, head_dim, scale, q + r * head_dim);
      }
    }
    int count = 1;
    while (count < kBlockTiles && t + count < task.end && tiles[count].segment == turned) ++count;
    if (count < kBlockTiles) count = 1;
    float* out = c.logits + int64_t{t} * kTile;
    const T* stored[kBlockTiles];
    for (int i = 0; i < count; ++i) stored[i] = KeyTile<T>(c, tiles[i]);
    const auto run = [&](const auto* const* keys) HWY_ATTR {
      if (count == kBlockTiles) {
        LogitsOfRows<kBlockTiles>(keys, q, rows, head_dim, out, c.unit.logits_stride);
      } else {
        LogitsOfRows<1>(keys, q, rows, head_dim, out, c.unit.logits_stride);
      }
    };
    if (rows <= kMaxRows || std::is_same_v<T, float>) {
      run(stored);
    } else {  // widen once for all rows
      const float* widened[kBlockTiles];
      const int elements = head_dim * kTile;
      for (int i = 0; i < count; ++i) {
        widened[i] = wide + i * elements;
        for (int j = 0; j < elements; j += kLanes) StoreKv(LoadKv(stored[i] + j), wide + i * elements + j);
      }
      run(widened);
    }
    for (int i = 0; i < count; ++i) {
      if (tiles[i].masked) MaskTile(c, tiles[i], out + i * kTile);
    }
    t += count;
  }
}

// 2^x for x <= 0, relative error below 1e-7; 0 below -126. The polynomial (degree 6, fitted at Chebyshev nodes) is good
// to 5e-9 on [-1/2, 1/2], the rest is rounding.
HWY_INLINE FloatVec Exp2(FloatVec x) {
  const FloatTag tag;
  const hn::RebindToSigned<FloatTag> int_tag;
  const auto normal = hn::Gt(x, hn::Set(tag, -126.0f));
  x = hn::IfThenElseZero(normal, x);
  const FloatVec whole = hn::Round(x);
  const FloatVec f = hn::Sub(x, whole);
  FloatVec p = hn::Set(tag, 0x1.44400395a4be7p-13f);
  p = hn::MulAdd(p, f, hn::Set(tag, 0x1.5f0896ef98668p-10f));
  p = hn::MulAdd(p, f, hn::Set(tag, 0x1.3b2a1b6c92f4fp-7f));
  p = hn::MulAdd(p, f, hn::Set(tag, 0x1.c6af6cce0b35fp-5f));
  p = hn::MulAdd(p, f, hn::Set(tag, 0x1.ebfbe045f992dp-3f));
  p = hn::MulAdd(p, f, hn::Set(tag, 0x1.62e4302fcd005p-1f));
  p = hn::MulAdd(p, f, hn::Set(tag, 1.0f));
  const auto exponent = hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(int_tag, whole), hn::Set(int_tag, 127)));
  return hn::IfThenElseZero(normal, hn::Mul(p, hn::BitCast(tag, exponent)));
}

void SoftmaxOfRows(const AttendContext& c, const AttendTask& task) {
  const FloatTag tag;
  const int64_t keys = static_cast<int64_t>(c.unit.tiles.size()) * kTile;
  for (int r = task.begin; r < task.end; ++r) {
    float* row = c.logits + r * c.unit.logits_stride;
    FloatVec maxima[kTileVecs];
    FloatVec sums[kTileVecs];
    for (int v = 0; v < kTileVecs; ++v) {
      maxima[v] = hn::Set(tag, -std::numeric_limits<float>::infinity());
      sums[v] = hn::Zero(tag);
    }
    for (int64_t i = 0; i < keys; i += kTile) {
      for (int v = 0; v < kTileVecs; ++v) maxima[v] = hn::Max(maxima[v], hn::LoadU(tag, row + i + v * kLanes));
    }
    for (int v = 1; v < kTileVecs; ++v) maxima[0] = hn::Max(maxima[0], maxima[v]);
    const FloatVec maximum = hn::MaxOfLanes(tag, maxima[0]);
    for (int64_t i = 0; i < keys; i += kTile) {
      for (int v = 0; v < kTileVecs; ++v) {
        const FloatVec e = Exp2(hn::Sub(hn::LoadU(tag, row + i + v * kLanes), maximum));
        hn::StoreU(e, tag, row + i + v * kLanes);
        sums[v] = hn::Add(sums[v], e);
      }
    }
    for (int v = 1; v < kTileVecs; ++v) sums[0] = hn::Add(sums[0], sums[v]);
    c.inverse_sums[r] = 1.0f / hn::GetLane(hn::SumOfLanes(tag, sums[0]));
  }
}

template <class T>
HWY_INLINE void ValuesOfRows(const T* const* tiles, int num_tiles, int value_stride, int dim_begin, int dim_end,
                             const float* weights, int64_t weights_stride, int rows, float* out, int64_t out_stride) {
  constexpr int kBlockDims = kBlockTiles * kTile;
  for (int r = 0; r < rows; r += kMaxRows) {
    WithRows(std::min(kMaxRows, rows - r), [&]<int R>() HWY_ATTR {
      int dim = dim_begin;
      for (; dim + kBlockDims <= dim_end; dim += kBlockDims) {
        ValuesBlock<R, kBlockTiles>(tiles, num_tiles, value_stride, dim, weights + r * weights_stride, weights_stride,
                                    out + r * out_stride + dim, out_stride);
      }
      for (; dim < dim_end; dim += kTile) {
        ValuesBlock<R, 1>(tiles, num_tiles, value_stride, dim, weights + r * weights_stride, weights_stride,
                          out + r * out_stride + dim, out_stride);
      }
    });
  }
}

template <class T>
void ValuesOfTask(const AttendContext& c, const AttendTask& task, float* scratch) {
  const CacheShape& shape = c.layout.shape();
  const int head_dim = shape.head_dim;
  const int stride = c.layout.value_stride();
  const int rows = task.end - task.begin;
  float* sums = scratch;               // [rows][stride]
  float* wide = sums + rows * stride;  // [chunk tiles * 16][stride]
  std::fill(sums, sums + int64_t{rows} * stride, 0.0f);
  const float* weights = c.logits + task.begin * c.unit.logits_stride;
  const int num_tiles = static_cast<int>(c.unit.tiles.size());
  const bool direct = rows <= kMaxRows || std::is_same_v<T, float>;
  // A widened chunk stays in the first-level cache; else the chunk only bounds the list of pointers.
  const int chunk = direct ? 64 : std::clamp(256 / stride, 1, kChunkTiles);
  for (int t = 0; t < num_tiles; t += chunk) {
    const int count = std::min(chunk, num_tiles - t);
    const float* chunk_weights = weights + int64_t{t} * kTile;
    const T* stored[64];
    for (int i = 0; i < count; ++i) stored[i] = ValueTile<T>(c, c.unit.tiles[t + i]);
    if (direct) {
      ValuesOfRows(stored, count, stride, task.dim_begin, task.dim_end, chunk_weights, c.unit.logits_stride, rows, sums,
                   stride);
      continue;
    }
    const float* widened[kChunkTiles];
    for (int i = 0; i < count; ++i) {
      float* tile = wide + i * kTile * stride;
      widened[i] = tile;
      for (int j = 0; j < kTile * stride; j += kLanes) StoreKv(LoadKv(stored[i] + j), tile + j);
    }
    ValuesOfRows<float>(widened, count, stride, task.dim_begin, task.dim_end, chunk_weights, c.unit.logits_stride, rows,
                        sums, stride);
  }
  const int64_t row_width = int64_t{shape.num_kv_heads} * shape.group * head_dim;
  for (int i = 0; i < rows; ++i) {
    const int r = task.begin + i;
    float* out = c.out + (c.slice.first_row + c.unit.first + r / shape.group) * row_width +
                 (int64_t{task.kv_head} * shape.group + r % shape.group) * head_dim;
    for (int d = task.dim_begin; d < std::min(task.dim_end, head_dim); ++d) {
      out[d] = sums[i * stride + d] * c.inverse_sums[r];
    }
  }
}

void ScoresOfTiles(const AttendContext& c, const AttendTask& task) {
  const FloatTag tag;
  const int group = c.layout.shape().group;
  const float* row_weights = c.weights.data() + c.unit.first;
  for (int t = task.begin; t < task.end; ++t) {
    const VisibleTile& tile = c.unit.tiles[t];
    const int64_t entry = c.layout.first_entry(tile.segment) + int64_t{tile.tile} * kTile;
    for (int v = 0; v < kTileVecs; ++v) {
      const float* column = c.logits + int64_t{t} * kTile + v * kLanes;
      if (c.block.sums == nullptr) {
        float* scores = c.block.scores + entry + v * kLanes;
        FloatVec score = hn::LoadU(tag, scores);
        for (int row = 0, r = 0; row < c.unit.rows; ++row) {
          FloatVec mass = hn::Zero(tag);
          for (int g = 0; g < group; ++g, ++r) {
            mass = hn::MulAdd(hn::LoadU(tag, column + r * c.unit.logits_stride), hn::Set(tag, c.inverse_sums[r]), mass);
          }
          score = hn::MulAdd(mass, hn::Set(tag, row_weights[row]), score);
        }
        hn::StoreU(score, tag, scores);
        continue;
      }
      for (int g = 0; g < group; ++g) {
        float* sums = c.block.sums + g * c.layout.entries() + entry + v * kLanes;
        FloatVec sum = hn::LoadU(tag, sums);
        for (int row = 0, r = g; row < c.unit.rows; ++row, r += group) {
          const FloatVec weight = hn::Set(tag, c.inverse_sums[r] * row_weights[row]);
          sum = hn::MulAdd(hn::LoadU(tag, column + r * c.unit.logits_stride), weight, sum);
        }
        hn::StoreU(sum, tag, sums);
      }
    }
  }
}

void LogitsTask(const AttendContext& context, const AttendTask& task, float* scratch) {
  if (context.layout.shape().kv_type == DType::kF32) return LogitsOfTiles<float>(context, task, scratch);
  LogitsOfTiles<hwy::float16_t>(context, task, scratch);
}

void ValuesTask(const AttendContext& context, const AttendTask& task, float* scratch) {
  if (context.layout.shape().kv_type == DType::kF32) return ValuesOfTask<float>(context, task, scratch);
  ValuesOfTask<hwy::float16_t>(context, task, scratch);
}

}  // namespace
}  // namespace cascade::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cascade::kernels {

HWY_EXPORT(LogitsTask);
HWY_EXPORT(SoftmaxOfRows);
HWY_EXPORT(ValuesTask);
HWY_EXPORT(ScoresOfTiles);

AttendKernels ChooseAttendKernels() {
  return {.logits = &HWY_DYNAMIC_DISPATCH(LogitsTask),
          .softmax = &HWY_DYNAMIC_DISPATCH(SoftmaxOfRows),
          .values = &HWY_DYNAMIC_DISPATCH(ValuesTask),
          .scores = &HWY_DYNAMIC_DISPATCH(ScoresOfTiles)};
}

}  // namespace cascade::kernels
#endif  // HWY_ONCE
