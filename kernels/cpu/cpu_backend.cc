#include "kernels/cpu_backend.h"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hwy/targets.h"
#include "kernels/base/check.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/slot_copies.h"

namespace cascade::kernels {
namespace {

constexpr int kMaxThreads = 1024;

// The CPUs that this process may keep busy: its affinity mask and its container's quota, whichever is smaller.
int AvailableThreads() {
  int threads = std::max(1u, std::thread::hardware_concurrency());
#ifdef __linux__
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) threads = std::max(1, CPU_COUNT(&allowed));
  std::ifstream file("/sys/fs/cgroup/cpu.max");  // "quota period" in microseconds, or "max period"
  double quota = 0;
  double period = 0;
  if (file >> quota >> period && quota > 0 && period > 0) {
    threads = std::min(threads, std::max(1, static_cast<int>(quota / period + 0.5)));
  }
#endif
  return std::min(threads, kMaxThreads);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> CreateCpuBackend(const CpuOptions& options) {
  if (options.num_threads < 0 || options.num_threads > kMaxThreads) {
    return absl::InvalidArgumentError(
        absl::StrCat("threads must be 0 (all) to ", kMaxThreads, ", not ", options.num_threads));
  }
  const int threads = options.num_threads == 0 ? AvailableThreads() : options.num_threads;
  return std::make_unique<CpuBackend>(threads, options.activations);
}

CpuBackend::CpuBackend(int threads, Activations activations)
    : activations_(activations), pool_(threads), samplers_(threads) {}

std::string CpuBackend::Description() const {
  // The instruction set that the dispatch takes: the best one of this machine, the lowest bit of the mask.
  const int64_t targets = hwy::SupportedTargets();
  constexpr const char* kNames[] = {"int8", "int16", "float32"};
  return absl::StrCat("CPU, ", pool_.num_threads(), pool_.num_threads() == 1 ? " thread, " : " threads, ",
                      hwy::TargetName(targets & -targets), ", ", kNames[static_cast<int>(activations_)],
                      " activations");
}

absl::StatusOr<WeightId> CpuBackend::LoadWeight(const HostWeight& weight) {
  absl::StatusOr<std::unique_ptr<PackedWeight>> packed = PackedWeight::Create(weight, pool_);
  if (!packed.ok()) return packed.status();
  weights_.push_back(*std::move(packed));
  return static_cast<WeightId>(weights_.size() - 1);
}

absl::StatusOr<TensorView> CpuBackend::Allocate(int64_t rows, int64_t cols, Precision) {
  constexpr int64_t kMaxDimension = int64_t{1} << 30;
  if (rows < 0 || cols < 0 || rows > kMaxDimension || cols > kMaxDimension) {
    return absl::InvalidArgumentError(absl::StrCat("no activations of shape [", rows, ", ", cols, "]"));
  }
  absl::StatusOr<Buffer> buffer = Buffer::Create(RowBytes(DType::kF32, cols) * rows);
  if (!buffer.ok()) return buffer.status();
  buffers_.push_back(*std::move(buffer));
  return TensorView{buffers_.back().As<void>(), DType::kF32, rows, cols};
}

absl::Status CpuBackend::CreateCaches(const CacheShape& shape, int num_slots, int max_rows) {
  CASCADE_CHECK(caches_ == nullptr);
  absl::StatusOr<std::unique_ptr<CacheOps>> caches = CacheOps::Create(shape, num_slots, max_rows, pool_);
  if (!caches.ok()) return caches.status();
  caches_ = *std::move(caches);
  return absl::OkStatus();
}

size_t CpuBackend::CacheBytesPerSlot(const CacheShape& shape) const { return CacheOps::BytesPerSlot(shape); }
void CpuBackend::ClearSlot(int slot) { Caches().ClearSlot(slot); }
absl::Status CpuBackend::CopySlot(int from, int to) {
  Caches().CopySlot(from, to);
  return absl::OkStatus();
}
// A new number whenever bytes of a slot change their meaning: cache_layout.h, the rotation of keys.
std::string CpuBackend::SlotLayout() const { return "cpu 1"; }
size_t CpuBackend::SlotBytes(SlotPart part) const { return SlotPartBytes(Caches().layout(), part); }
absl::StatusOr<std::unique_ptr<HostMemory>> CpuBackend::AllocateHost(size_t bytes) { return AllocateMapped(bytes); }
std::unique_ptr<SlotCopy> CpuBackend::ReadSlot(int slot, SlotPart part, std::span<std::byte> host) {
  return StartReadSlot(Caches().layout(), Caches().Slot(slot), part, host);
}
std::unique_ptr<SlotCopy> CpuBackend::WriteSlot(int slot, SlotPart part, std::span<const std::byte> host) {
  return StartWriteSlot(Caches().layout(), Caches().Slot(slot), part, host);
}
absl::StatusOr<HeadContents> CpuBackend::ReadHead(int slot, int layer, int kv_head) {
  return Caches().ReadHead(slot, layer, kv_head);
}

void CpuBackend::BeginStep(const StepInput& input) {
  // Steps wait for their results before the next one: no id is unknown (kSampledId).
  for (const int32_t id : input.ids) CASCADE_CHECK(id >= 0);
  ids_.assign(input.ids.begin(), input.ids.end());
  samples_.assign(input.samples.begin(), input.samples.end());
  sampled_.assign(samples_.size(), kNoId);
  if (!input.slices.empty()) Caches().BeginStep(input.slices);
}

absl::Status CpuBackend::WaitStep(std::vector<int32_t>& sampled) {
  sampled = sampled_;
  return Finish();
}

absl::Status CpuBackend::Finish() { return std::exchange(error_, absl::OkStatus()); }

void CpuBackend::AppendKv(int layer, TensorView k, TensorView v) { Caches().AppendKv(layer, k, v); }
void CpuBackend::Attend(int layer, TensorView q, TensorView out) { Caches().Attend(layer, q, out); }
void CpuBackend::CloseStrides(std::span<const Close> closes) { Caches().CloseStrides(closes); }

void CpuBackend::Embed(WeightId table, TensorView out) { EmbedRows(Weight(table), ids_, out, pool_); }

void CpuBackend::RmsNorm(TensorView x, WeightId gain, float eps, TensorView out) {
  RmsNormRows(x, Weight(gain), eps, out, pool_);
}

void CpuBackend::Linear(TensorView x, std::span<const LinearTarget> targets) {
  std::vector<LinearLayer> layers;
  layers.reserve(targets.size());
  for (const LinearTarget& target : targets) {
    CASCADE_CHECK(target.out.type == DType::kF32 && target.out.rows == x.rows);
    const float* bias = nullptr;
    if (target.bias) {
      const PackedWeight& row = Weight(*target.bias);
      CASCADE_CHECK(row.rows() == 1 && row.cols() == target.out.cols && !target.accumulate);
      bias = row.dense_row();
    }
    layers.push_back({&Weight(target.weight), {target.out.f32(), target.out.cols, target.accumulate, bias}});
  }
  const absl::Status status = kernels::Linear(x, layers, activations_, scratch_, pool_);
  if (error_.ok() && !status.ok()) error_ = absl::Status(status.code(), absl::StrCat("Linear: ", status.message()));
}

void CpuBackend::SiluMul(TensorView gate, TensorView up) { SiluMulRows(gate, up, pool_); }

void CpuBackend::GatherRows(TensorView x, std::span<const int32_t> rows, TensorView out) {
  CopyRows(x, rows, out, pool_);
}

void CpuBackend::ScoreTargets(TensorView logits, std::span<const int32_t> targets, std::span<TokenScore> scores) {
  ScoreRows(logits, targets, scores, pool_);
}

void CpuBackend::Sample(TensorView logits, int vocabulary, int first) {
  CASCADE_CHECK(logits.type == DType::kF32 && vocabulary >= 1 && vocabulary <= logits.cols);
  CASCADE_CHECK(first >= 0 && first <= static_cast<int>(samples_.size()));
  const int64_t rows = std::min<int64_t>(logits.rows, static_cast<int64_t>(samples_.size()) - first);
  pool_.ParallelFor(rows, [&](int64_t row, int worker) {
    const std::span<const float> allowed(logits.f32() + row * logits.cols, static_cast<size_t>(vocabulary));
    sampled_[first + row] = samplers_[worker].Sample(allowed, samples_[first + row]);
  });
}

void CpuBackend::CopyToHost(TensorView x, std::span<float> host) {
  CASCADE_CHECK(x.type == DType::kF32 && static_cast<int64_t>(host.size()) == x.rows * x.cols);
  if (!host.empty()) std::memcpy(host.data(), x.data, host.size_bytes());
}

void CpuBackend::CopyFromHost(std::span<const float> host, TensorView x) {
  CASCADE_CHECK(x.type == DType::kF32 && static_cast<int64_t>(host.size()) == x.rows * x.cols);
  if (!host.empty()) std::memcpy(x.data, host.data(), host.size_bytes());
}

const PackedWeight& CpuBackend::Weight(WeightId id) const {
  const size_t index = static_cast<size_t>(id);
  CASCADE_CHECK(index < weights_.size());
  return *weights_[index];
}

CacheOps& CpuBackend::Caches() {
  CASCADE_CHECK(caches_ != nullptr);
  return *caches_;
}
const CacheOps& CpuBackend::Caches() const {
  CASCADE_CHECK(caches_ != nullptr);
  return *caches_;
}

}  // namespace cascade::kernels
