#include "kernels/cuda/sm90/attention_scores.h"

#include "kernels/base/check.h"
#include "kernels/cuda/sm90/attention_tiles.h"
#include "kernels/cuda/sm90/instructions.h"
#include "kernels/cuda/sm90/pipeline.h"

namespace cascade::kernels::cuda::sm90 {
namespace {

constexpr int kGroups = 2;  // warpgroups that multiply, 64 of the tile's keys each
constexpr int kThreads = 128 + 128 * kGroups;
constexpr int kWarps = 4 * kGroups;
constexpr int kStages = 4;
constexpr int kReferenceWarps = 3;  // of the producing warpgroup
constexpr int kPanelBytes = kTileKeys * 128;
constexpr int kNever = 0x7FFFFFFF;
constexpr float kInfinity = __builtin_huge_valf();

template <int kDim>
struct Shape {
  static constexpr int kPanels = kDim / 64;
  static constexpr int kTileBytes = kPanels * kPanelBytes;
  static constexpr int kSharedBytes = (1 + kStages) * kTileBytes + 1024;  // keys, then queries; aligned by the kernel
};

struct Control {
  Barrier keys_full;
  Barrier full[kStages], empty[kStages];
  // Of a stage's queries: log2 of the row's sum less log2 of its share of a score. Infinity: gives nothing.
  alignas(16) float references[kStages][kTileQueries];
  int key_rows[kTileKeys];  // of each key: the first row that sees it
};

// Which rows and keys a block is about.
struct Work {
  SeenSegment seen;
  int segment;
  int first_slot;
  int kv_head;
  int place;       // of the slice's part in the scratch, less row_begin
  int first_tile;  // of rows, kTileQueries from part.row_begin on
  int row_end;
  int masked_end;  // rows from here on see all keys of the tile that are seen at all
};

// By one thread: the keys, then tiles of rows, the heads of the group one after the other.
template <int kDim>
__device__ void Produce(const ForwardArguments& a, const Work& work, Control& control, unsigned char* shared,
                        int cache_block) {
  using S = Shape<kDim>;
  control.keys_full.ArriveExpecting(S::kTileBytes);
  for (int panel = 0; panel < S::kPanels; ++panel) {
    CopyBox4(shared + panel * kPanelBytes, &a.maps.cache, control.keys_full, panel * 64,
             work.seen.first_entry + work.first_slot, 0, cache_block);
  }
  const int group = a.pool.layout.group;
  const int head = (work.segment * a.pool.layout.num_kv_heads + work.kv_head) * group;
  Place<kStages> stage;
  for (int row = a.part.row_begin + work.first_tile * kTileQueries; row < work.row_end; row += kTileQueries) {
    for (int g = 0; g < group; ++g, stage.Advance()) {
      control.empty[stage.stage].Wait(stage.parity ^ 1);
      control.full[stage.stage].ArriveExpecting(S::kTileBytes);
      unsigned char* to = shared + (1 + stage.stage) * S::kTileBytes;
      for (int panel = 0; panel < S::kPanels; ++panel) {
        CopyBox3(to + panel * kPanelBytes, &a.maps.rows, control.full[stage.stage], panel * 64, work.place + row,
                 head + g);
      }
    }
  }
}

// By kReferenceWarps warps, each every so manieth tile: what the rows' logits are compared with.
__device__ void BringReferences(const ForwardArguments& a, const StepSlice& slice, const Work& work, Control& control,
                                int warp) {
  const int group = a.pool.layout.group, lane = static_cast<int>(threadIdx.x) % 32;
  const float share = 1.0f / static_cast<float>(group);
  Place<kStages> stage;
  int turn = 0;
  for (int row = a.part.row_begin + work.first_tile * kTileQueries; row < work.row_end; row += kTileQueries) {
    for (int g = 0; g < group; ++g, stage.Advance()) {
      const bool mine = turn == warp;
      turn = turn + 1 == kReferenceWarps ? 0 : turn + 1;
      if (!mine) continue;
      const float* lse = a.scratch.lse + static_cast<int64_t>(work.kv_head * group + g) * a.scratch.rows + work.place;
      float values[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int r = row + lane * 4 + i;
        const bool there = r < work.row_end;
        const float weight = there ? a.tables.weights[slice.first_row + r] * share : 0.0f;
        values[i] = weight > 0 ? lse[r] - log2f(weight) : kInfinity;
      }
      control.empty[stage.stage].Wait(stage.parity ^ 1);
      *reinterpret_cast<float4*>(&control.references[stage.stage][lane * 4]) =
          make_float4(values[0], values[1], values[2], values[3]);
      SyncWarp();
      if (lane == 0) control.full[stage.stage].Arrive();
    }
  }
}

// One of the warpgroups that multiply: 64 keys, whose totals stay in registers. A lane adds up the columns that it has
// of keys g and g + 8 of its warp's 16.
template <int kDim>
class Multiplier {
  using S = Shape<kDim>;

