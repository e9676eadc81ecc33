#include "kernels/cuda/backend.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"
#include "kernels/cache_checks.h"

namespace cascade::kernels {
namespace cuda {
namespace {

constexpr size_t kStagingBytes = 4 << 20;
constexpr int kMaxCloses = 64;              // closed in one go
constexpr size_t kGraphBytes = 512u << 20;  // kept free for recorded steps and the driver

}  // namespace

absl::StatusOr<std::unique_ptr<CudaBackend>> CudaBackend::Create(const CudaOptions& options) {
  if (options.compute != DType::kBF16 && options.compute != DType::kF16) {
    return absl::InvalidArgumentError(
        absl::StrCat("CUDA computes in BF16 or F16, not ", std::string(Name(options.compute))));
  }
  auto backend = std::unique_ptr<CudaBackend>(new CudaBackend(options));
  if (absl::Status status = backend->Init(); !status.ok()) return status;
  return backend;
}

absl::Status CudaBackend::Init() {
  absl::StatusOr<std::unique_ptr<Stream>> stream = Stream::Create();
  if (!stream.ok()) return stream.status();
  stream_ = *std::move(stream);
  absl::StatusOr<std::unique_ptr<SlotCopies>> copies = SlotCopies::Create(*stream_);
  if (!copies.ok()) return copies.status();
  copies_ = *std::move(copies);
  absl::StatusOr<std::unique_ptr<WeightLoader>> loader = WeightLoader::Create(*stream_, memory_, options_.compute);
  if (!loader.ok()) return loader.status();
  loader_ = *std::move(loader);
  absl::StatusOr<std::unique_ptr<LinearOps>> linear =
      LinearOps::Create(*stream_, memory_, options_.compute, options_.deterministic);
  if (!linear.ok()) return linear.status();
  linear_ = *std::move(linear);
  for (Buffer& buffer : buffers_) {
    absl::StatusOr<std::unique_ptr<Staging>> staging = Staging::Create(kStagingBytes);
    if (!staging.ok()) return staging.status();
    buffer.staging = *std::move(staging);
    // The engine's thread sleeps while it waits: with a step queued behind, the time to wake it costs nothing.
    stream_->Check("event", cudaEventCreateWithFlags(&buffer.done, cudaEventDisableTiming | cudaEventBlockingSync));
  }
  return stream_->TakeError();
}

CudaBackend::~CudaBackend() {
  if (stream_ != nullptr) cudaStreamSynchronize(stream_->get());
  graphs_.Clear();
  for (Buffer& buffer : buffers_) {
    if (buffer.done != nullptr) cudaEventDestroy(buffer.done);
    if (buffer.results != nullptr) cudaFreeHost(buffer.results);
  }
}

std::string CudaBackend::Description() const {
  return absl::StrCat("CUDA, ", stream_->traits().name, ", ", options_.compute == DType::kBF16 ? "bfloat16" : "float16",
                      options_.deterministic ? ", deterministic" : "");
}

absl::StatusOr<WeightId> CudaBackend::LoadWeight(const HostWeight& weight) {
  if (options_.deterministic && weight.rows > 1 && weight.cols % 8 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("deterministic: rows of ", weight.cols, " columns; they must be a multiple of 8"));
  }
  absl::StatusOr<DeviceWeight> loaded = loader_->Load(weight);
  if (!loaded.ok()) return loaded.status();
  weights_.push_back(*loaded);
  if (loaded->dense_row == nullptr) linear_->Reserve(*loaded);
  return static_cast<WeightId>(weights_.size() - 1);
}

absl::StatusOr<TensorView> CudaBackend::Allocate(int64_t rows, int64_t cols, Precision precision) {
  constexpr int64_t kMaxDimension = int64_t{1} << 30;
  if (rows < 0 || cols < 0 || rows > kMaxDimension || cols > kMaxDimension) {
    return absl::InvalidArgumentError(absl::StrCat("no activations of shape [", rows, ", ", cols, "]"));
  }
  const DType type = precision == Precision::kFull ? DType::kF32 : options_.compute;
  const size_t bytes = RowBytes(type, cols) * static_cast<size_t>(rows);
  absl::StatusOr<void*> data = memory_.Allocate("activations", bytes);
  if (!data.ok()) return data.status();
  stream_->Fill("Allocate", *data, 0, bytes);
  return TensorView{*data, type, rows, cols};
}

absl::Status CudaBackend::MakeCacheOps(const CacheShape& shape, int max_rows) {
  if (cache_ops_ready_) return absl::OkStatus();
  if (absl::Status status = CheckDeviceCacheShape(shape); !status.ok()) return status;
  if (max_rows < 1) return absl::InvalidArgumentError(absl::StrCat("cache: max_rows must be positive, got ", max_rows));
  max_rows_ = max_rows;
  pool_.layout = MakeCacheLayout(shape);
  absl::Status status;
  const auto take = [&status](auto made, auto& member) {
    if (!status.ok()) return;
    if (made.ok()) {
      member = *std::move(made);
    } else {
      status = made.status();
    }
  };
  double* frequency = nullptr;
  take(memory_.AllocateArray<double>("RoPE", shape.rope.frequency.size()), frequency);
  take(memory_.AllocateArray<int32_t>("sampled ids", static_cast<size_t>(max_rows)), sampled_);
  take(memory_.AllocateArray<TokenScore>("token scores", static_cast<size_t>(max_rows)), scores_);
  take(memory_.Allocate("sampling", kSampleScratchBytes), sample_state_.scratch);
  take(StepUpload::Create(memory_, pool_.layout, max_rows, static_cast<int>(buffers_.size())), upload_);
  if (!options_.deterministic)
    take(DecodeAttention::Create(*stream_, memory_, pool_.layout, max_rows), decode_attention_);
  take(PrefillAttention::Create(*stream_, memory_, pool_.layout, options_, max_rows), prefill_attention_);
  if (status.ok() && options_.score_kernel == ScoreKernel::kFast &&
      (prefill_attention_->stride_attention() == nullptr || !prefill_attention_->stride_attention()->predicts())) {
    status = absl::InvalidArgumentError(
        "--score-kernel fast: it is for compute capability 9.0, heads of up to 128, --score-reduction mean, not "
        "--deterministic, and an --ema-decay that leaves a stride's first token a thousandth; auto takes it where it "
        "can");
  }
  take(StrideCloser::Create(*stream_, memory_, pool_.layout, kMaxCloses), closer_);
  if (!status.ok()) return status;
  for (Buffer& buffer : buffers_) {
    void* results = nullptr;
    stream_->Check("pinned memory", cudaMallocHost(&results, results_bytes()));
    buffer.results = static_cast<unsigned char*>(results);
  }
  stream_->CopyToDevice("RoPE", frequency, shape.rope.frequency.data(), shape.rope.frequency.size() * sizeof(double));
  stream_->Synchronize("RoPE");
  pool_.frequency = frequency;
  cache_ops_ready_ = !stream_->failed();
  return stream_->TakeError();
}

absl::StatusOr<std::optional<int64_t>> CudaBackend::CacheMemory(const CacheShape& shape, int max_rows,
                                                                double utilization) {
  if (absl::Status status = MakeCacheOps(shape, max_rows); !status.ok()) return status;
  size_t free = 0, total = 0;
  stream_->Check("CacheMemory", cudaMemGetInfo(&free, &total));
  if (absl::Status status = stream_->TakeError(); !status.ok()) return status;
  const int64_t used = static_cast<int64_t>(total - free);
  const int64_t most = static_cast<int64_t>(utilization * static_cast<double>(total));
  return std::optional<int64_t>(std::max<int64_t>(0, most - used - static_cast<int64_t>(kGraphBytes)));
}

absl::Status CudaBackend::CreateCaches(const CacheShape& shape, int num_slots, int max_rows) {
  CASCADE_CHECK(pool_.memory == nullptr);
  if (num_slots < 1)
    return absl::InvalidArgumentError(absl::StrCat("cache: num_slots must be positive, got ", num_slots));
  if (absl::Status status = MakeCacheOps(shape, max_rows); !status.ok()) return status;
  CASCADE_CHECK(max_rows == max_rows_);
  if (absl::Status status = loader_->Finish(); !status.ok()) return status;
  const size_t slots = static_cast<size_t>(num_slots);
  size_t bytes = 0;
  if (__builtin_mul_overflow(pool_.layout.slot_bytes, slots, &bytes)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cache: no memory for ", num_slots, " slots of ", pool_.layout.slot_bytes, " bytes"));
  }
  absl::StatusOr<unsigned char*> pool = memory_.AllocateArray<unsigned char>("cache", bytes);
  if (!pool.ok()) return pool.status();
  absl::StatusOr<int32_t*> last_id = memory_.AllocateArray<int32_t>("last ids", slots);
  if (!last_id.ok()) return last_id.status();
  absl::StatusOr<int32_t*> ended = memory_.AllocateArray<int32_t>("end flags", slots);
  if (!ended.ok()) return ended.status();
  stream_->Fill("CreateCaches", *pool, 0, bytes);
  stream_->Fill("CreateCaches", *last_id, 0, slots * sizeof(int32_t));
  stream_->Fill("CreateCaches", *ended, 0, slots * sizeof(int32_t));
  pool_.memory = *pool;
  pool_.num_slots = num_slots;
  if (absl::Status status = prefill_attention_->Attach(pool_); !status.ok()) return status;
  sample_state_.last_id = *last_id;
  sample_state_.ended = *ended;
  num_slots_ = num_slots;
  return Finish();
}

size_t CudaBackend::CacheBytesPerSlot(const CacheShape& shape) const {
  return CheckDeviceCacheShape(shape).ok() ? MakeCacheLayout(shape).slot_bytes : 0;
}

void CudaBackend::SetEndIds(std::span<const int32_t> ids) {
  const size_t count = ids.size();
  absl::StatusOr<int32_t*> memory = memory_.AllocateArray<int32_t>("end ids", count);
  if (!memory.ok()) {
    stream_->Check("SetEndIds", cudaErrorMemoryAllocation);
    return;
  }
  stream_->CopyToDevice("SetEndIds", *memory, ids.data(), count * sizeof(int32_t));
  stream_->Synchronize("SetEndIds");
  sample_state_.end_ids = *memory;
  sample_state_.num_end_ids = static_cast<int>(count);
}

void CudaBackend::ClearSlot(int slot) {
  CASCADE_CHECK(slot >= 0 && slot < num_slots_);
  const size_t bytes = pool_.layout.slot_bytes;
  stream_->Fill("ClearSlot", pool_.memory + static_cast<size_t>(slot) * bytes, 0, bytes);
}

absl::Status CudaBackend::CopySlot(int from, int to) {
  CASCADE_CHECK(from >= 0 && from < num_slots_ && to >= 0 && to < num_slots_ && from != to);
  AddPendingScores();
  const size_t bytes = pool_.layout.slot_bytes;
  stream_->CopyOnDevice("CopySlot", pool_.memory + static_cast<size_t>(to) * bytes,
                        pool_.memory + static_cast<size_t>(from) * bytes, bytes);
  stream_->Synchronize("CopySlot");
  return stream_->TakeError();
}

// A new number whenever bytes of a slot change their meaning: cache_layout.h, the rotation of keys.
std::string CudaBackend::SlotLayout() const { return "cuda 1"; }

size_t CudaBackend::SlotBytes(SlotPart part) const { return SlotPartBytes(pool_.layout, part); }

absl::StatusOr<std::unique_ptr<HostMemory>> CudaBackend::AllocateHost(size_t bytes) { return AllocatePinned(bytes); }

std::unique_ptr<SlotCopy> CudaBackend::ReadSlot(int slot, SlotPart part, std::span<std::byte> host) {
  CASCADE_CHECK(slot >= 0 && slot < num_slots_ && host.size() == SlotBytes(part));
  AddPendingScores();
  return copies_->Read(pool_.layout, pool_.memory + static_cast<size_t>(slot) * pool_.layout.slot_bytes, part, host);
}

std::unique_ptr<SlotCopy> CudaBackend::WriteSlot(int slot, SlotPart part, std::span<const std::byte> host) {
  CASCADE_CHECK(slot >= 0 && slot < num_slots_ && host.size() == SlotBytes(part));
  AddPendingScores();
  return copies_->Write(pool_.layout, pool_.memory + static_cast<size_t>(slot) * pool_.layout.slot_bytes, part, host);
}

absl::StatusOr<HeadContents> CudaBackend::ReadHead(int slot, int layer, int kv_head) {
  const CacheLayout& layout = pool_.layout;
  if (absl::Status status = CheckHead(num_slots_, layout.num_layers, layout.num_kv_heads, slot, layer, kv_head);
      !status.ok()) {
    return status;
  }
  AddPendingScores();
  const unsigned char* block = pool_.Block(slot, layer, kv_head);
  const size_t entries = static_cast<size_t>(layout.entries);
  std::vector<uint32_t> tokens(entries);
  std::vector<float> scores(entries), distinctness(entries);
  stream_->CopyToHost("ReadHead", tokens.data(), block + layout.tokens_offset, entries * sizeof(uint32_t));
  stream_->CopyToHost("ReadHead", scores.data(), block + layout.scores_offset, entries * sizeof(float));
  stream_->CopyToHost("ReadHead", distinctness.data(), block + layout.distinctness_offset, entries * sizeof(float));
  stream_->Synchronize("ReadHead");
  if (absl::Status status = stream_->TakeError(); !status.ok()) return status;
  HeadContents contents;
  for (int s = 0; s < layout.num_segments; ++s) {
    const auto begin = layout.first_entry[s], end = begin + layout.segment_slots[s];
    contents.tokens.emplace_back(tokens.begin() + begin, tokens.begin() + end);
    contents.scores.emplace_back(scores.begin() + begin, scores.begin() + end);
    contents.distinctness.emplace_back(distinctness.begin() + begin, distinctness.begin() + end);
  }
  return contents;
}

}  // namespace cuda

int CudaDeviceCount() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();
  return 0;
}

absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const CudaOptions& options) {
  return cuda::CudaBackend::Create(options);
}

}  // namespace cascade::kernels
