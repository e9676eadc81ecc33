// The forward kernel's multiplying warpgroups.
#pragma once

#include "kernels/cuda/sm90/attention_block.h"

namespace cascade::kernels::cuda::sm90::forward {

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
      : a_(a),
        block_(block),
        control_(control),
        shared_(shared),
        slice_(slice),
        place_(place),
        kv_head_(kv_head),
        group_(static_cast<int>(threadIdx.x) / 128 - 1),
        first_tile_(RowsOperand(shared)),
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
    LogitsAlone(s, tile);
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
  // Of a tile whose values are not to be added meanwhile.
  __device__ void LogitsAlone(float (&s)[64], const StagedTile& tile) {
    MyTurn();
    Logits(s, tile);
    OthersTurn();
    WaitProducts<0>();
    Pin(s);
    ReleaseKeys();
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
      const int limits[2] = {valid_[0] ? seen.Limit(row_[0]) : 0, valid_[1] ? seen.Limit(row_[1]) : 0};
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
      LogitsAlone(s, tile);
      if (tile.masked()) {
        const SeenSegment& seen = block_.segments[tile.segment()];
        const int recent = RecentPlace(seen, tile.segment(), block_.least[tile.segment()]);
        int limits[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          limits[half] = !valid_[half] ? 0 : tile.sampled() ? recent : seen.Limit(row_[half]);
        }
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

}  // namespace cascade::kernels::cuda::sm90::forward
