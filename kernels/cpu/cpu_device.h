// The CPU back end: owns the threads, the weights, the activation buffers and the caches, and hands every op to its
// function (ops.h, cache_ops.h). All ops run before they return; only what they can not report otherwise waits for
// WaitStep() or Finish(). One thread calls it (kernels/backend.h).
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/base/thread_pool.h"
#include "kernels/cpu/buffer.h"
#include "kernels/cpu/cache_ops.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/packed_weight.h"
#include "kernels/sampler.h"

namespace cascade::kernels {

class CpuBackend : public Backend {
 public:
  CpuBackend(int threads, Activations activations);

  std::string Description() const override;
  absl::StatusOr<WeightId> LoadWeight(const HostWeight& weight) override;
  absl::StatusOr<TensorView> Allocate(int64_t rows, int64_t cols, Precision precision) override;
  absl::Status CreateCaches(const CacheShape& shape, int num_slots, int max_rows) override;
  size_t CacheBytesPerSlot(const CacheShape& shape) const override;
  void ClearSlot(int slot) override;
  absl::Status CopySlot(int from, int to) override;
  std::string SlotLayout() const override;
  size_t SlotBytes(SlotPart part) const override;
  absl::StatusOr<std::unique_ptr<HostMemory>> AllocateHost(size_t bytes) override;
  std::unique_ptr<SlotCopy> ReadSlot(int slot, SlotPart part, std::span<std::byte> host) override;
  std::unique_ptr<SlotCopy> WriteSlot(int slot, SlotPart part, std::span<const std::byte> host) override;
  absl::StatusOr<HeadContents> ReadHead(int slot, int layer, int kv_head) override;

  void BeginStep(const StepInput& input) override;
  absl::Status WaitStep(std::vector<int32_t>& sampled) override;
  absl::Status Finish() override;

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

 private:
  const PackedWeight& Weight(WeightId id) const;
  CacheOps& Caches();
  const CacheOps& Caches() const;

  const Activations activations_;
  ThreadPool pool_;
  std::vector<std::unique_ptr<PackedWeight>> weights_;
  std::vector<Buffer> buffers_;
  LinearScratch scratch_;
  std::unique_ptr<CacheOps> caches_;  // null before CreateCaches
  std::vector<Sampler> samplers_;     // one per thread
  // The step's.
  std::vector<int32_t> ids_;
  std::vector<SampleRequest> samples_;
  std::vector<int32_t> sampled_;  // [samples_]
  absl::Status error_;            // the first since the last wait
};

}  // namespace cascade::kernels
