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

// Rows' weights are factors of probabilities on their way through bfloat16 and float32.
constexpr float kLeastWeight = 0x1p-10f;

bool Suits(const DeviceTraits& traits, const CacheLayout& layout, const CudaOptions& options) {
  return traits.capability == 90 && !options.deterministic && !layout.max_reduction && layout.row_elements <= 128;
}

bool Predicts(const CacheLayout& layout, const CudaOptions& options) {
  return options.score_kernel != ScoreKernel::kExact && layout.stride_decay >= kLeastWeight;
}

// Predictions save half of a pass, and cost launches and a prologue (docs/benchmarks.md).
bool PredictionPays(const AttentionPart& part, const CacheLayout& layout) {
  constexpr int64_t kLeastWork = int64_t{5} << 19;  // rows times slots
  // The fewest rows that a slice of so many tiles has: whoever shares its launch does not decide.
  const int64_t rows = int64_t{TilesOfRows(layout, part.row_end - part.row_begin) - 1} * RowsOfTile(layout) + 1;
  return rows * layout.entries >= kLeastWork;
}

class HopperAttention final : public StrideAttention {
 public:
  HopperAttention(const CacheLayout& layout, const CudaOptions& options)
      : options_(options), predicts_(Predicts(layout, options)) {
    arguments_.forward.pool.layout = layout;
    arguments_.limit = options.certificate_limit;
  }

  absl::Status Allocate(Stream& stream, DeviceMemory& memory, int scratch_rows) {
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
    if (!predicts_) return status;
    const CacheLayout& layout = arguments_.forward.pool.layout;
    const size_t tiles = static_cast<size_t>(TilesOfRows(layout, scratch_rows)) * layout.num_kv_heads;
    take(tiles * layout.entries, arguments_.forward.column_sums);
    take(static_cast<size_t>(scratch_rows) * layout.num_kv_heads * layout.group, arguments_.forward.masses);
    take(tiles, arguments_.forward.certificates);
    take(tiles, arguments_.scales);
    take(tiles, arguments_.weights);
    if (!status.ok()) return status;
    absl::StatusOr<ScoreCertificates*> totals = memory.AllocateArray<ScoreCertificates>("attention scores", 1);
    if (!totals.ok()) return totals.status();
    arguments_.totals = *totals;
    stream.Fill("attention scores", *totals, 0, sizeof(ScoreCertificates));
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
    forward.sample_phase = layer * 7 % forward.maps.sample_step;
    if (!predicts_ || (options_.score_kernel == ScoreKernel::kAuto && !PredictionPays(part, forward.pool.layout))) {
      LaunchForward(stream, forward, options_.compute, ForwardMode::kExact);
      LaunchExactScores(stream, arguments, ScoredHeads::kAll);
      return;
    }
    has_certificates_ = true;
    LaunchForward(stream, forward, options_.compute, ForwardMode::kPredict);
    LaunchCertify(stream, arguments);
    LaunchForward(stream, forward, options_.compute, ForwardMode::kMend);
    LaunchFold(stream, arguments);
    LaunchExactScores(stream, arguments, ScoredHeads::kRejected);
  }

  bool predicts() const override { return predicts_; }
  bool HasCertificates() const override { return has_certificates_; }
  void TakeCertificates(Stream& stream, ScoreCertificates* pinned) override {
    stream.CopyToHost("scores", pinned, arguments_.totals, sizeof(ScoreCertificates));
    stream.Fill("scores", arguments_.totals, 0, sizeof(ScoreCertificates));
    has_certificates_ = stream.failed();  // what has not been taken is counted with the next
  }

 private:
  const CudaOptions options_;
  const bool predicts_;
  FoldArguments arguments_ = {};
  bool has_certificates_ = false;
};

}  // namespace
}  // namespace sm90

int64_t StrideAttentionRowBytes(const DeviceTraits& traits, const CacheLayout& layout, const CudaOptions& options) {
  if (!sm90::Suits(traits, layout, options) || !sm90::Predicts(layout, options)) return 0;
  return int64_t{layout.num_kv_heads} * layout.entries * 4 / RowsOfTile(layout) + 1;
}

absl::StatusOr<std::unique_ptr<StrideAttention>> MakeStrideAttention(Stream& stream, DeviceMemory& memory,
                                                                     const CacheLayout& layout,
                                                                     const CudaOptions& options, int scratch_rows) {
  if (!sm90::Suits(stream.traits(), layout, options)) return nullptr;
  auto attention = std::make_unique<sm90::HopperAttention>(layout, options);
  if (absl::Status status = attention->Allocate(stream, memory, scratch_rows); !status.ok()) return status;
  return attention;
}

}  // namespace cascade::kernels::cuda
