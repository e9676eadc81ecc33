// The forward pass of a Llama-family model over sessions' cascading caches: a list of op calls, no arithmetic.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/cache/cascade_geometry.h"
#include "engine/model/model_source.h"
#include "kernels/backend.h"

namespace cascade {

// One step's input. Rows are grouped by slice, slices in any order.
struct ForwardBatch {
  std::vector<int32_t> ids;                // [rows]
  std::vector<kernels::Slice> slices;      // cover the rows
  std::vector<int32_t> logit_rows;         // rows whose logits the host wants
  std::vector<int32_t> score_rows;         // rows to be scored against score_targets
  std::vector<int32_t> score_targets;      // [score_rows]
  std::vector<kernels::Close> closes;      // strides that are full after this step
};

struct ForwardResult {
  std::vector<float> logits;               // [logit_rows, vocabulary]
  std::vector<kernels::TokenScore> scores; // [score_rows]
};

// What the engine needs of a model; the real one is Llama, tests script their own.
class Model {
 public:
  virtual ~Model() = default;
  virtual int vocabulary() const = 0;
  // Runs one step and waits for it. An error leaves the slots of the batch's sessions undefined, and no other.
  virtual absl::Status Forward(const ForwardBatch& batch, ForwardResult& result) = 0;
  virtual void ClearSlot(int slot) = 0;
  virtual absl::StatusOr<kernels::HeadContents> ReadHead(int slot, int layer, int kv_head) = 0;
};

// MakeGeometry within this model's context; an error says where the context is that of an attention window.
absl::StatusOr<CascadeGeometry> MakeModelGeometry(const GeometryOptions& options, const ModelConfig& config);

// What a cache slot of this model costs and looks like.
kernels::CacheShape MakeCacheShape(const ModelConfig& config, const CascadeGeometry& geometry, kernels::DType kv_type);

// Owns the weights on the backend and the activations. Used by the engine thread.
class Llama final : public Model {
 public:
  // Loads the weights and creates the caches. `max_rows` bounds the rows of a step. `backend` must outlive it.
  static absl::StatusOr<std::unique_ptr<Llama>> Create(const ModelSource& source, const CascadeGeometry& geometry,
                                                       kernels::DType kv_type, int num_slots, int max_rows,
                                                       kernels::Backend& backend);

  ~Llama() override;

  int vocabulary() const override;
  absl::Status Forward(const ForwardBatch& batch, ForwardResult& result) override;
  void ClearSlot(int slot) override;
  absl::StatusOr<kernels::HeadContents> ReadHead(int slot, int layer, int kv_head) override;

 private:
  struct Layer;
  struct Weights;
  struct Activations;
  Llama(const ModelConfig& config, kernels::Backend& backend);

  ModelConfig config_;
  kernels::Backend& backend_;
  std::unique_ptr<Weights> weights_;
  std::unique_ptr<Activations> activations_;
};

}  // namespace cascade
