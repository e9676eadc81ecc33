// A row's tokens in the order of their rank, without sorting them: device code of sample.cu.
#pragma once

#include "kernels/cuda/sample_row.h"

namespace cascade::kernels::cuda {

// Finds the token at a place of the ranking, counted in tokens or in mass. The row's buckets say in which of them it
// is; their tokens are then gathered in shared memory, mostly a few, and the place is found by bisecting their ranks.
// More tokens than kMaxGathered (nearly equal logits) are read from the row at every turn. By a block of whole warps,
// all together.
class Ranking {
 public:
  static constexpr int kMaxGathered = 4096;  // with the rest, less than a block of any device can have
  struct Shared {
    uint64_t mass_up_to[kBuckets];  // buckets up to this one
    uint32_t count_up_to[kBuckets];
    uint64_t gathered[kMaxGathered];
    BlockScan<uint64_t> masses;
    BlockScan<uint32_t> counts;
    uint64_t lowest[32], highest[32];  // by warp
    uint64_t found;
    uint32_t num_gathered;
  };
  struct Place {
    uint64_t rank;
    uint64_t mass;  // of the tokens up to this one, itself included
  };

  __device__ Ranking(Shared& shared, const SampleRow& row, const float* logits, int vocabulary, Weights weights)
      : shared_(shared), logits_(logits), vocabulary_(vocabulary), weights_(weights) {
    // A thread scans consecutive buckets.
    const int per_thread = kBuckets / static_cast<int>(blockDim.x);
    const int begin = static_cast<int>(threadIdx.x) * per_thread;
    uint64_t mass = 0;
    uint32_t count = 0;
    for (int i = begin; i < begin + per_thread; ++i) {
      mass += row.bucket_mass[i];
      count += row.bucket_count[i];
    }
    uint64_t all_mass;
    uint32_t all;
    mass = shared_.masses.Before(mass, all_mass);
    count = shared_.counts.Before(count, all);
    for (int i = begin; i < begin + per_thread; ++i) {
      mass += row.bucket_mass[i];
      count += row.bucket_count[i];
      shared_.mass_up_to[i] = mass;
      shared_.count_up_to[i] = count;
    }
    num_ranked_ = all;
    SyncBlock();
  }

  // Tokens that are not too deep; there are no places behind them.
  __device__ uint32_t num_ranked() const { return num_ranked_; }

  // target: less than num_ranked().
  __device__ Place ByCount(uint32_t target) {
    int bucket = 0;  // the first with count_up_to > target
    for (int step = kBuckets / 2; step > 0; step /= 2) {
      if (shared_.count_up_to[bucket + step - 1] <= target) bucket += step;
    }
    return Find<false>(bucket, target);
  }
  // The token that has a part of the mass at `target`, which is less than the row's mass.
  __device__ Place ByMass(uint64_t target) {
    int bucket = 0;
    for (int step = kBuckets / 2; step > 0; step /= 2) {
      if (shared_.mass_up_to[bucket + step - 1] <= target) bucket += step;
    }
    return Find<true>(bucket, target);
  }

