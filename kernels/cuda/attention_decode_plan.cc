#include "kernels/cuda/attention_decode_plan.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/attention_decode.h"

namespace cascade::kernels::cuda {
namespace {

// Time, in keys that a multiprocessor's share of the memory's speed reads meanwhile (512 bytes each; 64 are 1 us).
constexpr double kBlockCost = 96;                         // until a block's first keys arrive, and its merge
constexpr double kCombineCost = 128;                      // a second kernel
constexpr double kSplitCost = 0.5;                        // each partial result
constexpr double kLeastWave = 0.8;                        // few blocks do not draw the memory's whole speed
constexpr size_t kMostScratchLogits = size_t{128} << 20;  // floats: 60 slices of 64k keys, 8 heads, G = 4
constexpr size_t kLeastLogitBytes = 16 << 10;             // rather fewer warps than less

// With one block per multiprocessor at a time, as they fill its shared memory.
double Cost(const CacheLayout& layout, int64_t heads, int splits, int keys, int num_sms) {
  const int64_t blocks = heads * splits;
  const int64_t whole = blocks / num_sms;
  const double rest = static_cast<double>(blocks % num_sms) / num_sms;
  const double waves = static_cast<double>(whole) + (rest > 0 ? std::max(rest, kLeastWave) : 0);
  const double reads = waves * keys / splits;
  const double starts = (static_cast<double>(whole) + (rest > 0 ? 1 : 0)) * kBlockCost;
  if (splits == 1) return reads + starts;
  const double logits = 2.0 * layout.group / layout.row_elements;  // written and read, beside keys and values
  return reads * (1 + logits) + starts + kCombineCost + kSplitCost * splits;
}

size_t LogitBytes(const CacheLayout& layout, int keys) {
  // See attention_decode.cu: rows are 4 floats longer than their keys.
  return size_t{sizeof(float)} * layout.group * (keys + 4);
}

}  // namespace

DecodePlan PlanDecode(const CacheLayout& layout, const DeviceTraits& traits, int num_slices) {
  const int units = MaxUnits(layout);
  const int keys = units * kUnitKeys;
  const int64_t heads = int64_t{num_slices} * layout.num_kv_heads;
  DecodePlan plan;
  double best = Cost(layout, heads, 1, keys, traits.num_sms);
  for (int splits = 2; splits <= std::min(kDecodeMaxSplits, units / 2); ++splits) {
    const double cost = Cost(layout, heads, splits, keys, traits.num_sms);
    if (cost >= best) continue;
    best = cost;
    plan.splits = splits;
  }

  const size_t warp_bytes = DecodeStages(layout.row_elements) * DecodeStageBytes(layout.row_elements);
  const auto fixed = [&](int warps) { return DecodeStateBytes() + warps * warp_bytes; };
  const size_t all_logits = plan.splits == 1 ? LogitBytes(layout, keys) : 0;
  const size_t least_logits = std::min(all_logits, kLeastLogitBytes);
  plan.warps = kDecodeMaxWarps;
  while (plan.warps > 1 && fixed(plan.warps) + least_logits > traits.shared_bytes) plan.warps /= 2;
  // Two blocks on a multiprocessor read while the other one starts or ends.
  constexpr size_t kReserved = 1024;  // of each block
  const int half = plan.warps / 2;
  if (half >= 2 && heads > traits.num_sms && plan.splits == 1 &&
      2 * (fixed(half) + all_logits + kReserved) <= traits.shared_bytes + kReserved) {
    plan.warps = half;
  }
  CASCADE_CHECK(fixed(plan.warps) + least_logits <= traits.shared_bytes);  // 48 KiB: every device has them
  plan.shared_bytes = fixed(plan.warps);
  if (plan.splits == 1) {
    const size_t room = traits.shared_bytes - plan.shared_bytes;
    const int fitting = static_cast<int>(std::min<size_t>(room / (sizeof(float) * layout.group), keys + 4)) - 4;
    plan.near_keys = std::max(0, std::min(keys, fitting / kUnitKeys * kUnitKeys));
    plan.shared_bytes += LogitBytes(layout, plan.near_keys);
  }
  return plan;
}

absl::StatusOr<std::unique_ptr<DecodeAttention>> DecodeAttention::Create(Stream& stream, DeviceMemory& memory,
                                                                         const CacheLayout& layout, int max_slices) {
  CASCADE_CHECK(max_slices >= 1);
  auto attention = std::unique_ptr<DecodeAttention>(new DecodeAttention);
  attention->max_slices_ = max_slices;
  DecodeScratch& scratch = attention->scratch_;
  scratch.key_stride = MaxUnits(layout) * kUnitKeys;
  const size_t slice_logits = size_t{1} * layout.num_kv_heads * layout.group * scratch.key_stride;
  attention->launch_slices_ =
      static_cast<int>(std::clamp<size_t>(kMostScratchLogits / slice_logits, 1, static_cast<size_t>(max_slices)));
  size_t logits = 0;
  size_t partials = 0;
  for (int slices = 1; slices <= attention->launch_slices_; ++slices) {
    const DecodePlan plan = PlanDecode(layout, stream.traits(), slices);
    if (plan.near_keys < scratch.key_stride) logits = slices * slice_logits;
    if (plan.splits > 1) {
      partials = std::max(partials, size_t{1} * slices * layout.num_kv_heads * plan.splits * layout.group);
    }
  }
  constexpr const char* kWhat = "decode attention";
  absl::StatusOr<float*> logit_memory = memory.AllocateArray<float>(kWhat, std::max<size_t>(logits, 1));
  if (!logit_memory.ok()) return logit_memory.status();
  absl::StatusOr<float2*> sums = memory.AllocateArray<float2>(kWhat, std::max<size_t>(partials, 1));
  if (!sums.ok()) return sums.status();
  absl::StatusOr<float*> outs = memory.AllocateArray<float>(kWhat, std::max<size_t>(partials * layout.head_dim, 1));
  if (!outs.ok()) return outs.status();
  scratch.logits = *logit_memory;
  scratch.sums = *sums;
  scratch.outs = *outs;
  return attention;
}

void DecodeAttention::AppendAndAttend(Stream& stream, const CachePool& pool, const StepTables& tables, int num_slices,
                                      int layer, TensorView q, TensorView k, TensorView v, TensorView out) {
  const CacheLayout& layout = pool.layout;
  const int64_t width = int64_t{layout.num_kv_heads} * layout.head_dim;
  CASCADE_CHECK(layer >= 0 && layer < layout.num_layers);
  CASCADE_CHECK(num_slices >= 0 && num_slices <= max_slices_);
  CASCADE_CHECK(num_slices <= std::min({q.rows, k.rows, v.rows, out.rows}));
  CASCADE_CHECK(k.cols == width && v.cols == width && q.cols == width * layout.group && out.cols == q.cols);
  CASCADE_CHECK(q.type == DType::kBF16 || q.type == DType::kF16);
  CASCADE_CHECK(k.type == q.type && v.type == q.type && out.type == q.type);
  for (int first = 0; first < num_slices; first += launch_slices_) {
    const int slices = std::min(launch_slices_, num_slices - first);
    const DecodePlan plan = PlanDecode(layout, stream.traits(), slices);
    const DecodeArguments arguments = {.pool = pool,
                                       .tables = tables,
                                       .scratch = scratch_,
                                       .layer = layer,
                                       .first_row = first,
                                       .splits = plan.splits,
                                       .near_keys = plan.near_keys,
                                       .q = q.data,
                                       .k = k.data,
                                       .v = v.data,
                                       .out = out.data};
    LaunchDecode(stream, arguments, plan, slices, q.type);
    if (plan.splits > 1) LaunchCombine(stream, arguments, slices, q.type);
  }
}

}  // namespace cascade::kernels::cuda