 public:
  __device__ Multiplier(const ForwardArguments& a, const Work& work, Control& control, unsigned char* shared)
      : a_(a), work_(work), control_(control), shared_(shared) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    warp_key_ = (static_cast<int>(threadIdx.x) / 32 - 4) * 16;
    seen_from_[0] = control.key_rows[warp_key_ + lane / 4];
    seen_from_[1] = control.key_rows[warp_key_ + lane / 4 + 8];
  }

  // Sums over all rows, of keys warp_key + g and + 8; the same in the four lanes of a key.
  __device__ void Run(float (&totals)[2]) {
    control_.keys_full.Wait(0);
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int row = warp_key_ + lane % 16;
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
      const int chunk = step % 4 * 2 + lane / 16;
      LoadMatrices(keys_[step], shared_ + step / 4 * kPanelBytes + row * 128 + ((chunk ^ (row & 7)) << 4));
    }
    totals_[0] = totals_[1] = 0;
    const int group = a_.pool.layout.group;
    const int first_row = a_.part.row_begin + work_.first_tile * kTileQueries;
    const int tiles = (work_.row_end - first_row + kTileQueries - 1) / kTileQueries * group;
    float even[64], odd[64];
    int tile = 0;
    const auto row_of = [&](int t) { return first_row + t / group * kTileQueries; };
    // While one tile's products are under way, the one before is added.
    Multiply(even);
    for (; tile + 2 < tiles; tile += 2) {
      Multiply(odd);
      WaitProducts<1>();
      Pin(even);
      Add(even, row_of(tile));
      Multiply(even);
      WaitProducts<1>();
      Pin(odd);
      Add(odd, row_of(tile + 1));
    }
    if (tile + 1 < tiles) {
      Multiply(odd);
      WaitProducts<1>();
      Pin(even);
      Add(even, row_of(tile));
      WaitProducts<0>();
      Pin(odd);
      Add(odd, row_of(tile + 1));
    } else {
      WaitProducts<0>();
      Pin(even);
      Add(even, row_of(tile));
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = totals_[half];
      sum += ShuffleXor(sum, 1);
      sum += ShuffleXor(sum, 2);
      totals[half] = sum;
    }
  }

  __device__ int warp_key() const { return warp_key_; }

 private:
  // Starts the products with the next tile of queries.
  __device__ void Multiply(float (&s)[64]) {
    control_.full[next_.stage].Wait(next_.parity);
    const Operand queries = RowsOperand(shared_ + (1 + next_.stage) * S::kTileBytes);
    StartProducts();
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
      Multiply128(s, keys_[step], Further(queries, step / 4 * kPanelBytes + step % 4 * 32), step > 0);
    }
    EndProducts();
    next_.Advance();
  }

  // first_row: of the tile whose products are done.
  __device__ void Add(const float (&s)[64], int first_row) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const float* references = control_.references[done_.stage] + lane % 4 * 2;
    // What was copied beyond the slice's rows may be anything.
    if (first_row < work_.masked_end || first_row + kTileQueries > work_.row_end) {
      AddColumns<true>(s, references, first_row + lane % 4 * 2);
    } else {
      AddColumns<false>(s, references, first_row);
    }
    SyncWarp();
    if (lane == 0) control_.empty[done_.stage].Arrive();
    done_.Advance();
  }

  template <bool kMasked>
  __device__ void AddColumns(const float (&s)[64], const float* references, int row) {
#pragma unroll
    for (int j = 0; j < 16; ++j) {
      const float2 reference = *reinterpret_cast<const float2*>(references + j * 8);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float a = Exp2(s[j * 4 + half * 2] - reference.x), b = Exp2(s[j * 4 + half * 2 + 1] - reference.y);
        if (kMasked) {
          const int first = row + j * 8;
          if (first < seen_from_[half] || first >= work_.row_end) a = 0;
          if (first + 1 < seen_from_[half] || first + 1 >= work_.row_end) b = 0;
        }
        totals_[half] += a + b;
      }
    }
  }

  const ForwardArguments& a_;
  const Work& work_;
  Control& control_;
  unsigned char* const shared_;
  int warp_key_;
  int seen_from_[2];
  uint32_t keys_[kDim / 16][4];
  float totals_[2];
  Place<kStages> next_, done_;
};

