// The forward kernel's producing warpgroup: what brings tiles, and what takes column sums away.
#pragma once

#include "kernels/cuda/sm90/attention_block.h"

namespace cascade::kernels::cuda::sm90::forward {

// By one thread each: bring tiles of queries and keys, and of values, in the order in which they are multiplied.
template <int kDim, bool kPredict>
class KeyProducer {
  using S = Shape<kDim>;

 public:
  __device__ KeyProducer(const ForwardArguments& a, const Block& block, Control<S::kStages>& control,
                         unsigned char* shared, int place, int kv_head, int cache_block)
      : a_(a),
        block_(block),
        control_(control),
        shared_(shared),
        place_(place),
        kv_head_(kv_head),
        cache_block_(cache_block) {}

  __device__ void Run() {
    const CacheLayout& layout = a_.pool.layout;
    if constexpr (kPredict) {
      const int step = a_.maps.sample_step;
      for (int s = 0; s < layout.num_segments; ++s) {
        const SeenSegment& seen = block_.segments[s];
        const int recent = RecentPlace(seen, s, block_.least[s]);
        for (int tile = -1; (tile = seen.NextTile(kTileKeys * step, tile + 1, recent)) >= 0;) {
          const int first = tile * kTileKeys * step;
          Bring<true>(s, first + a_.sample_phase,
                      block_.partial || !seen.AllBelow(first, first + kTileKeys * step, recent));
        }
        const SeenSegment rest = From(seen, recent);
        for (int tile = -1; (tile = rest.NextTile(kTileKeys, tile + 1, block_.most[s] - recent)) >= 0;) {
          Bring<false>(s, tile * kTileKeys, true);
        }
      }
      End();
    }
    for (int s = 0; s < layout.num_segments; ++s) {
      const SeenSegment& seen = block_.segments[s];
      for (int tile = -1; (tile = seen.NextTile(kTileKeys, tile + 1, block_.most[s])) >= 0;) {
        const int first = tile * kTileKeys;
        Bring<false>(s, first, block_.partial || !seen.AllBelow(first, first + kTileKeys, block_.least[s]));
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
    for (int tile = -1; (tile = seen.NextTile(kTileKeys, tile + 1, block.most[s])) >= 0; value.Advance()) {
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
__device__ void AddColumnSums(const Block& block, Control<Shape<kDim>::kStages>& control, const unsigned char* shared,
                              float* to) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (Place<kSumStages> place;; place.Advance()) {
    control.sums_full[place.stage].Wait(place.parity);
    const int first_slot = control.sum_slots[place.stage];
    if (first_slot < 0) return;
    const SeenSegment& seen = block.segments[control.sum_segment[place.stage]];
    const float4* from =
        reinterpret_cast<const float4*>(shared + Shape<kDim>::kSumsAt + place.stage * Shape<kDim>::kSumBytes) + lane;
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

}  // namespace cascade::kernels::cuda::sm90::forward
