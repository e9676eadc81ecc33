// The shape of every session's cache, as far as arithmetic needs it. What a session holds in it, and where, is decided
// above (engine/cache/cascade_plan.h) and reaches the ops as plain integers (Slice, Close).
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/dtype.h"

namespace cascade::kernels {

// Who stays in a group of 2g candidates (cache.md, section 3).
enum class Selection : uint8_t { kBoth, kAttention, kDistinctness };
// Over the query heads of a KV head.
enum class ScoreReduction : uint8_t { kMean, kMax };

// Which elements of a head RoPE turns together: (2i, 2i+1), as GGUF stores llama weights, or (i, i + head_dim/2).
enum class RopePairs : uint8_t { kInterleaved, kHalves };

struct Rope {
  RopePairs pairs = RopePairs::kInterleaved;
  std::vector<double> frequency;  // [head_dim / 2], radians per position
};

struct CacheShape {
  int num_layers = 0;
  int num_kv_heads = 0;
  int group = 1;  // G: query heads per KV head
  int head_dim = 0;
  DType kv_type = DType::kF16;  // kF32, kF16 (CUDA: kBF16)
  Rope rope;

  int num_sinks = 0;
  std::vector<int> ring_slots;  // [N]: W_0 + S, W_1, .., W_{N-1}; ring 0 also holds the open stride
  int stride = 0;               // S
  int selection_group = 1;      // g
  Selection selection = Selection::kBoth;
  ScoreReduction reduction = ScoreReduction::kMean;
  double ema_decay = 0.9999;  // beta

  int num_rings() const { return static_cast<int>(ring_slots.size()); }
};

}  // namespace cascade::kernels
