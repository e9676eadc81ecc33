#include "kernels/cuda/sm90/attention_forward.h"

#include "kernels/base/check.h"
#include "kernels/cuda/sm90/attention_tiles.h"
#include "kernels/cuda/sm90/instructions.h"
#include "kernels/cuda/sm90/pipeline.h"

namespace cascade::kernels::cuda::sm90 {
namespace {

constexpr int kGroups = 2;  // warpgroups that multiply, 64 of the tile's rows each
constexpr int kMultipliers = 128 * kGroups;
constexpr int kThreads = 128 + kMultipliers;
constexpr int kWarps = 4 * kGroups;
constexpr int kSumStages = 4;
constexpr int kPanelBytes = kTileKeys * 128;  // 64 columns of keys, values or queries
constexpr int kFirstTurn = 1;                 // ids of SyncThreads: whose turn it is to multiply
constexpr float kInfinity = __builtin_huge_valf();

template <int kDim>
struct Shape {
  static constexpr int kPanels = kDim / 64;
  static constexpr int kTileBytes = kPanels * kPanelBytes;
  static constexpr int kStages = 2;
  static constexpr int kSumBytes = kWarps * kTileKeys * sizeof(float);
  static constexpr int kSumsAt = (2 + 2 * kStages) * kTileBytes;
  static constexpr int kSharedBytes = kSumsAt + kSumStages * kSumBytes + 1024;  // panels are aligned by the kernel
};

// What a stage of keys holds.
struct alignas(8) StagedTile {
  int first_slot;
  int bits;  // -1: the walk is over

  // masked: not all of the tile's rows see all of its keys. sampled: its keys are sample_step slots apart.
  __device__ static StagedTile Make(int segment, int first_slot, int query_buffer, bool masked, bool sampled) {
    return {first_slot, segment << 3 | query_buffer << 2 | static_cast<int>(masked) << 1 | static_cast<int>(sampled)};
  }
  __device__ bool end() const { return bits < 0; }
  __device__ int segment() const { return bits >> 3; }
  __device__ int query_buffer() const { return bits >> 2 & 1; }
  __device__ bool masked() const { return (bits & 2) != 0; }
  __device__ bool sampled() const { return (bits & 1) != 0; }
};

template <int kStages>
struct Control {
  Barrier query_full[2], query_empty[2];
  Barrier key_full[kStages], key_empty[kStages];
  Barrier value_full[kStages], value_empty[kStages];
  Barrier sums_full[kSumStages], sums_empty[kSumStages];
  StagedTile tiles[kStages];
  int sum_slots[kSumStages];   // first slot, -1: no more
  int sum_segment[kSumStages];
};

// What the block's roles share: which rows and keys it is about.
struct Block {
  SeenSegment segments[kMaxSegments];
  int least[kMaxSegments], most[kMaxSegments];  // limits of the tile's first and last row
};

// By one thread each: bring tiles of queries and keys, and of values, in the order in which they are multiplied.
template <int kDim, bool kPredict>
class KeyProducer {
  using S = Shape<kDim>;

 public:
  __device__ KeyProducer(const ForwardArguments& a, const Block& block, Control<S::kStages>& control,
                         unsigned char* shared, int place, int kv_head, int cache_block)
      : a_(a), block_(block), control_(control), shared_(shared), place_(place), kv_head_(kv_head),
        cache_block_(cache_block) {}

  __device__ void Run() {
    const CacheLayout& layout = a_.pool.layout;
    if constexpr (kPredict) {
      const int step = a_.maps.sample_step;
      for (int s = 0; s < layout.num_segments; ++s) {
        const SeenSegment& seen = block_.segments[s];
        const int recent = RecentPlace(seen, s, block_.least[s]);
        for (int tile = -1; (tile = NextTile(seen, kTileKeys * step, tile + 1, recent)) >= 0;) {
          const int first = tile * kTileKeys * step;
          Bring<true>(s, first + a_.sample_phase, !seen.AllBelow(first, first + kTileKeys * step, recent));
        }
        const SeenSegment rest = From(seen, recent);
        for (int tile = -1; (tile = NextTile(rest, kTileKeys, tile + 1, block_.most[s] - recent)) >= 0;) {
          Bring<false>(s, tile * kTileKeys, true);
        }
      }
      End();
    }
    for (int s = 0; s < layout.num_segments; ++s) {
      const SeenSegment& seen = block_.segments[s];
      for (int tile = -1; (tile = NextTile(seen, kTileKeys, tile + 1, block_.most[s])) >= 0;) {
        const int first = tile * kTileKeys;
        Bring<false>(s, first, !seen.AllBelow(first, first + kTileKeys, block_.least[s]));
      }
    }
    End();
  }

