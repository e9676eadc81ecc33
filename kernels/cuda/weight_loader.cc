#include "kernels/cuda/weight_loader.h"

#include <algorithm>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"
#include "kernels/cuda/weight_random.h"
#include "kernels/cuda/weight_repack.h"
#include "kernels/dequantize.h"

namespace cascade::kernels::cuda {
namespace {

constexpr size_t kBufferBytes = 32 << 20;
constexpr int64_t kTaskBytes = 256 << 10;  // of what one thread fills at a time
// One core copies some 8 GB/s and repacks less; more than these gain nothing over the bus or a disk.
constexpr unsigned kMaxThreads = 8;
constexpr size_t kGroupAlignment = 16;

size_t RoundUp(size_t value, size_t to) { return (value + to - 1) / to * to; }

absl::Status CheckShape(const HostWeight& weight) {
  constexpr int64_t kMaxDimension = int64_t{1} << 22;  // what linear_blas.cu and sample.cu can do with
  static_assert(kMaxDimension * sizeof(float) < kBufferBytes, "a row must fit into a buffer");
  const bool possible = weight.rows > 0 && weight.cols > 0 && weight.rows < kMaxDimension &&
                        weight.cols < kMaxDimension && weight.cols % BlockElements(weight.type) == 0;
  if (possible) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a weight of ", std::string(Name(weight.type)),
                                                 " can not have the shape [", weight.rows, ", ", weight.cols, "]"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<WeightLoader>> WeightLoader::Create(Stream& stream, DeviceMemory& memory,
                                                                   DType compute) {
  CASCADE_CHECK(compute == DType::kBF16 || compute == DType::kF16);
  return std::unique_ptr<WeightLoader>(new WeightLoader(stream, memory, compute));
}

WeightLoader::~WeightLoader() {
  cudaStreamSynchronize(stream_.get());
  Release();
}

absl::StatusOr<DeviceWeight> WeightLoader::Load(const HostWeight& weight) {
  if (absl::Status status = CheckShape(weight); !status.ok()) return status;
  if (weight.data != nullptr) {
    if (absl::Status status = Prepare(); !status.ok()) return status;
  }
  absl::StatusOr<DeviceWeight> device = AllocateMatrix(weight);
  if (!device.ok()) return device;
  if (weight.data == nullptr) {
    const CodeRange codes = IsQuantised(device->format) ? DeviceCodes(weight.type) : CodeRange{};
    FillRandom(stream_, *device, codes, weight.seed);
  } else {
    CopyMatrix(weight, *device);
  }
  if (weight.rows == 1) {
    absl::StatusOr<float*> row = memory_.AllocateArray<float>("weights", static_cast<size_t>(weight.cols));
    if (!row.ok()) return row.status();
    device->dense_row = *row;
    if (weight.data == nullptr) {
      FillOnes(stream_, *row, weight.cols);
    } else {
      CopyDenseRow(weight, *row);
    }
  }
  // Kernels read weights before they wait for the one before them: that must not be the one that fills them.
  if (weight.data == nullptr) stream_.Synchronize("LoadWeight");
  if (absl::Status status = stream_.TakeError(); !status.ok()) return status;
  return device;
}

absl::Status WeightLoader::Finish() {
  stream_.Synchronize("LoadWeight");
  Release();
  return stream_.TakeError();
}

absl::Status WeightLoader::Prepare() {
  if (pool_ != nullptr) return absl::OkStatus();
  for (Buffer& buffer : buffers_) {
    void* bytes = nullptr;
    const cudaError_t result = cudaMallocHost(&bytes, kBufferBytes);
    if (result != cudaSuccess) {
      cudaGetLastError();  // the runtime keeps it for the next call otherwise
      Release();
      return absl::ResourceExhaustedError(
          absl::StrCat("weights: no pinned memory for ", kBufferBytes, " bytes: ", cudaGetErrorString(result)));
    }
    buffer.bytes = static_cast<unsigned char*>(bytes);
    stream_.Check("LoadWeight", cudaEventCreateWithFlags(&buffer.copied, cudaEventDisableTiming));
  }
  if (stream_.failed()) {
    Release();
    return stream_.TakeError();
  }
  pool_ =
      std::make_unique<ThreadPool>(static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, kMaxThreads)));
  return absl::OkStatus();
}

void WeightLoader::Release() {
  pool_ = nullptr;
  for (Buffer& buffer : buffers_) {
    if (buffer.copied != nullptr) cudaEventDestroy(buffer.copied);
    if (buffer.bytes != nullptr) cudaFreeHost(buffer.bytes);
    buffer = {};
  }
}

absl::StatusOr<DeviceWeight> WeightLoader::AllocateMatrix(const HostWeight& weight) {
  DeviceWeight device;
  device.format = DeviceFormat(weight.type, compute_);
  device.rows = weight.rows;
  device.cols = weight.cols;
  device.row_bytes = DeviceRowBytes(device.format, weight.cols);
  absl::StatusOr<void*> data = memory_.Allocate("weights", static_cast<size_t>(device.rows * device.row_bytes));
  if (!data.ok()) return data.status();
  device.data = *data;
  if (!IsQuantised(device.format)) return device;
  const int64_t group_bytes = device.rows * DeviceGroupBytes(device.format, device.cols);
  absl::StatusOr<void*> groups = memory_.Allocate("weights", static_cast<size_t>(group_bytes));
  if (!groups.ok()) return groups.status();
  device.groups = *groups;
  return device;
}

WeightLoader::Buffer& WeightLoader::TakeBuffer() {
  Buffer& buffer = buffers_[static_cast<size_t>(next_)];
  next_ = (next_ + 1) % static_cast<int>(buffers_.size());
  stream_.Check("LoadWeight", cudaEventSynchronize(buffer.copied));
  return buffer;
}

void WeightLoader::Copied(Buffer& buffer) {
  stream_.Check("LoadWeight", cudaEventRecord(buffer.copied, stream_.get()));
}

// A buffer holds rows of elements, and behind them their groups.
void WeightLoader::CopyMatrix(const HostWeight& weight, const DeviceWeight& device) {
  const int64_t group_bytes = DeviceGroupBytes(device.format, device.cols);
  const int64_t room = static_cast<int64_t>(kBufferBytes - kGroupAlignment);
  const int64_t rows_at_once = std::min(weight.rows, room / (device.row_bytes + group_bytes));
  CASCADE_CHECK(rows_at_once > 0);  // CheckShape
  const int64_t rows_per_task = std::max<int64_t>(1, kTaskBytes / device.row_bytes);
  auto* const data = static_cast<unsigned char*>(const_cast<void*>(device.data));
  auto* const groups = static_cast<unsigned char*>(const_cast<void*>(device.groups));
  for (int64_t first = 0; first < weight.rows; first += rows_at_once) {
    const int64_t count = std::min(rows_at_once, weight.rows - first);
    Buffer& buffer = TakeBuffer();
    if (stream_.failed()) return;
    unsigned char* const elements = buffer.bytes;
    unsigned char* const its_groups =
        elements + RoundUp(static_cast<size_t>(count * device.row_bytes), kGroupAlignment);
    pool_->ParallelFor((count + rows_per_task - 1) / rows_per_task, [&](int64_t task, int) {
      const int64_t begin = task * rows_per_task;
      RepackRows(weight, compute_, first + begin, std::min(rows_per_task, count - begin),
                 elements + begin * device.row_bytes, its_groups + begin * group_bytes);
    });
    stream_.CopyToDevice("LoadWeight", data + first * device.row_bytes, elements,
                         static_cast<size_t>(count * device.row_bytes));
    if (group_bytes > 0) {
      stream_.CopyToDevice("LoadWeight", groups + first * group_bytes, its_groups,
                           static_cast<size_t>(count * group_bytes));
    }
    Copied(buffer);
  }
}

void WeightLoader::CopyDenseRow(const HostWeight& weight, float* device) {
  Buffer& buffer = TakeBuffer();
  if (stream_.failed()) return;
  float* const row = reinterpret_cast<float*>(buffer.bytes);
  DequantizeRow(weight.type, weight.data, row, weight.cols);
  stream_.CopyToDevice("LoadWeight", device, row, static_cast<size_t>(weight.cols) * sizeof(float));
  Copied(buffer);
}

}  // namespace cascade::kernels::cuda
