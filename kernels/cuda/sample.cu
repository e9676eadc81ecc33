#include "kernels/cuda/sample.h"

#include <algorithm>
#include <climits>

#include "kernels/base/check.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/sample_ranking.h"
#include "kernels/cuda/sample_row.h"

// DESIGN. A row is some 500 KB, which one multiprocessor reads in 5 us and turns into weights in 12; so two kernels
// with a block per chunk of a row prepare what the third, with a block per row, chooses from:
//   1  the largest logit of each chunk
//   2  with the largest of the row: each chunk's sum of weights; for filters, their sums by depth
//   3  greedy: done. No filter: a chunk, then a token of it. Filters leave a prefix of the ranking, so each is a mass
//   at
//      which to end it, and the draw is one more place in the ranking (sample_ranking.h).
namespace cascade::kernels::cuda {
namespace {

constexpr int kRows = 64;  // that there is scratch for; more take turns
constexpr int kChunkThreads = 256;
constexpr int kRowThreads = 1024;
constexpr int kMinChunk = 2048;
constexpr int kMaxVocabulary = (1 << 22) - 1;
static_assert(kSampleScratchBytes == kRows * sizeof(SampleRow));
static_assert(kBuckets % kRowThreads == 0 && kBuckets == static_cast<int>(kMaxDepth * kBucketsPerDepth));

struct SampleInput {
  const float* logits = nullptr;  // [rows, stride]
  int64_t stride = 0;
  int vocabulary = 0;
  int chunk = 0;  // tokens of one
  int chunks = 0;
  const SampleRequest* requests = nullptr;
  const int32_t* live = nullptr;
  SampleRow* rows = nullptr;