 private:
  // Calls visit(rank) for the thread's part of the row's tokens in bucket_.
  template <class Visit>
  __device__ void ForRow(const Visit& visit) const {
    const int threads = static_cast<int>(blockDim.x);
    int i = static_cast<int>(threadIdx.x);
    constexpr int kAtOnce = 8;  // loads under way: one block alone waits for memory most of the time
    for (; i + (kAtOnce - 1) * threads < vocabulary_; i += kAtOnce * threads) {
      float logits[kAtOnce];
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) logits[j] = logits_[i + j * threads];
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        if (Weights::Bucket(weights_.Depth(logits[j])) == bucket_) visit(RankOf(logits[j], i + j * threads));
      }
    }
    for (; i < vocabulary_; i += threads) {
      const float logit = logits_[i];
      if (Weights::Bucket(weights_.Depth(logit)) == bucket_) visit(RankOf(logit, i));
    }
  }
  template <class Visit>
  __device__ void ForBucket(const Visit& visit) const {
    if (in_bucket_ > kMaxGathered) return ForRow(visit);
    for (uint32_t i = threadIdx.x; i < in_bucket_; i += blockDim.x) visit(shared_.gathered[i]);
  }

  // Makes `bucket` the one that ForBucket goes through, and finds its lowest and highest ranks.
  __device__ void Open(int bucket) {
    if (bucket == bucket_) return;
    bucket_ = bucket;
    in_bucket_ = shared_.count_up_to[bucket] - (bucket > 0 ? shared_.count_up_to[bucket - 1] : 0);
    if (threadIdx.x == 0) shared_.num_gathered = 0;
    SyncBlock();
    if (in_bucket_ <= kMaxGathered) {
      ForRow([&](uint64_t rank) {
        const uint32_t place = atomicAdd(&shared_.num_gathered, 1u);
        if (place < kMaxGathered) shared_.gathered[place] = rank;
      });
      SyncBlock();
    }
    uint64_t lowest = ~uint64_t{0}, highest = 0;
    ForBucket([&](uint64_t rank) {
      lowest = rank < lowest ? rank : lowest;
      highest = rank > highest ? rank : highest;
    });
    WarpRange(lowest, highest);
    const int lane = threadIdx.x % 32;
    if (lane == 0) {
      shared_.lowest[threadIdx.x / 32] = lowest;
      shared_.highest[threadIdx.x / 32] = highest;
    }
    SyncBlock();
    const bool of_warp = lane < static_cast<int>(blockDim.x / 32);
    lowest_ = of_warp ? shared_.lowest[lane] : ~uint64_t{0};
    highest_ = of_warp ? shared_.highest[lane] : 0;
    WarpRange(lowest_, highest_);
  }

  __device__ static void WarpRange(uint64_t& lowest, uint64_t& highest) {
    for (int mask = 16; mask > 0; mask /= 2) {
      const uint64_t low = ShuffleXor(lowest, mask), high = ShuffleXor(highest, mask);
      lowest = low < lowest ? low : lowest;
      highest = high > highest ? high : highest;
    }
  }

  // The token of `bucket` that the place `target` of the whole ranking belongs to.
  template <bool by_mass>
  __device__ Place Find(int bucket, uint64_t target) {
    Open(bucket);
    uint64_t mass = bucket > 0 ? shared_.mass_up_to[bucket - 1] : 0;  // of better ranks than `high`
    uint64_t count = bucket > 0 ? shared_.count_up_to[bucket - 1] : 0;
    uint64_t low = lowest_, high = highest_;
    uint64_t inside = in_bucket_;  // ranks in [low, high]; one of them is the place's
    while (inside > 1 && low < high) {
      const uint64_t middle = low + (high - low) / 2;
      uint64_t above_mass = 0;
      uint32_t above = 0;
      ForBucket([&](uint64_t rank) {
        if (rank <= middle || rank > high) return;
        above_mass += Weights::Mass(weights_.Depth(LogitOf(rank)));
        ++above;
      });
      above_mass = shared_.masses.Total(above_mass);
      above = shared_.counts.Total(above);
      SyncBlock();
      if (target < (by_mass ? mass + above_mass : count + above)) {
        low = middle + 1;
        inside = above;
      } else {
        mass += above_mass;
        count += above;
        high = middle;
        inside -= above;
      }
    }
    ForBucket([&](uint64_t rank) {
      if (rank >= low && rank <= high) shared_.found = rank;
    });
    SyncBlock();
    const uint64_t rank = shared_.found;
    SyncBlock();
    return {rank, mass + Weights::Mass(weights_.Depth(LogitOf(rank)))};
  }

  Shared& shared_;
  const float* const logits_;
  const int vocabulary_;
  const Weights weights_;
  uint32_t num_ranked_ = 0;
  int bucket_ = -1;
  uint32_t in_bucket_ = 0;
  uint64_t lowest_ = 0, highest_ = 0;
};

}  // namespace cascade::kernels::cuda
