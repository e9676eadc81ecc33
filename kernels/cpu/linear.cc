// Splits a group of linear layers into tasks and runs the kernels on them. A task is some strips of one layer times a
// band of rows: bands keep the activations in the second-level cache, strips are what threads share. Nothing is ever
// split over K.
#include "kernels/cpu/linear.h"

#include <algorithm>
#include <vector>

#include "kernels/base/check.h"

namespace cascade::kernels {
namespace {

constexpr int64_t kBandBytes = 256 << 10;  // of activations: a quarter of a common second-level cache
constexpr int64_t kMinBandRows = 32;       // fewer would stream the weights too often
constexpr int kTasksPerThread = 6;         // so that a thread which was interrupted does not hold up the others long

struct Task {
  const LinearLayer* layer;
  IndexRange strips;
};

std::vector<Task> SplitStrips(std::span<const LinearLayer> layers, int threads) {
  int64_t total = 0;
  for (const LinearLayer& layer : layers) total += layer.weight->strips();
  const int64_t per_task =
      threads == 1 ? total
                   : std::max<int64_t>(1, (total + threads * kTasksPerThread - 1) / (threads * kTasksPerThread));
  std::vector<Task> tasks;
  for (const LinearLayer& layer : layers) {
    for (int64_t begin = 0; begin < layer.weight->strips(); begin += per_task) {
      tasks.push_back({&layer, {begin, std::min(begin + per_task, layer.weight->strips())}});
    }
  }
  return tasks;
}

absl::Status Grow(Buffer& buffer, size_t bytes) {
  if (buffer.size() >= bytes) return absl::OkStatus();
  buffer = Buffer();
  absl::StatusOr<Buffer> larger = Buffer::Create(bytes);
  if (!larger.ok()) return larger.status();
  buffer = *std::move(larger);
  return absl::OkStatus();
}

}  // namespace

absl::Status LinearScratch::ReserveQuantized(int64_t rows, int64_t cols, bool wide, bool halves) {
  if (absl::Status status = Grow(quants_, rows * cols); !status.ok()) return status;
  if (wide) {
    if (absl::Status status = Grow(lows_, rows * cols); !status.ok()) return status;
  }
  if (halves) {
    const int64_t bytes = rows * (cols / kQuantBlock) * sizeof(ActivationHalves);
    if (absl::Status status = Grow(halves_, bytes); !status.ok()) return status;
  }
  return Grow(blocks_, rows * (cols / kQuantBlock) * sizeof(ActivationBlock));
}

absl::Status LinearScratch::ReservePanels(int threads, int64_t cols) {
  panel_floats_ = cols * kStripRows;
  return Grow(panels_, threads * panel_floats_ * sizeof(float));
}

QuantizedRows LinearScratch::Quantized(int64_t cols, bool wide, bool halves) const {
  return {cols, quants_.As<int8_t>(), wide ? lows_.As<int8_t>() : nullptr, blocks_.As<ActivationBlock>(),
          halves ? halves_.As<ActivationHalves>() : nullptr};
}

absl::Status Linear(TensorView x, std::span<const LinearLayer> layers, Activations activations, LinearScratch& scratch,
                    ThreadPool& pool) {
  CASCADE_CHECK(x.type == DType::kF32);
  if (x.rows == 0) return absl::OkStatus();
  bool any_quantized = false;
  bool halves = false;  // some weight has scales of half units
  for (const LinearLayer& layer : layers) {
    CASCADE_CHECK(layer.weight->cols() == x.cols && layer.weight->rows() == layer.out.cols);
    CASCADE_CHECK(layer.out.bias == nullptr || !layer.out.accumulate);
    if (!IsQuantized(layer.weight->type())) continue;
    any_quantized = true;
    halves = halves || FormatOf(layer.weight->type()).sub_block < kQuantBlock;
  }
  QuantizedRows quantized;
  if (any_quantized && activations != Activations::kFloat32) {
    const bool wide = activations == Activations::kInt16;
    if (absl::Status status = scratch.ReserveQuantized(x.rows, x.cols, wide, halves); !status.ok()) return status;
    quantized = scratch.Quantized(x.cols, wide, halves);
    QuantizeRows(x.f32(), x.rows, quantized, pool);
  } else if (any_quantized) {
    if (absl::Status status = scratch.ReservePanels(pool.num_threads(), x.cols); !status.ok()) return status;
  }

  const std::vector<Task> tasks = SplitStrips(layers, pool.num_threads());
  const int64_t element_bytes = quantized.quants == nullptr ? sizeof(float) : quantized.lows == nullptr ? 1 : 2;
  const int64_t band = std::max(kMinBandRows, kBandBytes / (x.cols * element_bytes) / kMinBandRows * kMinBandRows);
  const int64_t bands = (x.rows + band - 1) / band;
  const int64_t tasks_per_band = tasks.size();
  pool.ParallelFor(bands * tasks_per_band, [&](int64_t index, int worker) {
    const Task& task = tasks[index % tasks_per_band];
    const int64_t first_row = index / tasks_per_band * band;
    const IndexRange rows{first_row, std::min(first_row + band, x.rows)};
    const PackedWeight& weight = *task.layer->weight;
    if (quantized.quants != nullptr && IsQuantized(weight.type())) {
      MultiplyInteger(weight, task.strips, quantized, rows, task.layer->out);
    } else {
      float* panel = IsQuantized(weight.type()) ? scratch.Panel(worker) : nullptr;
      MultiplyFloat(weight, task.strips, x.f32(), rows, task.layer->out, panel);
    }
  });
  return absl::OkStatus();
}

}  // namespace cascade::kernels
