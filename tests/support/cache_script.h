// Drives a back end's cache ops over made-up sessions of any geometry, also of ones that the engine would not allow
// (rings of odd sizes, strides that do not divide them), and compares them with ReferenceCache.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/base/thread_pool.h"
#include "kernels/cpu/cache_ops.h"

namespace cascade::kernels {

struct CacheCase {
  std::string name;
  CacheShape shape;         // ring_slots[0] = window[0] + stride
  int tokens = 100;         // of a session
  int64_t first_index = 0;  // append indices begin here
  bool heavy = false;       // sinks and few other keys take most of the attention
  int nan_session = -1;     // whose queries are no numbers
};

// A shape of two layers and two KV heads with RoPE theta 10,000. Windows must be at least the stride.
CacheCase MakeCase(std::string name, int head_dim, int group, std::vector<int> windows, int stride, int sinks,
                   DType type = DType::kF16);

// Where a session's tokens are. Rings fill up first; a full one passes on its oldest, thinned if they make whole
// groups.
class CacheScript {
 public:
  explicit CacheScript(const CacheCase& test_case);

  int seen() const { return seen_; }
  int TokensUntilCut() const;
  Slice NextSlice(int count, std::vector<Segment>& segments) const;  // slot and first_row are the caller's
  void Advance(int count);
  bool StrideIsFull() const { return open_ == shape_.stride; }
  Close CloseStride(std::vector<CloseMove>& moves);
  // Slots of a segment that hold something.
  std::vector<int> LiveSlots(int segment) const;

 private:
  int Window(int ring) const { return shape_.ring_slots[ring] - (ring == 0 ? shape_.stride : 0); }

  CacheShape shape_;
  int seen_ = 0;
  int open_ = 0;
  std::vector<int64_t> resident_, appended_;
};

// Inputs of a token: the same whatever it is fed with. kind: 0 q, 1 k, 2 v.
std::vector<float> TokenInput(const CacheCase& test_case, int session, int token, int layer, int kind);

// How a run cuts its sessions into slices.
struct Slicing {
  int sessions = 1;
  int most_rows = 1 << 20;  // of a slice
  uint32_t seed = 0;        // not 0: random lengths up to most_rows, and random sets of sessions in a step
  bool fused = false;       // AppendAndAttend in place of AppendKv and Attend
};

// What a run leaves: all outputs, and the contents of all heads.
struct CacheRun {
  std::vector<std::vector<float>> outputs;       // [sessions][tokens * layers * width]
  std::vector<std::vector<HeadContents>> heads;  // [sessions][layers * kv_heads]
};

// The back end is a new one: its caches are created here.
CacheRun RunCache(Backend& backend, const CacheCase& test_case, const Slicing& slicing);

// Runs the sessions, each beside a reference; expects outputs, scores, distinctness, tokens and choices to agree.
void ExpectAgreesWithReference(Backend& backend, const CacheCase& test_case, const Slicing& slicing);

// Bit for bit, all of a slot's content, what is stale too; of as many sessions as both have.
void ExpectSameRun(const CacheRun& a, const CacheRun& b);

// Enough tokens to fill all rings and to close `closes` strides more.
int TokensToWrap(const CacheShape& shape, int closes);

}  // namespace cascade::kernels
