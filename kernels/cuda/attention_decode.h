// Attention of sessions that add one token each: append, attention over sinks and rings, exact scores.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/cuda/attention_decode_plan.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/step_tables.h"
#include "kernels/cuda/stream.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels::cuda {

// Reads every visible key and value once. Where several blocks share a session its scores are added later, for several
// layers at once: nothing of a step waits for them but its closes, so they need not be between two layers. Results do
// not vary from run to run, but with num_slices: it decides how many blocks share a session. One thread.
class DecodeAttention {
 public:
  // RESOURCE_EXHAUSTED when there is no memory for the scratch of max_slices slices.
  static absl::StatusOr<std::unique_ptr<DecodeAttention>> Create(Stream& stream, DeviceMemory& memory,
                                                                 const CacheLayout& layout, int max_slices);

  // Slices [0, num_slices), of one row each: row i is slice i. Stores the rows' keys, turned, and values; out:
  // attention over all that they see, themselves included; adds their part to the scores (max reduction: to the sums),
  // by AddPendingScores at the latest.
  // Slices that are not live change nothing, and their rows of out are not written. q, out: [rows, KV heads * G *
  // head_dim], k, v: [rows, KV heads * head_dim], bfloat16 or float16, unturned.
  void AppendAndAttend(Stream& stream, const CachePool& pool, const StepTables& tables, int num_slices, int layer,
                       TensorView q, TensorView k, TensorView v, TensorView out);

  // After a step's last layer, before anything that reads scores.
  void AddPendingScores(Stream& stream);

 private:
  DecodeAttention(const CacheLayout& layout, const DeviceTraits& traits) : layout_(layout), traits_(traits) {}
  size_t MostPending(int slices) const;  // layers whose scores may wait

  const CacheLayout layout_;
  const DeviceTraits traits_;
  int max_slices_ = 0;
  int launch_slices_ = 0;  // more of them take several launches, which use the scratch one after the other
  DecodeScratch scratch_ = {};
  int pending_layers_ = 0;  // whose scores are still to be added: pending_.layer and those that follow
  int pending_slices_ = 0;
  DecodeArguments pending_ = {};
};

}  // namespace cascade::kernels::cuda
