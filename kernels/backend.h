// The interface between the forward pass and a device: memory, about a dozen ops, one Finish() per step.
//
// Threads: one thread (the engine's) calls everything here. Ops may run asynchronously: their effects are there after
// WaitStep() of their step, or after Finish(), which return the first error with the op's name. Host spans given to an
// op may be reused as soon as the op returns; host memory that an op writes may be read after the wait.
//
// A step: BeginStep, BeginOps, ops, EndOps, EndStep; and WaitStep later. Ops outside of steps belong to the next one.
//
// Row invariance (CPU always, CUDA under --deterministic): a row's result has the same bits whatever the number of
// rows, slice, batch or threads.
//
// Shapes and indices are the caller's responsibility: an op CHECKs them. Activations are matrices [rows, columns] that
// Allocate made, of the type that it chose; unless said otherwise outputs must not overlap inputs.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cache_shape.h"
#include "kernels/slot_copy.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels {

enum class WeightId : int32_t {};

// What an activation is for. kFull: the residual stream, logits; float32. kCompute: what linear layers multiply and
// attention reads: float32 on the CPU, bfloat16 or float16 on CUDA.
enum class Precision : uint8_t { kFull, kCompute };

// A weight in host memory, as its file stores it: `rows` outputs of `cols` inputs, dense. Without data: random numbers
// that are a function of the seed, made where they are used (for benchmarks: CUDA only, uniform, of variance 1 / cols;
// a single row is all ones).
struct HostWeight {
  const void* data = nullptr;
  DType type = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  uint64_t seed = 0;
};

// out (+)= x * weight^T (+ bias).
struct LinearTarget {
  WeightId weight;
  TensorView out;                     // [x.rows, weight rows], kFull or kCompute
  bool accumulate = false;            // add to out, which is kFull, instead of overwriting it
  std::optional<WeightId> bias = {};  // [1, weight rows], added to every row; not with accumulate
};

// The part of a session's cache that one slice sees in one segment: `count` consecutive slots from `first_slot` on,
// wrapping at the segment's end (num_sinks, or ring_slots[i]).
struct Segment {
  uint32_t first_slot = 0;
  uint32_t count = 0;          // what the slice's first row sees, itself included where it is a part of this segment
  bool grows = false;          // row j sees count + j: the causal part (own sinks, or open stride)
  int64_t query_position = 0;  // RoPE position of row 0's query here; row j's is + j (cache.md, section 4)
};

// Consecutive rows of one step that belong to one session and to one of: its sinks, its open stride.
struct Slice {
  int slot = 0;       // the session's cache slot
  int first_row = 0;  // of the step's activations
  int num_rows = 0;
  bool sinks = false;       // stored in the sink segment, not scored
  int64_t first_token = 0;  // index in its session of row 0's token
  int open_place = 0;       // r: place of row 0 in its stride; row 0 of a stride also decays the stored scores
  uint32_t write_slot = 0;  // where row 0's key goes (sink slot or slot of ring 0); row j: + j, wrapping
  std::span<const Segment> segments;  // [N + 1]: sinks, ring 0 .. N-1
};

// One move of a closing stride: `count` entries of ring `from`, append indices from_index .., go to ring `to` at append
// indices to_index ... With `select`, of each 2g only the g best do (count / 2 in all).
struct CloseMove {
  int from_ring = 0;
  int to_ring = 0;
  int64_t from_index = 0;  // its slot is from_index mod ring_slots[from_ring]
  int64_t to_index = 0;
  int count = 0;
  bool select = false;
};

// A full stride closes: fold scores (max reduction), set its tokens' distinctness, then the moves in their order.
struct Close {
  int slot = 0;
  int64_t stride_index = 0;  // append index in ring 0 of the stride's first token
  std::span<const CloseMove> moves;
};

// How one row of logits becomes the next id (kernels/sampler.h says it exactly).
struct SampleRequest {
  int slot = 0;           // whose next id it is
  float temperature = 0;  // below 1e-5: greedy
  int top_k = 0;          // 0: all
  float top_p = 1;
  float min_p = 0;
  double u = 0;  // in [0, 1): chooses among what the filters leave
};