// Grid [key tiles of all rings, KV heads, slices]: keys are stationary, so that nothing is added across blocks. Key
// tiles come first in the grid: blocks that run together read the same queries.
template <int kDim>
__global__ void __launch_bounds__(kThreads, 1)
    ScoresKernel(const __grid_constant__ FoldArguments arguments, const int row_tiles, const bool only_rejected) {
  using S = Shape<kDim>;
  const ForwardArguments& a = arguments.forward;
  __shared__ Control control;
  __shared__ Work work;
  __shared__ bool idle;
  WaitForPrevious();
  AllowNext();
  const CacheLayout& layout = a.pool.layout;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int kv_head = static_cast<int>(blockIdx.y);
  const int slice_index = a.part.first_slice + static_cast<int>(blockIdx.z);
  const StepSlice slice = a.tables.slices[slice_index];
  const int row_end = min(a.part.row_end, slice.num_rows);
  if (a.tables.live[slice_index] == 0 || slice.sinks != 0 || row_end <= a.part.row_begin) return;
  // All warps find the same.
  if (only_rejected &&
      IsWithin(HeadCertificate(a.certificates, arguments.weights, blockIdx.z, row_tiles, kv_head, layout.num_kv_heads),
               arguments.limit)) {
    return;
  }

  if (warp == 0) {
    int first_slot = static_cast<int>(blockIdx.x) * kTileKeys, segment = 1;
    for (; segment < layout.num_segments; ++segment) {
      const int slots = (layout.segment_slots[segment] + kTileKeys - 1) / kTileKeys * kTileKeys;
      if (first_slot < slots) break;
      first_slot -= slots;
    }
    const SeenSegment seen = MakeSeenSegment(layout, a.tables, slice_index, segment);
    int first = kNever, last = 0;
    for (int key = lane; key < kTileKeys; key += 32) {
      const int place = seen.Place(first_slot + key);
      const int row = place < seen.Limit(row_end - 1) ? seen.FirstRow(place) : kNever;
      control.key_rows[key] = row;
      first = min(first, row);
      if (row != kNever) last = max(last, row);
    }
    for (int mask = 16; mask > 0; mask /= 2) {
      first = min(first, ShuffleXor(first, mask));
      last = max(last, ShuffleXor(last, mask));
    }
    if (lane == 0) {
      idle = first == kNever;
      work = {.seen = seen,
              .segment = segment,
              .first_slot = first_slot,
              .kv_head = kv_head,
              .place = static_cast<int>(blockIdx.z) * (a.part.row_end - a.part.row_begin) - a.part.row_begin,
              .first_tile = max(first - a.part.row_begin, 0) / kTileQueries,
              .row_end = row_end,
              .masked_end = last};
      control.keys_full.Init(1);
      for (int i = 0; i < kStages; ++i) {
        control.full[i].Init(2);  // the queries, and their references
        control.empty[i].Init(kWarps);
      }
      FenceBarriers();
    }
  }
  SyncBlock();
  if (idle) return;
  unsigned char* shared = SharedMemory();
  shared += (1024 - SharedAddress(shared) % 1024) % 1024;
  if (warp < 4) {
    GiveRegisters<40>();
    if (thread == 0) {
      const int cache_block = (slice.slot * layout.num_layers + a.layer) * layout.num_kv_heads + kv_head;
      Produce<kDim>(a, work, control, shared, cache_block);
    } else if (warp > 0) {
      BringReferences(a, slice, work, control, warp - 1);
    }
    return;
  }
  TakeRegisters<232>();
  Multiplier<kDim> multiplier(a, work, control, shared);
  float totals[2];
  multiplier.Run(totals);
  float* scores = reinterpret_cast<float*>(a.pool.Block(slice.slot, a.layer, kv_head) + layout.scores_offset) +
                  work.seen.first_entry + work.first_slot;
  const bool opens = slice.open_place == 0 && a.part.row_begin == 0;
  if (lane % 4 >= 2) return;
  const int key = multiplier.warp_key() + lane / 4 + lane % 4 * 8;
  if (control.key_rows[key] == kNever) return;
  scores[key] = fmaf(scores[key], opens ? layout.stride_decay : 1.0f, lane % 4 == 0 ? totals[0] : totals[1]);
}

template <int kDim>
void Launch(Stream& stream, const FoldArguments& arguments, ScoredHeads heads) {
  const AttentionPart& part = arguments.forward.part;
  const CacheLayout& layout = arguments.forward.pool.layout;
  int tiles = 0;
  for (int s = 1; s < layout.num_segments; ++s) tiles += (layout.segment_slots[s] + kTileKeys - 1) / kTileKeys;
  const LaunchShape shape = {.grid = dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(layout.num_kv_heads),
                                          static_cast<unsigned>(part.num_slices)),
                             .block = dim3(kThreads),
                             .shared_bytes = Shape<kDim>::kSharedBytes,
                             .overlap = true};
  stream.Launch("scores", ScoresKernel<kDim>, shape, arguments, RowTiles(part, arguments.forward.maps.tile_tokens),
                heads == ScoredHeads::kRejected);
}

}  // namespace

void LaunchExactScores(Stream& stream, const FoldArguments& arguments, ScoredHeads heads) {
  const CacheLayout& layout = arguments.forward.pool.layout;
  CASCADE_CHECK(!layout.max_reduction);
  if (layout.row_elements == 64) return Launch<64>(stream, arguments, heads);
  CASCADE_CHECK(layout.row_elements == 128);
  Launch<128>(stream, arguments, heads);
}

}  // namespace cascade::kernels::cuda::sm90