  __device__ const float* Logits(int row) const { return logits + row * stride; }
  __device__ bool Samples(int row) const { return requests[row].slot >= 0 && live[row] != 0; }
};

// A block per chunk (x) and row (y): the largest logit, the first of them if there are several. Clears the buckets too.
__global__ void __launch_bounds__(kChunkThreads) LargestKernel(SampleInput in) {
  __shared__ float largest_of_warp[kChunkThreads / 32];
  __shared__ int32_t first_of_warp[kChunkThreads / 32];
  WaitForPrevious();
  AllowNext();
  const int row = blockIdx.y, chunk = blockIdx.x;
  if (!in.Samples(row)) return;
  SampleRow& out = in.rows[row];
  const SampleRequest request = in.requests[row];
  if (!IsGreedy(request) && HasFilter(request, in.vocabulary)) {
    for (int i = chunk * kChunkThreads + threadIdx.x; i < kBuckets; i += in.chunks * kChunkThreads) {
      out.bucket_mass[i] = 0;
      out.bucket_count[i] = 0;
    }
  }
  const float* logits = in.Logits(row);
  const int begin = chunk * in.chunk;
  const int end = in.vocabulary - begin < in.chunk ? in.vocabulary : begin + in.chunk;
  float largest = -INFINITY;
  int32_t first = INT_MAX;
  bool nan = false;
#pragma unroll 8
  for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kChunkThreads) {
    const float logit = logits[i];
    nan |= logit != logit;
    if (logit > largest) {
      largest = logit;
      first = i;
    }
  }
  const bool warp_nan = Ballot(nan) != 0;
  const float warp_largest = WarpMax(largest);
  first = largest == warp_largest ? first : INT_MAX;
  for (int mask = 16; mask > 0; mask /= 2) {
    const int32_t other = ShuffleXor(first, mask);
    first = other < first ? other : first;
  }
  if (threadIdx.x % 32 == 0) {
    largest_of_warp[threadIdx.x / 32] = warp_nan ? NAN : warp_largest;
    first_of_warp[threadIdx.x / 32] = first;
  }
  SyncBlock();
  if (threadIdx.x != 0) return;
  largest = -INFINITY;
  first = INT_MAX;
  nan = false;
  for (int warp = 0; warp < kChunkThreads / 32; ++warp) {
    const float its = largest_of_warp[warp];
    nan |= its != its;
    if (its > largest || (its == largest && first_of_warp[warp] < first)) {
      largest = its;
      first = first_of_warp[warp];
    }
  }
  out.largest[chunk] = nan ? NAN : largest;
  out.first[chunk] = first;
}

// Adds a token to its bucket (-1: to none). By a warp: where all its tokens share a bucket, as with equal logits, only
// one lane waits for memory.
__device__ void AddToBucket(SampleRow& row, int bucket, uint64_t mass) {
  if (Ballot(bucket == Shuffle(bucket, 0)) == 0xFFFFFFFFu) {
    mass = WarpTotal(mass);
    if (threadIdx.x % 32 != 0 || bucket < 0) return;
    atomicAdd(reinterpret_cast<unsigned long long*>(&row.bucket_mass[bucket]), static_cast<unsigned long long>(mass));
    atomicAdd(&row.bucket_count[bucket], 32u);
  } else if (bucket >= 0) {
    atomicAdd(reinterpret_cast<unsigned long long*>(&row.bucket_mass[bucket]), static_cast<unsigned long long>(mass));
    atomicAdd(&row.bucket_count[bucket], 1u);
  }
}

// A block per chunk (x) and row (y): sums of weights.
__global__ void __launch_bounds__(kChunkThreads) WeightsKernel(SampleInput in) {
  __shared__ BlockScan<uint64_t> masses;
  __shared__ BlockScan<uint64_t> kept_masses;
  WaitForPrevious();
  AllowNext();
  const int row = blockIdx.y, chunk = blockIdx.x;
  if (!in.Samples(row)) return;
  const SampleRequest request = in.requests[row];
  if (IsGreedy(request)) return;
  SampleRow& out = in.rows[row];
  const Weights weights = {LargestLogit(out, in.chunks), 1.0f / request.temperature};
  if (!IsFinite(weights.largest)) return;
  const bool filter = HasFilter(request, in.vocabulary);
  const float* logits = in.Logits(row);
  const int begin = chunk * in.chunk;
  const int end = in.vocabulary - begin < in.chunk ? in.vocabulary : begin + in.chunk;
  uint64_t mass = 0, kept = 0;
#pragma unroll 4
  for (int first = begin; first < end; first += kChunkThreads) {
    const int i = first + static_cast<int>(threadIdx.x);
    const float depth = i < end ? weights.Depth(logits[i]) : kMaxDepth;
    const uint64_t its = Weights::Mass(depth);
    mass += its;
    if (!filter) continue;
    if (Weights::Weight(depth) >= request.min_p) kept += its;
    AddToBucket(out, Weights::Bucket(depth), its);
  }
  mass = masses.Total(mass);
  kept = kept_masses.Total(kept);
  if (threadIdx.x != 0) return;
  out.mass[chunk] = mass;
  out.kept[chunk] = kept;
}

struct ChooseShared {
  BlockScan<uint64_t> scan;
  uint64_t before;  // of the chunk or token that was found
  int32_t found;
};

// In proportion to weight, in the order of ids: the token that has a part of the mass at `target`.
__device__ int32_t Draw(ChooseShared& shared, const SampleInput& in, const SampleRow& row, const float* logits,
                        Weights weights, uint64_t target) {
  const int thread = static_cast<int>(threadIdx.x);
  uint64_t mass = thread < in.chunks ? row.mass[thread] : 0;
  uint64_t total;
  uint64_t before = shared.scan.Before(mass, total);
  if (before <= target && target - before < mass) {
    shared.found = thread;
    shared.before = before;
  }
  SyncBlock();
  const int begin = shared.found * in.chunk;
  target -= shared.before;
  const int per_thread = (in.chunk + kRowThreads - 1) / kRowThreads;
  const int first = begin + thread * per_thread;
  const int chunk_end = in.vocabulary - begin < in.chunk ? in.vocabulary : begin + in.chunk;
  const int end = first + per_thread < chunk_end ? first + per_thread : chunk_end;
  mass = 0;
  for (int i = first; i < end; ++i) mass += Weights::Mass(weights.Depth(logits[i]));
  before = shared.scan.Before(mass, total);
  if (before <= target && target - before < mass) {
    int i = first;
    for (; i < end - 1; ++i) {
      const uint64_t its = Weights::Mass(weights.Depth(logits[i]));
      if (target - before < its) break;
      before += its;
    }
    shared.found = i;
  }
  SyncBlock();
  return shared.found;
}

// u of `mass`, which is not 0.
__device__ uint64_t PlaceOf(double u, uint64_t mass) {
  const uint64_t place = static_cast<uint64_t>(u * static_cast<double>(mass));
  return place < mass ? place : mass - 1;
}

__device__ int32_t DrawFiltered(Ranking& ranking, const SampleRequest& request, int vocabulary, uint64_t total,
                                uint64_t kept) {
  uint64_t limit = total;  // of the prefix that is left
  if (HasTopK(request, vocabulary) && static_cast<uint32_t>(request.top_k) < ranking.num_ranked()) {
    limit = ranking.ByCount(static_cast<uint32_t>(request.top_k) - 1).mass;
  }
  if (request.top_p < 1.0f) {
    // The shortest prefix that has this much; rounding must not ask for more than there is.
    uint64_t wanted = static_cast<uint64_t>(ceil(static_cast<double>(request.top_p) * static_cast<double>(limit)));
    wanted = wanted < 1 ? 1 : wanted > limit ? limit : wanted;
    const uint64_t nucleus = ranking.ByMass(wanted - 1).mass;
    limit = nucleus < limit ? nucleus : limit;
  }
  if (request.min_p > 0.0f && kept < limit) limit = kept;
  return IdOf(ranking.ByMass(PlaceOf(request.u, limit)).rank);
}

// A block per row.
__global__ void __launch_bounds__(kRowThreads) ChooseKernel(SampleInput in, SampleState state, int32_t* sampled) {
  __shared__ ChooseShared shared;
  __shared__ int32_t ended;
  WaitForPrevious();
  AllowNext();
  const int row = blockIdx.x;
  const SampleRequest request = in.requests[row];
  if (request.slot < 0) return;
  if (in.live[row] == 0) {
    if (threadIdx.x == 0) sampled[row] = kNoId;
    return;
  }
  const SampleRow& known = in.rows[row];
  const float* logits = in.Logits(row);
  const int lane = threadIdx.x % 32;
  const Weights weights = {LargestLogit(known, in.chunks), 1.0f / request.temperature};
  int32_t id = kNoId;
  if (!IsFinite(weights.largest)) {
    // kNoId
  } else if (IsGreedy(request)) {
    int32_t first = INT_MAX;
    for (int i = lane; i < in.chunks; i += 32) {
      if (known.largest[i] == weights.largest && known.first[i] < first) first = known.first[i];
    }
    for (int mask = 16; mask > 0; mask /= 2) {
      const int32_t other = ShuffleXor(first, mask);
      first = other < first ? other : first;
    }
    id = first;
  } else {
    uint64_t total = 0, kept = 0;
    for (int i = lane; i < in.chunks; i += 32) {
      total += known.mass[i];
      kept += known.kept[i];
    }
    total = WarpTotal(total);
    kept = WarpTotal(kept);
    if (HasFilter(request, in.vocabulary)) {
      Ranking ranking(*reinterpret_cast<Ranking::Shared*>(SharedMemory()), known, logits, in.vocabulary, weights);
      id = DrawFiltered(ranking, request, in.vocabulary, total, kept);
    } else {
      id = Draw(shared, in, known, logits, weights, PlaceOf(request.u, total));
    }
  }
  if (threadIdx.x == 0) ended = 0;
  SyncBlock();
  for (int i = threadIdx.x; i < state.num_end_ids; i += kRowThreads) {
    if (state.end_ids[i] == id) ended = 1;
  }
  SyncBlock();
  if (threadIdx.x != 0) return;
  sampled[row] = id;
  state.last_id[request.slot] = id;
  state.ended[request.slot] = ended;
}

}  // namespace