// As a row's id: what Sample chose last for its slice's slot. The slice is one row then. If that id is one of the end
// ids, or kNoId, the row is dead: it changes nothing in the slot, its stride is not closed and what is sampled from it
// is kNoId.
inline constexpr int32_t kSampledId = -1;
// As a sampled id: the logits are not finite, or the row is dead.
inline constexpr int32_t kNoId = -1;

// What the ops of a step refer to.
struct StepInput {
  std::span<const Slice> slices;           // cover the rows, at most one scored slice of a slot
  std::span<const int32_t> ids;            // [rows]: in the vocabulary, or kSampledId
  std::span<const SampleRequest> samples;  // of Sample
};

// Likelihood of a target under one row of logits.
struct TokenScore {
  float logprob = 0;     // natural log of softmax(logits)[target]
  int32_t top_id = 0;    // first of the largest logits
  float top_margin = 0;  // largest logit minus the second largest
};

// What one (layer, KV head) of a session holds, by segment and slot; stale slots included.
struct HeadContents {
  std::vector<std::vector<uint32_t>> tokens;  // [N + 1][slots of the segment]; token index in its session
  std::vector<std::vector<float>> scores;     // same shape; sinks: 0
  std::vector<std::vector<float>> distinctness;
};

// Attention scores that were added up from predictions (cache.md, section 8), by (layer, KV head) of a slice or a part
// of it. Its certificate bounds how far the scores of all keys together are off, as a share of all attention of the
// slice's rows, what they give to sinks included.
struct ScoreCertificates {
  int64_t heads = 0;     // predicted
  int64_t rejected = 0;  // of these: certificate above the limit, so added up exactly
  float worst = 0;       // certificate of those that were not rejected
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string Description() const = 0;  // "CPU, 2 threads, AVX3_DL, int16 activations"

  // Memory; all of it lives as long as the backend. RESOURCE_EXHAUSTED with the bytes wanted when there is none.

  // Copies a weight to the device in the layout its ops want, in the type it has.
  virtual absl::StatusOr<WeightId> LoadWeight(const HostWeight& weight) = 0;
  // An activation buffer, zeroed.
  virtual absl::StatusOr<TensorView> Allocate(int64_t rows, int64_t cols, Precision precision) = 0;
  // The one pool of caches; called once, after all weights and activations. max_rows bounds the rows of a step.
  virtual absl::Status CreateCaches(const CacheShape& shape, int num_slots, int max_rows) = 0;
  // Bytes of one slot of such a pool, without creating it.
  virtual size_t CacheBytesPerSlot(const CacheShape& shape) const = 0;
  // Bytes of device memory that the pool may take when at most `utilization` of the device's memory is used in all,
  // after all weights and activations; no value: caches are in host memory.
  virtual absl::StatusOr<std::optional<int64_t>> CacheMemory(const CacheShape& shape, int max_rows,
                                                             double utilization) {
    return std::nullopt;
  }
  // Ids that end a reply (see kSampledId). Called before the first step.
  virtual void SetEndIds(std::span<const int32_t> ids) {}
  // Zeroes a slot before another session uses it.
  virtual void ClearSlot(int slot) = 0;
  // Makes all of slot `to` what slot `from` is, after the steps that were begun. Waits for the device. An error leaves
  // `to` undefined.
  virtual absl::Status CopySlot(int from, int to) = 0;
  // How a slot's bytes are laid out, beyond the cache's shape: bytes of another layout mean something else. "cpu 1".
  virtual std::string SlotLayout() const = 0;
  // Bytes of a slot's part, after CreateCaches; the same for all slots, and whatever they hold.
  virtual size_t SlotBytes(SlotPart part) const = 0;
  // RESOURCE_EXHAUSTED. Any thread.
  virtual absl::StatusOr<std::unique_ptr<HostMemory>> AllocateHost(size_t bytes) = 0;
  // Begins to copy a part of a slot, SlotBytes(part), to `host` or from there, after the steps that were begun; `host`
  // lies in HostMemory. Both return at once, and steps of other slots go on meanwhile.
  virtual std::unique_ptr<SlotCopy> ReadSlot(int slot, SlotPart part, std::span<std::byte> host) = 0;
  virtual std::unique_ptr<SlotCopy> WriteSlot(int slot, SlotPart part, std::span<const std::byte> host) = 0;
  // Copies what one layer and KV head of a slot holds. Waits for the device.
  virtual absl::StatusOr<HeadContents> ReadHead(int slot, int layer, int kv_head) = 0;

