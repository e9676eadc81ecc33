// Ops: checks, then the call of the op's own file.
#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/append_kv.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/embed.h"
#include "kernels/cuda/gather_rows.h"
#include "kernels/cuda/host_convert.h"
#include "kernels/cuda/rms_norm.h"
#include "kernels/cuda/score_targets.h"
#include "kernels/cuda/silu_mul.h"

namespace cascade::kernels::cuda {

const DeviceWeight& CudaBackend::Weight(WeightId id) const {
  const size_t index = static_cast<size_t>(id);
  CASCADE_CHECK(index < weights_.size());
  return weights_[index];
}

const float* CudaBackend::Gain(WeightId id, int64_t cols) const {
  const DeviceWeight& gain = Weight(id);
  CASCADE_CHECK(gain.rows == 1 && gain.cols == cols && gain.dense_row != nullptr);
  return gain.dense_row;
}

std::vector<LinearCall> CudaBackend::Calls(TensorView x, std::span<const LinearTarget> targets) const {
  std::vector<LinearCall> calls;
  for (const LinearTarget& target : targets) {
    const DeviceWeight& weight = Weight(target.weight);
    CASCADE_CHECK(target.out.rows == x.rows && weight.cols == x.cols && weight.rows == target.out.cols);
    CASCADE_CHECK(!target.accumulate || (target.out.type == DType::kF32 && !target.bias));
    calls.push_back({&weight, target.out, target.accumulate, target.bias ? Gain(*target.bias, weight.rows) : nullptr});
  }
  return calls;
}

void CudaBackend::Embed(WeightId table, TensorView out) {
  CASCADE_CHECK(out.type == DType::kF32 && out.cols == Weight(table).cols);
  const StepTables& tables = Tables();
  cuda::Embed(*stream_, Weight(table), tables.ids, out.Rows(std::min<int64_t>(out.rows, table_rows_)));
}

void CudaBackend::RmsNorm(TensorView x, WeightId gain, float eps, TensorView out) {
  CASCADE_CHECK(x.rows == out.rows && x.cols == out.cols);
  cuda::RmsNorm(*stream_, x, Gain(gain, x.cols), eps, out);
}

void CudaBackend::Linear(TensorView x, std::span<const LinearTarget> targets) {
  linear_->Linear(*stream_, x, Calls(x, targets));
}

void CudaBackend::NormLinear(TensorView x, WeightId gain, float eps, TensorView h,
                             std::span<const LinearTarget> targets) {
  CASCADE_CHECK(x.rows == h.rows && x.cols == h.cols);
  linear_->NormLinear(*stream_, x, Gain(gain, x.cols), eps, h, Calls(h, targets));
}

void CudaBackend::GatedNormLinear(TensorView x, WeightId gain, float eps, TensorView h, WeightId gate_weight,
                                  WeightId up_weight, TensorView gate, TensorView up) {
  CASCADE_CHECK(x.rows == h.rows && x.cols == h.cols && gate.rows == x.rows && up.rows == x.rows &&
                gate.cols == up.cols);
  linear_->GatedNormLinear(*stream_, x, Gain(gain, x.cols), eps, h, Weight(gate_weight), Weight(up_weight), gate, up);
}

void CudaBackend::SiluMul(TensorView gate, TensorView up) {
  CASCADE_CHECK(gate.rows == up.rows && gate.cols == up.cols && gate.type == up.type);
  cuda::SiluMul(*stream_, gate, up);
}

int CudaBackend::DecodeSlices() const {
  if (options_.deterministic) return 0;
  return upload_->one_row_slices() + (table_slices_ - upload_->num_slices());  // padding has one row each
}

void CudaBackend::AppendKv(int layer, TensorView k, TensorView v) {
  const StepTables& tables = Tables();
  cuda::AppendKv(*stream_, pool_, tables, 0, table_slices_, 0, table_rows_, layer, k, v);
}

void CudaBackend::Attend(int layer, TensorView q, TensorView out) {
  const StepTables& tables = Tables();
  prefill_attention_->Attend(*stream_, pool_, tables, 0, upload_->host_slices(table_slices_), layer, q, out);
}

void CudaBackend::AppendAndAttend(int layer, TensorView q, TensorView k, TensorView v, TensorView out) {
  const StepTables& tables = Tables();
  const int decode = DecodeSlices();
  if (decode > 0) decode_attention_->AppendAndAttend(*stream_, pool_, tables, decode, layer, q, k, v, out);
  if (decode == table_slices_) return;
  const int num_slices = table_slices_ - decode;
  cuda::AppendKv(*stream_, pool_, tables, decode, num_slices, decode, table_rows_ - decode, layer, k, v);
  prefill_attention_->Attend(*stream_, pool_, tables, decode,
                             upload_->host_slices(table_slices_).subspan(static_cast<size_t>(decode)), layer, q, out);
}

void CudaBackend::CloseStrides(std::span<const Close> closes) {
  if (closes.empty()) return;
  std::vector<int32_t> slices;
  for (const Close& close : closes) {
    CASCADE_CHECK(close.slot >= 0 && close.slot < num_slots_);
    slices.push_back(step_open_ ? upload_->SliceOf(close.slot) : -1);
  }
  if (step_open_) Tables();
  AddPendingScores();
  closer_->Close(*stream_, *buffer().staging, pool_, tables_, closes, slices);
}

Staging& CudaBackend::RoomFor(size_t bytes) {
  Staging& staging = *buffer().staging;
  if (staging.room() < bytes + 64) {
    stream_->Synchronize("staging");
    staging.Reset();
  }
  return staging;
}

void* CudaBackend::TakeResult(void* host, size_t bytes) {
  Buffer& mine = buffer();
  const size_t at = mine.results_used;
  CASCADE_CHECK(at + bytes <= results_bytes() - static_cast<size_t>(max_rows_) * sizeof(int32_t));
  mine.results_used = (at + bytes + 15) / 16 * 16;
  mine.host_results.push_back({mine.results + at, host, bytes});
  return mine.results + at;
}

void CudaBackend::GatherRows(TensorView x, std::span<const int32_t> rows, TensorView out) {
  CASCADE_CHECK(x.type == out.type && x.cols == out.cols && out.rows == static_cast<int64_t>(rows.size()));
  for (const int32_t row : rows) CASCADE_CHECK(row >= 0 && row < x.rows);
  const int32_t* device_rows = RoomFor(rows.size_bytes()).Upload(*stream_, "GatherRows", rows);
  cuda::GatherRows(*stream_, x, device_rows, out);
}

void CudaBackend::ScoreTargets(TensorView logits, std::span<const int32_t> targets, std::span<TokenScore> scores) {
  CASCADE_CHECK(logits.type == DType::kF32 && logits.rows == static_cast<int64_t>(targets.size()));
  CASCADE_CHECK(targets.size() == scores.size() && logits.cols >= 1);
  CASCADE_CHECK(scores_ != nullptr && logits.rows <= max_rows_);
  for (const int32_t target : targets) CASCADE_CHECK(target < logits.cols);
  const int32_t* device_targets = RoomFor(targets.size_bytes()).Upload(*stream_, "ScoreTargets", targets);
  cuda::ScoreTargets(*stream_, logits, device_targets, scores_);
  stream_->CopyToHost("ScoreTargets", TakeResult(scores.data(), scores.size_bytes()), scores_, scores.size_bytes());
}

void CudaBackend::Sample(TensorView logits, int vocabulary, int first) {
  CASCADE_CHECK(logits.type == DType::kF32 && vocabulary >= 1 && vocabulary <= logits.cols && first >= 0);
  Tables();
  const int64_t rows = std::min<int64_t>(logits.rows, upload_->sample_rows(table_rows_) - first);
  if (rows <= 0) return;
  cuda::Sample(*stream_, logits.Rows(rows), vocabulary, upload_->samples() + first, upload_->sample_live() + first,
               sample_state_, sampled_ + first);
}

void CudaBackend::CopyToHost(TensorView x, std::span<float> host) {
  CASCADE_CHECK(static_cast<int64_t>(host.size()) == x.rows * x.cols);
  if (x.type == DType::kF32) {
    stream_->CopyToHost("CopyToHost", host.data(), x.data, host.size_bytes());
    return;
  }
  std::vector<uint16_t> narrow(host.size());
  stream_->CopyToHost("CopyToHost", narrow.data(), x.data, narrow.size() * sizeof(uint16_t));
  stream_->Synchronize("CopyToHost");
  WidenToFloat(x.type, narrow, host);
}

void CudaBackend::CopyFromHost(std::span<const float> host, TensorView x) {
  CASCADE_CHECK(static_cast<int64_t>(host.size()) == x.rows * x.cols);
  if (x.type == DType::kF32) {
    stream_->CopyToDevice("CopyFromHost", x.data, host.data(), host.size_bytes());
  } else {
    std::vector<uint16_t> narrow(host.size());
    NarrowFromFloat(x.type, host, narrow);
    stream_->CopyToDevice("CopyFromHost", x.data, narrow.data(), narrow.size() * sizeof(uint16_t));
  }
  stream_->Synchronize("CopyFromHost");
}

}  // namespace cascade::kernels::cuda
