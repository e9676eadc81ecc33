// The kernels of this folder behind the interface of kernels/cuda.
#include "kernels/cuda/stride_attention.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/sm90/attention_forward.h"
#include "kernels/cuda/sm90/attention_scores.h"
#include "kernels/cuda/sm90/attention_shape.h"

namespace cascade::kernels::cuda {
namespace sm90 {
namespace {

static_assert(kTileQueries == 128, "RowsOfTile");

bool Suits(const DeviceTraits& traits, const CacheLayout& layout, const CudaOptions& options) {
  return traits.capability == 90 && !options.deterministic && !layout.max_reduction && layout.row_elements <= 128;
}

class HopperAttention final : public StrideAttention {
 public:
  HopperAttention(const CacheLayout& layout, const CudaOptions& options) : options_(options) {
    arguments_.forward.pool.layout = layout;
    arguments_.limit = options.certificate_limit;
  }

  absl::Status Allocate(DeviceMemory& memory, int scratch_rows) {
    absl::Status status;
    const auto take = [&](size_t count, float*& member) {
      if (!status.ok()) return;
      absl::StatusOr<float*> made = memory.AllocateArray<float>("attention scores", count);
      if (made.ok()) {
        member = *made;
      } else {
        status = made.status();
      }
    };
    if (options_.score_kernel == ScoreKernel::kExact) return status;
    const CacheLayout& layout = arguments_.forward.pool.layout;
    const size_t tiles = static_cast<size_t>(RowTiles(layout, scratch_rows)) * layout.num_kv_heads;
    take(tiles * layout.entries, arguments_.forward.column_sums);
    take(static_cast<size_t>(scratch_rows) * layout.num_kv_heads * layout.group, arguments_.forward.masses);
    take(tiles, arguments_.forward.certificates);
    take(tiles, arguments_.scales);
    return status;
  }

  absl::Status Attach(const CachePool& pool, const AttentionScratch& scratch) override {
    absl::StatusOr<AttentionMaps> maps = MakeAttentionMaps(pool, scratch);
    if (!maps.ok()) return maps.status();
    arguments_.forward.maps = *maps;
    arguments_.forward.pool = pool;
    arguments_.forward.scratch = scratch;
    return absl::OkStatus();
  }

  void Attend(Stream& stream, const StepTables& tables, const AttentionPart& part, int layer, void* out) override {
    FoldArguments arguments = arguments_;
    ForwardArguments& forward = arguments.forward;
    CASCADE_CHECK(forward.pool.memory != nullptr);
    forward.tables = tables;
    forward.part = part;
    forward.layer = layer;
    forward.out = out;
    // Another one for each layer: what one misses the next one may see.
    forward.sample_phase = layer * 7 % kSampleStep;
    if (options_.score_kernel == ScoreKernel::kExact) {
      LaunchForward(stream, forward, options_.compute, ForwardMode::kExact);
      LaunchExactScores(stream, arguments, ScoredHeads::kAll);
      return;
    }
    LaunchForward(stream, forward, options_.compute, ForwardMode::kPredict);
    LaunchCertify(stream, arguments);
    LaunchForward(stream, forward, options_.compute, ForwardMode::kMend);
    LaunchFold(stream, arguments);
    LaunchExactScores(stream, arguments, ScoredHeads::kRejected);
  }

  void TakeCertificates(Stream&, ScoreCertificates*) override {}

 private:
  const CudaOptions options_;
  FoldArguments arguments_ = {};
};

}  // namespace
}  // namespace sm90

int64_t StrideAttentionRowBytes(const DeviceTraits& traits, const CacheLayout& layout, const CudaOptions& options) {
  if (!sm90::Suits(traits, layout, options) || options.score_kernel == ScoreKernel::kExact) return 0;
  return int64_t{layout.num_kv_heads} * layout.entries * 4 / RowsOfTile(layout) + 1;
}

absl::StatusOr<std::unique_ptr<StrideAttention>> MakeStrideAttention(const DeviceTraits& traits, DeviceMemory& memory,
                                                                     const CacheLayout& layout,
                                                                     const CudaOptions& options, int scratch_rows) {
  if (!sm90::Suits(traits, layout, options)) return nullptr;
  auto attention = std::make_unique<sm90::HopperAttention>(layout, options);
  if (absl::Status status = attention->Allocate(memory, scratch_rows); !status.ok()) return status;
  return attention;
}

}  // namespace cascade::kernels::cuda