  // Steps.

  // How many steps may be ended and not yet waited for. With 1, steps run when they are ended at the latest.
  virtual int max_steps_in_flight() const { return 1; }
  // Announces a step; ops refer to its slices, ids and samples.
  virtual void BeginStep(const StepInput& input) = 0;
  // Brackets ops that depend on nothing but `recording` and the device's copy of the step: the same ones with the same
  // arguments whenever it is the same number. BeginOps is false when the back end replays what it recorded before, and
  // the caller leaves them out, EndOps too. A negative number: not to be recorded.
  virtual bool BeginOps(int recording) { return true; }
  virtual void EndOps() {}
  virtual void EndStep() {}
  // Waits for the oldest step that was ended and not waited for. sampled: [its samples]. An error leaves the slots of
  // the step's slices undefined, but for those of dead rows; DATA_LOSS: the device can not be used any more.
  virtual absl::Status WaitStep(std::vector<int32_t>& sampled) = 0;
  // Of the steps that were waited for since the last call.
  virtual ScoreCertificates TakeScoreCertificates() { return {}; }
  // Waits for everything.
  virtual absl::Status Finish() = 0;

  // Ops.

  // out[r] = table[id of row r]. table: [vocabulary, hidden]; out: [rows, hidden], kFull. More rows than the step has
  // are undefined.
  virtual void Embed(WeightId table, TensorView out) = 0;
  // out = x / sqrt(mean(x^2) + eps) * gain, by row. x: kFull; gain: [1, cols]; out: any precision, may be x.
  virtual void RmsNorm(TensorView x, WeightId gain, float eps, TensorView out) = 0;
  // Several linear layers over one input, in one pass. x: kCompute.
  virtual void Linear(TensorView x, std::span<const LinearTarget> targets) = 0;
  // gate = silu(gate) * up, in place. kCompute.
  virtual void SiluMul(TensorView gate, TensorView up) = 0;
  // Stores the slices' keys, rotated at their append index, and values; new entries have score 0.
  // k, v: [rows, kv_heads * head_dim], kCompute, k unrotated.
  virtual void AppendKv(int layer, TensorView k, TensorView v) = 0;
  // Attention of every row over all its slice's segments, softmax scale 1/sqrt(head_dim), and the attention scores of
  // all keys but sinks (cache.md, section 3): exact, or within a certificate where the back end was told that it may.
  // q, out: [rows, kv_heads * G * head_dim], kCompute, q unrotated.
  virtual void Attend(int layer, TensorView q, TensorView out) = 0;
  // Closes full strides, in all layers. Those of dead rows stay open.
  virtual void CloseStrides(std::span<const Close> closes) = 0;
  // out[i] = x[rows[i]]. Of one type.
  virtual void GatherRows(TensorView x, std::span<const int32_t> rows, TensorView out) = 0;
  // scores[i] of targets[i] under logits row i; a target < 0 leaves logprob 0. logits: kFull.
  virtual void ScoreTargets(TensorView logits, std::span<const int32_t> targets, std::span<TokenScore> scores) = 0;
  // Chooses the id of the step's sample first + r from the first `vocabulary` of logits row r. logits: kFull; rows
  // beyond the step's samples are left alone.
  virtual void Sample(TensorView logits, int vocabulary, int first) = 0;
  // host: [x.rows * x.cols], converted to float32.
  virtual void CopyToHost(TensorView x, std::span<float> host) = 0;
  virtual void CopyFromHost(std::span<const float> host, TensorView x) = 0;

  // Ops in one pass. Their meaning is the calls that these make; a back end may fuse them.

  // h = RmsNorm(x), then Linear over h. h: [rows, hidden], kCompute, undefined afterwards.
  virtual void NormLinear(TensorView x, WeightId gain, float eps, TensorView h, std::span<const LinearTarget> targets);
  // gate = silu(h * gate_weight^T) * (h * up_weight^T) with h = RmsNorm(x). h and up are undefined afterwards.
  virtual void GatedNormLinear(TensorView x, WeightId gain, float eps, TensorView h, WeightId gate_weight,
                               WeightId up_weight, TensorView gate, TensorView up);
  virtual void AppendAndAttend(int layer, TensorView q, TensorView k, TensorView v, TensorView out);
};

}  // namespace cascade::kernels