void Sample(Stream& stream, TensorView logits, int vocabulary, const SampleRequest* requests, const int32_t* live,
            const SampleState& state, int32_t* sampled) {
  CASCADE_CHECK(logits.type == DType::kF32 && vocabulary >= 1 && vocabulary <= logits.cols);
  CASCADE_CHECK(vocabulary <= kMaxVocabulary && state.scratch != nullptr);
  const int chunk = std::max(kMinChunk, (vocabulary / kMaxSampleChunks / kChunkThreads + 1) * kChunkThreads);
  SampleInput in = {.stride = logits.cols,
                    .vocabulary = vocabulary,
                    .chunk = chunk,
                    .chunks = (vocabulary + chunk - 1) / chunk,
                    .rows = static_cast<SampleRow*>(state.scratch)};
  for (int64_t first = 0; first < logits.rows; first += kRows) {
    const unsigned rows = static_cast<unsigned>(std::min<int64_t>(kRows, logits.rows - first));
    in.logits = logits.f32() + first * logits.cols;
    in.requests = requests + first;
    in.live = live + first;
    const LaunchShape by_chunk = {
        .grid = dim3(static_cast<unsigned>(in.chunks), rows), .block = dim3(kChunkThreads), .overlap = true};
    stream.Launch("Sample", LargestKernel, by_chunk, in);
    stream.Launch("Sample", WeightsKernel, by_chunk, in);
    stream.Launch(
        "Sample", ChooseKernel,
        {.grid = dim3(rows), .block = dim3(kRowThreads), .shared_bytes = sizeof(Ranking::Shared), .overlap = true}, in,
        state, sampled + first);
  }
}

}  // namespace cascade::kernels::cuda