 private:
  template <bool kSampled>
  __device__ void Bring(int segment, int first_slot, bool masked) {
    if (segment != segment_) {
      segment_ = segment;
      query_.Advance();
      control_.query_empty[query_.stage].Wait(query_.parity ^ 1);
      control_.query_full[query_.stage].ArriveExpecting(S::kPanels * a_.maps.query_rows * 128);
      unsigned char* to = shared_ + query_.stage * S::kTileBytes;
      const int head = (segment * a_.pool.layout.num_kv_heads + kv_head_) * a_.pool.layout.group;
      for (int panel = 0; panel < S::kPanels; ++panel) {
        CopyBox3(to + panel * kPanelBytes, &a_.maps.queries, control_.query_full[query_.stage], panel * 64, place_,
                 head);
      }
    }
    control_.key_empty[key_.stage].Wait(key_.parity ^ 1);
    control_.tiles[key_.stage] = StagedTile::Make(segment, first_slot, query_.stage, masked, kSampled);
    control_.key_full[key_.stage].ArriveExpecting(S::kTileBytes);
    unsigned char* to = shared_ + (2 + key_.stage) * S::kTileBytes;
    const int entry = block_.segments[segment].first_entry + first_slot;
    for (int panel = 0; panel < S::kPanels; ++panel) {
      if constexpr (kSampled) {
        CopyBox5(to + panel * kPanelBytes, &a_.maps.samples, control_.key_full[key_.stage], panel * 64,
                 entry % a_.maps.sample_step, entry / a_.maps.sample_step, 0, cache_block_);
      } else {
        CopyBox4(to + panel * kPanelBytes, &a_.maps.cache, control_.key_full[key_.stage], panel * 64, entry, 0,
                 cache_block_);
      }
    }
    key_.Advance();
  }
  __device__ void End() {
    control_.key_empty[key_.stage].Wait(key_.parity ^ 1);
    control_.tiles[key_.stage] = {0, -1};
    control_.key_full[key_.stage].Arrive();
    key_.Advance();
  }

