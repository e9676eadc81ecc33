// The CUDA back end: owner of the device's memory and of the one stream, and of steps that are under way. What ops do
// is in the files of their names.
//
// DESIGN. Nothing here waits for the device but WaitStep, Finish, CopySlot and the copies to the host. A step's integers are
// packed into one pinned buffer and copied to the device; the kernels of a decode step read them from there and take no
// other argument that changes, so they are recorded once per number of rows (a CUDA graph) and replayed. Up to two
// steps are under way; each has its own buffers of the three there are, so that the next one can be packed meanwhile.
// All memory is allocated before the first step.
#pragma once

#include <array>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cuda/attention_decode.h"
#include "kernels/cuda/attention_prefill.h"
#include "kernels/cuda/cache_layout.h"
#include "kernels/cuda/close_strides.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/device_weight.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/sample.h"
#include "kernels/cuda/slot_copies.h"
#include "kernels/cuda/staging.h"
#include "kernels/cuda/step_graphs.h"
#include "kernels/cuda/step_trace.h"
#include "kernels/cuda/step_upload.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/weight_loader.h"
#include "kernels/cuda_backend.h"

namespace cascade::kernels::cuda {

inline constexpr int kStepsInFlight = 2;

class CudaBackend final : public Backend {
 public:
  static absl::StatusOr<std::unique_ptr<CudaBackend>> Create(const CudaOptions& options);
  ~CudaBackend() override;

  std::string Description() const override;
  absl::StatusOr<WeightId> LoadWeight(const HostWeight& weight) override;
  absl::StatusOr<TensorView> Allocate(int64_t rows, int64_t cols, Precision precision) override;
  absl::Status CreateCaches(const CacheShape& shape, int num_slots, int max_rows) override;
  size_t CacheBytesPerSlot(const CacheShape& shape) const override;
  absl::StatusOr<std::optional<int64_t>> CacheMemory(const CacheShape& shape, int max_rows,
                                                     double utilization) override;
  void SetEndIds(std::span<const int32_t> ids) override;
  void ClearSlot(int slot) override;
  absl::Status CopySlot(int from, int to) override;
  std::string SlotLayout() const override;
  size_t SlotBytes(SlotPart part) const override;
  absl::StatusOr<std::unique_ptr<HostMemory>> AllocateHost(size_t bytes) override;
  std::unique_ptr<SlotCopy> ReadSlot(int slot, SlotPart part, std::span<std::byte> host) override;
  std::unique_ptr<SlotCopy> WriteSlot(int slot, SlotPart part, std::span<const std::byte> host) override;
  absl::StatusOr<HeadContents> ReadHead(int slot, int layer, int kv_head) override;

  int max_steps_in_flight() const override { return kStepsInFlight; }
  void BeginStep(const StepInput& input) override;
  bool BeginOps(int recording) override;
  void EndOps() override;
  void EndStep() override;
  absl::Status WaitStep(std::vector<int32_t>& sampled) override;
  absl::Status Finish() override;
  ScoreCertificates TakeScoreCertificates() override { return std::exchange(certificates_, {}); }

  void Embed(WeightId table, TensorView out) override;
  void RmsNorm(TensorView x, WeightId gain, float eps, TensorView out) override;
  void Linear(TensorView x, std::span<const LinearTarget> targets) override;
  void SiluMul(TensorView gate, TensorView up) override;
  void AppendKv(int layer, TensorView k, TensorView v) override;
  void Attend(int layer, TensorView q, TensorView out) override;
  void CloseStrides(std::span<const Close> closes) override;
  void GatherRows(TensorView x, std::span<const int32_t> rows, TensorView out) override;
  void ScoreTargets(TensorView logits, std::span<const int32_t> targets, std::span<TokenScore> scores) override;
  void Sample(TensorView logits, int vocabulary, int first) override;
  void CopyToHost(TensorView x, std::span<float> host) override;
  void CopyFromHost(std::span<const float> host, TensorView x) override;
  void NormLinear(TensorView x, WeightId gain, float eps, TensorView h, std::span<const LinearTarget> targets) override;
  void GatedNormLinear(TensorView x, WeightId gain, float eps, TensorView h, WeightId gate_weight, WeightId up_weight,
                       TensorView gate, TensorView up) override;
  void AppendAndAttend(int layer, TensorView q, TensorView k, TensorView v, TensorView out) override;

 private:
  // A step that was ended and not waited for.
  struct PendingStep {
    int buffer = 0;
    int num_samples = 0;
    absl::Status error;
  };
  // A result on its way: pinned memory that WaitStep copies to where the caller wants it.
  struct HostResult {
    const void* pinned;
    void* host;
    size_t bytes;
  };
  struct Buffer {
    std::unique_ptr<Staging> staging;
    unsigned char* results = nullptr;  // pinned
    size_t results_used = 0;
    std::vector<HostResult> host_results;
    ScoreCertificates certificates;
    cudaEvent_t done = nullptr;
  };

  explicit CudaBackend(const CudaOptions& options) : options_(options), trace_(options.trace, kStepsInFlight) {}
  absl::Status Init();
  absl::Status MakeCacheOps(const CacheShape& shape, int max_rows);
  const DeviceWeight& Weight(WeightId id) const;
  std::vector<LinearCall> Calls(TensorView x, std::span<const LinearTarget> targets) const;
  const float* Gain(WeightId id, int64_t cols) const;
  void Upload(int rows);
  // The step's tables, made when an op first needs them and BeginOps did not.
  const StepTables& Tables();
  Buffer& buffer() { return buffers_[static_cast<size_t>(buffer_)]; }
  void AddPendingScores();
  void CopyCertificates();
  // Of a step that was waited for: what it left goes where it belongs.
  void TakeResults(Buffer& buffer);
  Staging& RoomFor(size_t bytes);
  void* TakeResult(void* host, size_t bytes);
  // Slices [0, this) of the step take the decode kernel.
  int DecodeSlices() const;
  size_t results_bytes() const {
    return static_cast<size_t>(max_rows_) * (sizeof(TokenScore) + 2 * sizeof(int32_t)) + 4096;
  }

  const CudaOptions options_;
  std::unique_ptr<Stream> stream_;
  DeviceMemory memory_;
  std::unique_ptr<WeightLoader> loader_;
  std::unique_ptr<LinearOps> linear_;
  std::vector<DeviceWeight> weights_;

  CachePool pool_ = {};
  std::unique_ptr<SlotCopies> copies_;
  int num_slots_ = 0;
  int max_rows_ = 0;
  bool cache_ops_ready_ = false;  // the members up to graphs_ are there
  std::unique_ptr<StepUpload> upload_;
  std::unique_ptr<DecodeAttention> decode_attention_;
  std::unique_ptr<PrefillAttention> prefill_attention_;
  std::unique_ptr<StrideCloser> closer_;
  SampleState sample_state_ = {};
  int32_t* sampled_ = nullptr;    // [max_rows]
  TokenScore* scores_ = nullptr;  // [max_rows]
  StepGraphs graphs_;
  StepTrace trace_;

  std::array<Buffer, kStepsInFlight + 1> buffers_;
  int buffer_ = 0;
  int num_samples_ = 0;
  bool step_open_ = false;
  bool tables_ready_ = false;
  StepTables tables_ = {};
  int table_rows_ = 0;  // rows and slices that kernels see: of a recording, its number
  int table_slices_ = 0;
  std::deque<PendingStep> pending_;
  ScoreCertificates certificates_;
};

}  // namespace cascade::kernels::cuda
