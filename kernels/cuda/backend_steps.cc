// Steps: from their announcement to what they leave on the host.
#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/base/check.h"
#include "kernels/cuda/backend.h"

namespace cascade::kernels::cuda {

void CudaBackend::BeginStep(const StepInput& input) {
  CASCADE_CHECK(upload_ != nullptr && !step_open_ && static_cast<int>(pending_.size()) < kStepsInFlight);
  buffer_ = (buffer_ + 1) % static_cast<int>(buffers_.size());
  Buffer& mine = buffer();
  mine.staging->Reset();
  mine.results_used = 0;
  mine.host_results.clear();
  upload_->Pack(buffer_, input, num_slots_, options_.deterministic);
  num_samples_ = static_cast<int>(input.samples.size());
  CASCADE_CHECK(num_samples_ <= max_rows_);
  step_open_ = true;
  tables_ready_ = false;
}

void CudaBackend::Upload(int rows) {
  table_rows_ = rows;
  table_slices_ = std::max(rows - upload_->num_rows() + upload_->num_slices(), upload_->num_slices());
  trace_.Begin(*stream_);
  tables_ = upload_->Upload(*stream_, buffer_, table_slices_, table_rows_);
}

bool CudaBackend::BeginOps(int recording) {
  CASCADE_CHECK(step_open_);
  const bool record = recording >= 0 && !stream_->failed();
  if (record) {
    CASCADE_CHECK(recording >= upload_->num_rows() && recording <= max_rows_);
    CASCADE_CHECK(options_.deterministic || upload_->one_row_slices() == upload_->num_rows());
  }
  Upload(record ? recording : upload_->num_rows());
  tables_ready_ = true;
  if (record && graphs_.Replay(*stream_, recording)) return false;
  if (record) graphs_.BeginRecording(*stream_, recording);
  upload_->Prepare(*stream_, pool_, sample_state_, table_slices_, table_rows_);
  return true;
}

void CudaBackend::EndOps() {
  AddPendingScores();
  graphs_.EndRecording(*stream_);
}

void CudaBackend::AddPendingScores() {
  if (decode_attention_ != nullptr) decode_attention_->AddPendingScores(*stream_);
}

const StepTables& CudaBackend::Tables() {
  CASCADE_CHECK(step_open_);
  if (!tables_ready_) {
    BeginOps(-1);
    // A kernel may read the tables before it waits for the one before it (attention_decode.h): that must not be the one
    // that fills them.
    stream_->Synchronize("step tables");
  }
  return tables_;
}

void CudaBackend::CopyCertificates() {
  StrideAttention* attention = prefill_attention_ != nullptr ? prefill_attention_->stride_attention() : nullptr;
  if (attention == nullptr || !attention->HasCertificates()) return;
  ScoreCertificates* host = &buffer().certificates;
  attention->TakeCertificates(*stream_, static_cast<ScoreCertificates*>(TakeResult(host, sizeof(*host))));
}

void CudaBackend::TakeResults(Buffer& buffer) {
  for (const HostResult& result : buffer.host_results) std::memcpy(result.host, result.pinned, result.bytes);
  buffer.host_results.clear();
  const ScoreCertificates step = std::exchange(buffer.certificates, {});
  certificates_.heads += step.heads;
  certificates_.rejected += step.rejected;
  certificates_.worst = std::max(certificates_.worst, step.worst);
}

void CudaBackend::EndStep() {
  CASCADE_CHECK(step_open_);
  AddPendingScores();
  CopyCertificates();
  Buffer& mine = buffer();
  const size_t bytes = static_cast<size_t>(num_samples_) * sizeof(int32_t);
  stream_->CopyToHost("Sample", mine.results + results_bytes() - bytes, sampled_, bytes);
  trace_.End(*stream_);
  stream_->Check("step", cudaEventRecord(mine.done, stream_->get()));
  pending_.push_back({buffer_, num_samples_, stream_->TakeError()});
  step_open_ = false;
}

absl::Status CudaBackend::WaitStep(std::vector<int32_t>& sampled) {
  CASCADE_CHECK(!pending_.empty());
  const PendingStep step = std::move(pending_.front());
  pending_.pop_front();
  Buffer& its = buffers_[static_cast<size_t>(step.buffer)];
  absl::Status status = step.error;
  if (status.ok()) {
    stream_->Check("step", cudaEventSynchronize(its.done));
    status = stream_->TakeError();
  } else {
    stream_->Synchronize("step");
  }
  sampled.assign(static_cast<size_t>(step.num_samples), kNoId);
  if (status.ok()) trace_.Collect(*stream_);
  if (!status.ok()) return status;
  if (!sampled.empty()) {
    std::memcpy(sampled.data(), its.results + results_bytes() - sampled.size() * sizeof(int32_t),
                sampled.size() * sizeof(int32_t));
  }
  TakeResults(its);
  return absl::OkStatus();
}

absl::Status CudaBackend::Finish() {
  absl::Status status;
  std::vector<int32_t> ignored;
  if (step_open_) EndStep();
  while (!pending_.empty()) status.Update(WaitStep(ignored));
  stream_->Synchronize("Finish");
  status.Update(stream_->TakeError());
  if (status.ok()) TakeResults(buffer());
  buffer().host_results.clear();
  buffer().results_used = 0;
  return status;
}

}  // namespace cascade::kernels::cuda
