#include "kernels/cuda/attention_decode_plan.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/attention_decode.h"

namespace cascade::kernels::cuda {
namespace {

// Time, in keys that a multiprocessor's share of the memory's speed reads meanwhile (512 bytes each; 64 are 1 us).
constexpr double kBlockCost = 96;    // until a block's first keys arrive, and its merge
constexpr double kMergeCost = 160;   // the last block's merge of all, and the scores' kernel
constexpr double kSplitCost = 0.5;   // each partial result
constexpr double kLeastWave = 0.95;  // few blocks do not draw the memory's whole speed
// Scores that a block adds after its keys, while it reads nothing, and those that a kernel of its own adds from logits
// that were written (H200, 16 sessions of 18,000 keys: 369 and 342 us).
constexpr double kOwnScores = 0.1, kLaterScores = 0.03;
constexpr size_t kMostScratchLogits = size_t{128} << 20;  // floats: 60 slices of 64k keys, 8 heads, G = 4
constexpr size_t kMostPendingBytes = size_t{256} << 20;   // of logits of layers whose scores wait
constexpr size_t kLeastLogitBytes = 16 << 10;             // rather fewer warps than less
constexpr double kNearShare = 0.85;                       // of a block's logits
constexpr size_t kLeastPairBytes = 48 << 10;              // of the stages and logits of one of two blocks
constexpr size_t kReservedBytes = 1024;                   // of the shared memory of each block, by the device

// Two blocks share a multiprocessor where there are enough.
double Cost(int64_t heads, int splits, int keys, int num_sms) {
  const int64_t blocks = heads * splits;
  const int per_sm = blocks > num_sms ? 2 : 1;
  const int64_t places = int64_t{num_sms} * per_sm;
  const int64_t whole = blocks / places;
  const double rest = static_cast<double>(blocks % places) / static_cast<double>(places);
  const double waves = static_cast<double>(whole) + (rest > 0 ? std::max(rest, kLeastWave) : 0);
  const double reads = waves * per_sm * keys / splits;
  const double starts = (static_cast<double>(whole) + (rest > 0 ? 1 : 0)) * kBlockCost;
  if (splits == 1) return reads * (1 + kOwnScores) + starts;
  return reads * (1 + kLaterScores) + starts + kMergeCost + kSplitCost * splits;
}

size_t LogitBytes(const CacheLayout& layout, int keys) {
  // See attention_decode.cu: rows are 4 floats longer than their keys.
  return size_t{sizeof(float)} * layout.group * (keys + 4);
}

// The warps of a block, and the logits that fit beside their stages into `room` bytes.
void FitBlock(const CacheLayout& layout, int warps, size_t room, int keys, DecodePlan& plan) {
  const size_t warp_bytes =
      TuneDecode(layout.row_elements, HeadTiles(layout.group)).stages * DecodeStageBytes(layout.row_elements);
  const auto fixed = [&](int count) { return DecodeStateBytes(layout) + count * warp_bytes; };
  const size_t least_logits = plan.defers() ? 0 : std::min(LogitBytes(layout, keys), kLeastLogitBytes);
  plan.warps = warps;
  while (plan.warps > 1 && fixed(plan.warps) + least_logits > room) plan.warps /= 2;
  CASCADE_CHECK(fixed(plan.warps) + least_logits <= room);  // 97 KiB at most
  plan.shared_bytes = fixed(plan.warps);
  plan.block_keys = keys;
  plan.near_keys = 0;
  if (plan.defers()) return;
  const size_t rest = room - plan.shared_bytes;
  const int fitting = static_cast<int>(std::min<size_t>(rest / (sizeof(float) * layout.group), keys + 4)) - 4;
  plan.near_keys = std::max(0, std::min(keys, fitting / kUnitKeys * kUnitKeys));
  plan.shared_bytes += LogitBytes(layout, plan.near_keys);
}

}  // namespace

DecodePlan PlanDecode(const CacheLayout& layout, const DeviceTraits& traits, int num_slices) {
  const int units = MaxUnits(layout);
  const int64_t heads = int64_t{num_slices} * layout.num_kv_heads;
  const int warps = TuneDecode(layout.row_elements, HeadTiles(layout.group)).warps;
  const int half_warps = std::max(4, warps / 2);
  const size_t half = (traits.shared_bytes + kReservedBytes) / 2 - kReservedBytes;
  const auto keys_of = [&](int splits) { return ((units + splits - 1) / splits + 1) * kUnitKeys; };
  DecodePlan plan;
  // Room for two blocks on a multiprocessor.
  const bool two_fit = half >= DecodeStateBytes(layout) + kLeastPairBytes;
  if (traits.cluster_blocks > 1 && two_fit && heads >= 2 * traits.num_sms) {
    // Two blocks on a multiprocessor, so that one reads while the other starts or ends, and as many of a session as
    // keep most logits of a block in its shared memory. Fewer sessions gain nothing by clusters: those of 8 blocks and
    // more wait for each other.
    plan.clusters = true;
    for (plan.splits = 1;; plan.splits *= 2) {
      const int keys = plan.splits == 1 ? units * kUnitKeys : keys_of(plan.splits);
      FitBlock(layout, half_warps, half, keys, plan);
      if (plan.near_keys >= keys * kNearShare) break;
      if (2 * plan.splits > std::min({traits.cluster_blocks, kDecodeMaxCluster, units / 2})) break;
    }
    return plan;
  }
  const int keys = units * kUnitKeys;
  double best = Cost(heads, 1, keys, traits.num_sms);
  for (int splits = 2; splits <= std::min(kDecodeMaxSplits, units / 2); ++splits) {
    const double cost = Cost(heads, splits, keys, traits.num_sms);
    if (cost >= best) continue;
    best = cost;
    plan.splits = splits;
  }
  // Two blocks on a multiprocessor where there are enough.
  const bool two = heads * plan.splits > traits.num_sms && two_fit;
  FitBlock(layout, two ? half_warps : warps, two ? half : traits.shared_bytes, keys, plan);
  return plan;
}

absl::StatusOr<std::unique_ptr<DecodeAttention>> DecodeAttention::Create(Stream& stream, DeviceMemory& memory,
                                                                         const CacheLayout& layout, int max_slices) {
  CASCADE_CHECK(max_slices >= 1);
  auto attention = std::unique_ptr<DecodeAttention>(new DecodeAttention(layout, stream.traits()));
  attention->max_slices_ = max_slices;
  DecodeScratch& scratch = attention->scratch_;
  scratch.key_stride = MaxUnits(layout) * kUnitKeys;
  const size_t slice_heads = static_cast<size_t>(layout.num_kv_heads) * layout.group;
  const size_t slice_logits = slice_heads * scratch.key_stride;
  attention->launch_slices_ =
      static_cast<int>(std::clamp<size_t>(kMostScratchLogits / slice_logits, 1, static_cast<size_t>(max_slices)));
  size_t logits = 1, partials = 1, softmax = 1, arrivals = 1;
  for (int slices = 1; slices <= attention->launch_slices_; ++slices) {
    const DecodePlan plan = PlanDecode(layout, stream.traits(), slices);
    const size_t pending = attention->MostPending(slices);
    if (plan.near_keys < plan.block_keys) logits = std::max(logits, pending * slices * slice_logits);
    if (!plan.defers()) continue;
    partials = std::max(partials, slices * slice_heads * plan.splits);
    softmax = std::max(softmax, pending * slices * slice_heads);
    arrivals = std::max(arrivals, static_cast<size_t>(slices) * layout.num_kv_heads);
  }
  absl::Status status;
  const auto take = [&]<class T>(T*& member, size_t count) {
    if (!status.ok()) return;
    absl::StatusOr<T*> array = memory.AllocateArray<T>("decode attention", count);
    if (array.ok()) {
      member = *array;
    } else {
      status = array.status();
    }
  };
  take(scratch.logits, logits);
  take(scratch.sums, partials);
  take(scratch.outs, partials * layout.head_dim);
  take(scratch.softmax, softmax);
  take(scratch.arrivals, arrivals);
  if (!status.ok()) return status;
  stream.Fill("decode attention", scratch.arrivals, 0, arrivals * sizeof(unsigned));
  return attention;
}

size_t DecodeAttention::MostPending(int slices) const {
  if (!PlanDecode(layout_, traits_, slices).defers()) return 1;
  const size_t bytes = sizeof(float) * slices * layout_.num_kv_heads * layout_.group * scratch_.key_stride;
  return std::clamp<size_t>(kMostPendingBytes / bytes, 1, static_cast<size_t>(layout_.num_layers));
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
    const bool joins = pending_layers_ > 0 && plan.defers() && slices == pending_slices_ &&
                       first == pending_.first_row && layer == pending_.layer + pending_layers_ &&
                       pending_layers_ < static_cast<int>(MostPending(slices));
    if (!joins) AddPendingScores(stream);
    const DecodeArguments arguments = {.pool = pool,
                                       .tables = tables,
                                       .scratch = scratch_,
                                       .layer = layer,
                                       .pending = pending_layers_,
                                       .first_row = first,
                                       .splits = plan.splits,
                                       .clusters = plan.clusters,
                                       .near_keys = plan.near_keys,
                                       .q = q.data,
                                       .k = k.data,
                                       .v = v.data,
                                       .out = out.data};
    LaunchDecode(stream, arguments, plan, slices, q.type);
    if (!plan.defers()) continue;
    if (pending_layers_++ > 0) continue;
    pending_ = arguments;
    pending_slices_ = slices;
  }
}

void DecodeAttention::AddPendingScores(Stream& stream) {
  if (pending_layers_ == 0) return;
  LaunchDecodeScores(stream, pending_, pending_slices_, pending_layers_);
  pending_layers_ = 0;
}

}  // namespace cascade::kernels::cuda
