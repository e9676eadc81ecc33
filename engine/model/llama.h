// The forward pass of a Llama-family model over sessions' cascading caches: a list of op calls, no arithmetic.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/cache/cascade_geometry.h"
#include "engine/model/model_source.h"
#include "kernels/backend.h"

namespace cascade {

// One step's input. Rows are grouped by slice; slices of one row come first.
struct ForwardBatch {
  std::vector<int32_t> ids;                     // [rows]: in the model's vocabulary, or kernels::kSampledId
  std::vector<kernels::Slice> slices;           // cover the rows
  std::vector<int32_t> sample_rows;             // rows after which the next id is chosen
  std::vector<kernels::SampleRequest> samples;  // [sample_rows]
  int vocabulary = 0;                           // ids below it may be chosen
  std::vector<int32_t> score_rows;              // rows to be scored against score_targets
  std::vector<int32_t> score_targets;           // [score_rows]
  std::vector<int32_t> logit_rows;              // rows whose logits the host wants
  std::vector<kernels::Close> closes;           // strides that are full after this step
};

struct ForwardResult {
  std::vector<int32_t> sampled;             // [sample_rows]; kernels::kNoId: logits that are not finite, or a dead row
  std::vector<kernels::TokenScore> scores;  // [score_rows]
  // [logit_rows, the model's vocabulary]; the model's memory, until the next Collect.
  std::span<const float> logits;
  kernels::ScoreCertificates certificates;
};

// What the engine needs of a model; the real one is Llama, tests script their own. One thread.
class Model {
 public:
  virtual ~Model() = default;
  virtual int vocabulary() const = 0;
  // Ids that end a reply: rows fed with one of them as kSampledId are dead (kernels/backend.h). Before the first step.
  virtual void SetEndIds(std::span<const int32_t> ids) = 0;

  // Steps that may be launched and not yet collected. With 1 no id may be kSampledId.
  virtual int max_steps_in_flight() const = 0;
  // Begins a step, after those launched before. `batch` may go when it returns. An error: it was not launched.
  virtual absl::Status Launch(const ForwardBatch& batch) = 0;
  // Waits for the oldest step that was launched. An error leaves the slots of its batch undefined but those of dead
  // rows, and no other; DATA_LOSS: the device is lost, with all slots.
  virtual absl::Status Collect(ForwardResult& result) = 0;
  // One step, where none is in flight.
  absl::Status Forward(const ForwardBatch& batch, ForwardResult& result);

  virtual void ClearSlot(int slot) = 0;
  // kernels/backend.h says what these do.
  virtual absl::Status CopySlot(int from, int to) = 0;
  virtual std::string SlotLayout() const = 0;
  virtual size_t SlotBytes(kernels::SlotPart part) const = 0;
  virtual absl::StatusOr<std::unique_ptr<kernels::HostMemory>> AllocateHost(size_t bytes) = 0;
  virtual std::unique_ptr<kernels::SlotCopy> ReadSlot(int slot, kernels::SlotPart part, std::span<std::byte> host) = 0;
  virtual std::unique_ptr<kernels::SlotCopy> WriteSlot(int slot, kernels::SlotPart part,
                                                       std::span<const std::byte> host) = 0;
  virtual absl::StatusOr<kernels::HeadContents> ReadHead(int slot, int layer, int kv_head) = 0;
};

// MakeGeometry within this model's context; an error says where the context is that of an attention window.
absl::StatusOr<CascadeGeometry> MakeModelGeometry(const GeometryOptions& options, const ModelConfig& config);

// What a cache slot of this model costs and looks like.
kernels::CacheShape MakeCacheShape(const ModelConfig& config, const CascadeGeometry& geometry, kernels::DType kv_type);

// Owns the weights on the backend and the activations. Used by the engine thread.
class Llama final : public Model {
 public:
  // Loads the weights and allocates activations for `max_rows` rows, the most that a step may have. `backend` must
  // outlive it. Before the first step CreateCaches must be called, once.
  // `progress` (may be null) is told the bytes of the weights loaded so far, weight by weight.
  static absl::StatusOr<std::unique_ptr<Llama>> Load(const ModelSource& source, int max_rows, kernels::Backend& backend,
                                                     const std::function<void(int64_t)>& progress = nullptr);
  absl::Status CreateCaches(const CascadeGeometry& geometry, kernels::DType kv_type, int num_slots);
  // Both.
  static absl::StatusOr<std::unique_ptr<Llama>> Create(const ModelSource& source, const CascadeGeometry& geometry,
                                                       kernels::DType kv_type, int num_slots, int max_rows,
                                                       kernels::Backend& backend);

  ~Llama() override;

  // Where steps are recorded: records every step of up to `max_seqs` decoding sessions (no more than there are slots),
  // and reads a stride, so that nothing is allocated or loaded when somebody waits. After SetEndIds, before the first
  // step; the slots are empty again. `vocabulary`: of the steps to come.
  absl::Status WarmUp(const CascadeGeometry& geometry, int max_seqs, int vocabulary);

  int vocabulary() const override;
  void SetEndIds(std::span<const int32_t> ids) override;
  int max_steps_in_flight() const override;
  absl::Status Launch(const ForwardBatch& batch) override;
  absl::Status Collect(ForwardResult& result) override;
  void ClearSlot(int slot) override;
  absl::Status CopySlot(int from, int to) override;
  std::string SlotLayout() const override;
  size_t SlotBytes(kernels::SlotPart part) const override;
  absl::StatusOr<std::unique_ptr<kernels::HostMemory>> AllocateHost(size_t bytes) override;
  std::unique_ptr<kernels::SlotCopy> ReadSlot(int slot, kernels::SlotPart part, std::span<std::byte> host) override;
  std::unique_ptr<kernels::SlotCopy> WriteSlot(int slot, kernels::SlotPart part,
                                               std::span<const std::byte> host) override;
  absl::StatusOr<kernels::HeadContents> ReadHead(int slot, int layer, int kv_head) override;

 private:
  struct Layer;
  struct Weights;
  struct Activations;
  Llama(const ModelConfig& config, kernels::Backend& backend);

  // All layers over the first `rows` rows: ids to the residual stream.
  void RunLayers(int64_t rows);
  // Logits of `x`, rows of the residual stream: at most as many as the buffer has.
  kernels::TensorView LogitsOf(kernels::TensorView x);
  // A step's results from the residual stream.
  void RunOutputs(const ForwardBatch& batch, std::span<float> host_logits, ForwardResult& result);
  // The same for a recorded step: every row is sampled from.
  void SampleAll(int64_t rows, int vocabulary);
  int64_t max_rows() const;  // of a step
  // The rows that a step of so many is padded to so that its ops are the same as of others.
  int RecordedRows(int64_t rows) const;
  // That, or -1: not to be recorded.
  int RecordingOf(const ForwardBatch& batch) const;
  // Host memory for the logits of a step that is about to be launched, which no step in flight uses.
  absl::StatusOr<std::span<float>> LogitsPlace(size_t rows);

  ModelConfig config_;
  kernels::Backend& backend_;
  std::unique_ptr<Weights> weights_;
  std::unique_ptr<Activations> activations_;
  // Of steps in flight, oldest first. The backend writes into them: elements stay where they are.
  std::deque<ForwardResult> results_;
  // Logits on the host, by turns: of the steps in flight, and of the one collected last. Made when somebody asks.
  std::vector<std::unique_ptr<kernels::HostMemory>> logits_places_;
  size_t next_logits_place_ = 0;
  int recorded_vocabulary_ = 0;  // 0: nothing is recorded yet
  std::vector<int32_t> end_ids_;
};

}  // namespace cascade