  const ForwardArguments& a_;
  const Block& block_;
  Control<S::kStages>& control_;
  unsigned char* const shared_;
  const int place_, kv_head_, cache_block_;
  int segment_ = -1;
  Place<2> query_ = {1, 1};  // advances to the first place
  Place<S::kStages> key_;
};

template <int kDim>
__device__ void BringValues(const ForwardArguments& a, const Block& block, Control<Shape<kDim>::kStages>& control,
                            unsigned char* shared, int cache_block) {
  using S = Shape<kDim>;
  Place<S::kStages> value;
  for (int s = 0; s < a.pool.layout.num_segments; ++s) {
    const SeenSegment& seen = block.segments[s];
    for (int tile = -1; (tile = NextTile(seen, kTileKeys, tile + 1, block.most[s])) >= 0; value.Advance()) {
      control.value_empty[value.stage].Wait(value.parity ^ 1);
      control.value_full[value.stage].ArriveExpecting(S::kTileBytes);
      unsigned char* to = shared + (2 + S::kStages + value.stage) * S::kTileBytes;
      for (int panel = 0; panel < S::kPanels; ++panel) {
        CopyBox4(to + panel * kPanelBytes, &a.maps.cache, control.value_full[value.stage], panel * 64,
                 seen.first_entry + tile * kTileKeys, 1, cache_block);
      }
    }
  }
}

// By one warp: adds up what the multiplying warps leave of each tile's column sums.
template <int kDim>
__device__ void AddColumnSums(const Block& block, Control<Shape<kDim>::kStages>& control,
                              const unsigned char* shared, float* to) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (Place<kSumStages> place;; place.Advance()) {
    control.sums_full[place.stage].Wait(place.parity);
    const int first_slot = control.sum_slots[place.stage];
    if (first_slot < 0) return;
    const SeenSegment& seen = block.segments[control.sum_segment[place.stage]];
    const float4* from = reinterpret_cast<const float4*>(shared + Shape<kDim>::kSumsAt +
                                                         place.stage * Shape<kDim>::kSumBytes) + lane;
    float4 total = from[0];
#pragma unroll
    for (int warp = 1; warp < kWarps; ++warp) {
      const float4 more = from[warp * 32];
      total.x += more.x, total.y += more.y, total.z += more.z, total.w += more.w;
    }
    SyncWarp();
    if (lane == 0) control.sums_empty[place.stage].Arrive();
    // As Softmax leaves them: one column of each 32.
    const int column = lane / 4 % 2 * 16 + lane / 8 % 2 * 8 + lane % 4 * 2 + lane / 16;
    float* out = to + seen.first_entry + first_slot + column;
    const float sums[4] = {total.x, total.y, total.z, total.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (first_slot + i * 32 + column < seen.slots) out[i * 32] = sums[i];
    }
  }
}

// One half of an exchange between lanes that differ in one bit of their number: the sum over both of `low` in the lane
// without it, of `high` in the one with it.
__device__ inline float Fold(float low, float high, int bit) {
  const bool upper = (static_cast<int>(threadIdx.x) & bit) != 0;
  return (upper ? high : low) + ShuffleXor(upper ? low : high, bit);
}

// One of the two warpgroups that multiply: 64 rows of the tile. A lane has rows g and g + 8 of its warp's 16.
template <class T, int kDim, bool kPredict>
class Multiplier {
  using S = Shape<kDim>;

 public:
  __device__ Multiplier(const ForwardArguments& a, const Block& block, Control<S::kStages>& control,
                        unsigned char* shared, const StepSlice& slice, int first_row, int num_rows, int place,
                        int kv_head)
      : a_(a), block_(block), control_(control), shared_(shared), slice_(slice), place_(place), kv_head_(kv_head),
        group_(static_cast<int>(threadIdx.x) / 128 - 1), first_tile_(RowsOperand(shared)),
        first_values_(ColumnsOperand(shared + (2 + S::kStages) * S::kTileBytes, kPanelBytes)) {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32 % 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int m = group_ * 64 + warp * 16 + half * 8 + lane / 4;
      const int token = m % a.maps.tile_tokens, head = m / a.maps.tile_tokens;
      valid_[half] = head < a.pool.layout.group && token < num_rows;
      token_[half] = token;
      head_[half] = head;
      row_[half] = first_row + token;
      reference_[half] = -kInfinity;
      sum_[half] = 0;
    }
#pragma unroll
    for (float& x : out_) x = 0;
  }

  __device__ void Run() {
    if (group_ == 1) ArriveThreads(kFirstTurn, kMultipliers);
    if constexpr (kPredict) Predict();

    float s[64];
    uint32_t p[8][4];
    StagedTile tile = NextTileOfKeys();  // a row sees itself: there is one
    MyTurn();
    Logits(s, tile);
    OthersTurn();
    WaitProducts<0>();
    Pin(s);
    ReleaseKeys();
    Softmax(s, tile);
    PackAll(s, p);
    StagedTile next = NextTileOfKeys();
    while (!next.end()) {
      tile = next;
      control_.value_full[value_.stage].Wait(value_.parity);
      MyTurn();
      Logits(s, tile);
      Values(p);
      OthersTurn();
      WaitProducts<1>();
      Pin(s);
      ReleaseKeys();
      const bool rescale = Softmax(s, tile);
      WaitProducts<0>();
      Pin(out_);
      Pin(p);
      ReleaseValues();
      if constexpr (!kPredict) {
        if (rescale) {
#pragma unroll
          for (int i = 0; i < kOut; ++i) out_[i] *= factor_[i / 2 % 2];
        }
      }
      PackAll(s, p);
      next = NextTileOfKeys();
    }
    control_.value_full[value_.stage].Wait(value_.parity);
    Values(p);
    WaitProducts<0>();
    Pin(out_);
    if constexpr (kPredict) EndSums();
    Store();
  }

