// The shape of the cascading cache (cache.md, sections 1 and 2): what the user chose, checked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cache_shape.h"

namespace cascade {

struct CascadeGeometry {
  int num_sinks = 4;                       // s
  std::vector<int> sub_cache_tokens;       // W_i; 0 is the newest
  int stride = 0;                          // S
  int selection_group = 1;                 // g
  kernels::Selection selection = kernels::Selection::kBoth;
  double ema_decay = 0.9999;               // beta
  kernels::ScoreReduction score_reduction = kernels::ScoreReduction::kMean;

  int num_sub_caches() const { return static_cast<int>(sub_cache_tokens.size()); }
  int cache_tokens() const;                           // C
  int slots() const;                                  // s + C + S
  int ring_slots(int i) const;                        // W_i, and S more for ring 0
  std::string ToString() const;                       // "W=512,512 S=512 g=64 s=4 both"

  // INVALID_ARGUMENT that names the numbers.
  absl::Status Validate() const;
};

// What the user may leave open; 0 and empty mean "default".
struct GeometryOptions {
  std::string policy = "cascade";     // cascade, paper, window
  int64_t cache_tokens = 0;           // C; 0: largest power of two up to 4,096 that fits max_positions
  int64_t num_sub_caches = 0;         // N; 0: 4 (window: 1)
  std::vector<int64_t> sub_cache_tokens = {};  // instead of the two above
  int64_t num_sinks = -1;             // -1: 4
  int64_t stride = 0;
  int64_t selection_group = 0;
  std::string selection = "";         // "": both (paper: attention)
  double ema_decay = 0.9999;
  std::string score_reduction = "mean";
};

// The default rules of cache.md section 1, then all checks, the model's context included. INVALID_ARGUMENT names the
// option (as its flag) and what would be valid; a cache size without a valid geometry names the nearest valid ones.
absl::StatusOr<CascadeGeometry> MakeGeometry(const GeometryOptions& options, int64_t max_positions);

}  // namespace cascade