 private:
  static constexpr int kOut = kDim / 2;

  // Of the two warpgroups one multiplies while the other one is busy with its softmax.
  __device__ void MyTurn() { SyncThreads(kFirstTurn + group_, kMultipliers); }
  __device__ void OthersTurn() { ArriveThreads(kFirstTurn + (group_ ^ 1), kMultipliers); }

  __device__ StagedTile NextTileOfKeys() {
    control_.key_full[key_.stage].Wait(key_.parity);
    const StagedTile tile = control_.tiles[key_.stage];
    if (!tile.end() && tile.segment() != segment_) {
      if (segment_ >= 0) ReleaseQueries();
      segment_ = tile.segment();
      query_.Advance();
      control_.query_full[query_.stage].Wait(query_.parity);
    }
    return tile;
  }
  // All lanes of the warp are done with the shared memory.
  __device__ void Release(Barrier& barrier) {
    SyncWarp();
    if (threadIdx.x % 32 == 0) barrier.Arrive();
  }
  __device__ void ReleaseQueries() { Release(control_.query_empty[query_.stage]); }
  __device__ void ReleaseKeys() {
    Release(control_.key_empty[key_.stage]);
    key_.Advance();
  }
  __device__ void ReleaseValues() {
    Release(control_.value_empty[value_.stage]);
    value_.Advance();
  }

  __device__ void Logits(float (&s)[64], const StagedTile& tile) {
    const Operand queries = Further(first_tile_, tile.query_buffer() * S::kTileBytes + group_ * 64 * 128);
    const Operand keys = Further(first_tile_, (2 + key_.stage) * S::kTileBytes);
    StartProducts();
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
      const int offset = step / 4 * kPanelBytes + step % 4 * 32;
      Multiply128(s, Further(queries, offset), Further(keys, offset), step > 0);
    }
    EndProducts();
  }
  __device__ void Values(const uint32_t (&p)[8][4]) {
    const Operand values = Further(first_values_, value_.stage * S::kTileBytes);
    StartProducts();
#pragma unroll
    for (int step = 0; step < 8; ++step) AddValues(out_, p[step], Further(values, step * 2048), 1);
    EndProducts();
  }

  // Takes away what a row does not see: -infinity.
  __device__ void Mask(float (&s)[64], const StagedTile& tile, int begin, const int (&limits)[2]) {
    const SeenSegment& seen = block_.segments[tile.segment()];
    const int step = tile.sampled() ? a_.maps.sample_step : 1;
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      const int column = i / 2 * 8 + lane % 4 * 2 + i % 2;
      const int place = seen.Place(tile.first_slot + column * step);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (place < begin || place >= limits[half]) s[i / 2 * 4 + half * 2 + i % 2] = -kInfinity;
      }
    }
  }

  // Raises the rows' references to the tile's largest logits; returns whether any of the warp's rows' has changed.
  __device__ bool RaiseReferences(const float (&s)[64], float (&used)[2]) {
    bool raised = false;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = s[half * 2];
#pragma unroll
      for (int i = 0; i < 32; ++i) most = fmaxf(most, s[i / 2 * 4 + half * 2 + i % 2]);
      most = fmaxf(most, ShuffleXor(most, 1));
      most = fmaxf(most, ShuffleXor(most, 2));
      most = fmaxf(most, reference_[half]);
      used[half] = most == -kInfinity ? 0.0f : most;
      factor_[half] = Exp2(reference_[half] - used[half]);
      raised |= most != reference_[half];
      reference_[half] = most;
    }
    return Ballot(raised) != 0;
  }

  // s becomes 2^(s - reference); sums of rows, and of columns, which are left to AddColumnSums. Returns whether the
  // references have changed.
  __device__ bool Softmax(float (&s)[64], const StagedTile& tile) {
    if (tile.masked()) {
      const SeenSegment& seen = block_.segments[tile.segment()];
      const int limits[2] = {seen.Limit(row_[0]), seen.Limit(row_[1])};
      Mask(s, tile, 0, limits);
    }
    bool raised = false;
    float used[2] = {reference_[0], reference_[1]};
    if constexpr (!kPredict) raised = RaiseReferences(s, used);
    float sums[2][2] = {};
    float columns[4];
    // Exponentials are slow, exchanges between lanes late: written so that they alternate.
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float folded[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        float(&x)[4] = reinterpret_cast<float(&)[4]>(s[(i * 4 + j) * 4]);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          x[k] = Exp2(x[k] - used[k / 2]);
          sums[k / 2][k % 2] += x[k];
        }
        if constexpr (kPredict) folded[j] = Fold(x[0] + x[2], x[1] + x[3], 16);
      }
      if constexpr (kPredict) columns[i] = Fold(Fold(folded[0], folded[1], 8), Fold(folded[2], folded[3], 8), 4);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float sum = sums[half][0] + sums[half][1];
      sum_[half] = kPredict ? sum_[half] + sum : fmaf(sum_[half], factor_[half], sum);
    }
    if constexpr (kPredict) {
      if (tile.segment() > 0) LeaveColumnSums(columns, tile);
    }
    return raised;
  }

  __device__ void LeaveColumnSums(const float (&columns)[4], const StagedTile& tile) {
    const int warp = static_cast<int>(threadIdx.x) / 32 - 4, lane = static_cast<int>(threadIdx.x) % 32;
    control_.sums_empty[sums_.stage].Wait(sums_.parity ^ 1);
    reinterpret_cast<float4*>(shared_ + S::kSumsAt + sums_.stage * S::kSumBytes)[warp * 32 + lane] =
        make_float4(columns[0], columns[1], columns[2], columns[3]);
    if (warp == 0 && lane == 0) {
      control_.sum_slots[sums_.stage] = tile.first_slot;
      control_.sum_segment[sums_.stage] = tile.segment();
    }
    Release(control_.sums_full[sums_.stage]);
    sums_.Advance();
  }
  __device__ void EndSums() {
    control_.sums_empty[sums_.stage].Wait(sums_.parity ^ 1);
    if (threadIdx.x == 128) control_.sum_slots[sums_.stage] = -1;
    Release(control_.sums_full[sums_.stage]);
  }

  // The references: log2 of each row's sum, exactly over sinks and the most recent keys, elsewhere from every
  // sample_step-th key.
  __device__ void Predict() {
    float s[64];
    for (StagedTile tile = NextTileOfKeys(); !tile.end(); tile = NextTileOfKeys()) {
      MyTurn();
      Logits(s, tile);
      OthersTurn();
      WaitProducts<0>();
      Pin(s);
      ReleaseKeys();
      if (tile.masked()) {
        const SeenSegment& seen = block_.segments[tile.segment()];
        const int recent = RecentPlace(seen, tile.segment(), block_.least[tile.segment()]);
        const int limits[2] = {tile.sampled() ? recent : seen.Limit(row_[0]),
                               tile.sampled() ? recent : seen.Limit(row_[1])};
        Mask(s, tile, tile.sampled() ? 0 : recent, limits);
      }
      float used[2];
      RaiseReferences(s, used);
      const float times = tile.sampled() ? static_cast<float>(a_.maps.sample_step) : 1.0f;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float sum = 0;
#pragma unroll
        for (int i = 0; i < 32; ++i) sum += Exp2(s[i / 2 * 4 + half * 2 + i % 2] - used[half]);
        sum_[half] = fmaf(sum_[half], factor_[half], sum * times);
      }
    }
    ReleaseKeys();  // of the end
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = sum_[half];
      sum += ShuffleXor(sum, 1);
      sum += ShuffleXor(sum, 2);
      // A row's weight is a factor of its probabilities, which falls out of its outputs: column sums need no products.
      const float weight = WeightOf(a_.tables, slice_, row_[half], valid_[half]);
      reference_[half] = weight > 0 && sum > 0 ? reference_[half] + log2f(sum) - log2f(weight) : kInfinity;
      sum_[half] = 0;
    }
  }

  __device__ void PackAll(const float (&s)[64], uint32_t (&p)[8][4]) {
#pragma unroll
    for (int step = 0; step < 8; ++step) {
#pragma unroll
      for (int i = 0; i < 4; ++i) p[step][i] = Pack<Bf16>(s[step * 8 + i * 2], s[step * 8 + i * 2 + 1]);
    }
  }

  __device__ void Store() {
    const CacheLayout& layout = a_.pool.layout;
    const int heads = layout.num_kv_heads * layout.group, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = sum_[half];
      sum += ShuffleXor(sum, 1);
      sum += ShuffleXor(sum, 2);
      if (!valid_[half]) continue;
      const int head = kv_head_ * layout.group + head_[half];
      if (lane % 4 == 0) {
        const int64_t at = static_cast<int64_t>(head) * a_.scratch.rows + place_ + token_[half];
        a_.scratch.lse[at] = sum == 0 ? kInfinity : reference_[half] + log2f(sum);
        if (kPredict) a_.masses[at] = sum;
      }
      const float inverse = sum == 0 ? 0.0f : 1.0f / sum;
      T* to = static_cast<T*>(a_.out) +
              (static_cast<int64_t>(slice_.first_row + row_[half]) * heads + head) * layout.head_dim;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        if (n * 8 >= layout.head_dim) break;
        *reinterpret_cast<uint32_t*>(to + n * 8 + lane % 4 * 2) =
            Pack<T>(out_[n * 4 + half * 2] * inverse, out_[n * 4 + half * 2 + 1] * inverse);
      }
    }
  }

  const ForwardArguments& a_;
  const Block& block_;
  Control<S::kStages>& control_;
  unsigned char* const shared_;
  const StepSlice& slice_;
  const int place_, kv_head_, group_;
  const Operand first_tile_, first_values_;
  bool valid_[2];
  int token_[2], head_[2], row_[2];
  float reference_[2];  // p = 2^(logit - reference)
  float sum_[2];        // of the lane's p
  float factor_[2];     // of what was summed with the reference before
  float out_[kOut];
  int segment_ = -1;
  Place<2> query_ = {1, 1};
  Place<S::kStages> key_, value_;
  Place<kSumStages> sums_;
};

// Grid [row tiles, KV heads, slices]; a producing warpgroup and two that multiply. A tile holds tile_tokens rows of the
// slice, each with all queries of the KV head's group, so that keys and values are read once for the group. Row tiles
// come first in the grid: blocks that run together read the same keys.
template <class T, int kDim, bool kPredict>
__global__ void __launch_bounds__(kThreads, 1)
    ForwardKernel(const __grid_constant__ ForwardArguments a, const bool only_broken) {
  using S = Shape<kDim>;
  __shared__ Control<S::kStages> control;
  __shared__ Block block;
  WaitForPrevious();
  AllowNext();
  const CacheLayout& layout = a.pool.layout;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  const int kv_head = static_cast<int>(blockIdx.y);
  const int slice_index = a.part.first_slice + static_cast<int>(blockIdx.z);
  const StepSlice slice = a.tables.slices[slice_index];
  const int first_row = a.part.row_begin + static_cast<int>(blockIdx.x) * a.maps.tile_tokens;
  const int num_rows = min(a.maps.tile_tokens, min(a.part.row_end, slice.num_rows) - first_row);
  if (num_rows <= 0 || a.tables.live[slice_index] == 0) return;
  const size_t tile_index = TileIndex(blockIdx.z, blockIdx.x, gridDim.x, kv_head, layout.num_kv_heads);
  if (only_broken && a.certificates[tile_index] < kInfinity) return;
  const int place = static_cast<int>(blockIdx.z) * (a.part.row_end - a.part.row_begin) + first_row - a.part.row_begin;
  const int cache_block = (slice.slot * layout.num_layers + a.layer) * layout.num_kv_heads + kv_head;

  unsigned char* shared = SharedMemory();
  shared += (1024 - SharedAddress(shared) % 1024) % 1024;
  if (thread < layout.num_segments) {
    block.segments[thread] = MakeSeenSegment(layout, a.tables, slice_index, thread);
    block.least[thread] = block.segments[thread].Limit(first_row);
    block.most[thread] = block.segments[thread].Limit(first_row + num_rows - 1);
  }
  if (thread == 0) {
    for (int i = 0; i < 2; ++i) {
      control.query_full[i].Init(1);
      control.query_empty[i].Init(kWarps);
    }
    for (int i = 0; i < S::kStages; ++i) {
      control.key_full[i].Init(1);
      control.key_empty[i].Init(kWarps);
      control.value_full[i].Init(1);
      control.value_empty[i].Init(kWarps);
    }
    for (int i = 0; i < kSumStages; ++i) {
      control.sums_full[i].Init(kWarps);
      control.sums_empty[i].Init(1);
    }
    FenceBarriers();
  }
  // Rows of queries that no copy fills are multiplied too.
  for (int i = thread; i < 2 * S::kTileBytes / 16; i += kThreads) {
    if (i * 16 % kPanelBytes >= a.maps.query_rows * 128) {
      reinterpret_cast<uint4*>(shared)[i] = make_uint4(0, 0, 0, 0);
    }
  }
  FenceSharedWrites();
  SyncBlock();

  if (warp < 4) {
    GiveRegisters<40>();
    if (thread == 0) {
      KeyProducer<kDim, kPredict>(a, block, control, shared, place, kv_head, cache_block).Run();
    } else if (thread == 32) {
      BringValues<kDim>(a, block, control, shared, cache_block);
    } else if (kPredict && warp == 2) {
      AddColumnSums<kDim>(block, control, shared, a.column_sums + tile_index * layout.entries);
    }
  } else {
    TakeRegisters<232>();
    Multiplier<T, kDim, kPredict>(a, block, control, shared, slice, first_row, num_rows, place, kv_head).Run();
  }
}

template <class T, int kDim, bool kPredict>
void LaunchKernel(Stream& stream, const ForwardArguments& arguments, bool only_broken) {
  const AttentionPart& part = arguments.part;
  const int tiles = RowTiles(part, arguments.maps.tile_tokens);
  const LaunchShape shape = {
      .grid = dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(arguments.pool.layout.num_kv_heads),
                   static_cast<unsigned>(part.num_slices)),
      .block = dim3(kThreads),
      .shared_bytes = Shape<kDim>::kSharedBytes,
      .overlap = true};
  stream.Launch("attention", ForwardKernel<T, kDim, kPredict>, shape, arguments, only_broken);
}

template <class T, int kDim>
void LaunchMode(Stream& stream, const ForwardArguments& arguments, ForwardMode mode) {
  if (mode == ForwardMode::kPredict) return LaunchKernel<T, kDim, true>(stream, arguments, false);
  LaunchKernel<T, kDim, false>(stream, arguments, mode == ForwardMode::kMend);
}

template <class T>
void LaunchType(Stream& stream, const ForwardArguments& arguments, ForwardMode mode) {
  if (arguments.pool.layout.row_elements == 64) return LaunchMode<T, 64>(stream, arguments, mode);
  CASCADE_CHECK(arguments.pool.layout.row_elements == 128);
  LaunchMode<T, 128>(stream, arguments, mode);
}

}  // namespace

void LaunchForward(Stream& stream, const ForwardArguments& arguments, DType type, ForwardMode mode) {
  CASCADE_CHECK(type == DType::kBF16 || type == DType::kF16);
  if (type == DType::kBF16) return LaunchType<Bf16>(stream, arguments, mode);
  LaunchType<Half>(stream, arguments, mode);
}

}  // namespace cascade::kernels::cuda::sm90
