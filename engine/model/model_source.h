#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/model_config.h"
#include "engine/text/vocabulary.h"
#include "kernels/backend.h"

namespace cascade {

// A tensor as its file describes it.
struct TensorSummary {
  std::string name;
  kernels::DType type = kernels::DType::kF32;
  std::vector<int64_t> shape;  // outermost first
  int64_t bytes = 0;
};

// An opened model file: everything but arithmetic. Checked as a whole when opened: every weight of the architecture is
// there with the right shape and a supported type, and lies inside the file. Immutable; any thread may call.
class ModelSource {
 public:
  virtual ~ModelSource() = default;
  virtual const ModelConfig& config() const = 0;
  virtual const Vocabulary& vocabulary() const = 0;
  virtual const std::string& chat_template() const = 0;  // Jinja text; "" if the file has none
  virtual const std::string& format() const = 0;         // "GGUF v3", "GGUF v3, 4 parts", "safetensors, 2 shards"
  // Every tensor of the file(s) in their order, by its name there.
  virtual std::vector<TensorSummary> Tensors() const = 0;
  // By GGUF name ("blk.0.attn_q.weight", "blk.0.attn_q.bias"), whatever the file's own names. Points into the mapped
  // file and lives as long as the source. NOT_FOUND.
  virtual absl::StatusOr<kernels::HostWeight> FindWeight(std::string_view name) const = 0;
  // Hints to whoever copies the weights, one after the other: this one is read next; this one has been read and its
  // pages may leave memory (it reads the same afterwards). Both may do nothing.
  virtual void PrefetchWeight(std::string_view name) const { static_cast<void>(name); }
  virtual void ReleaseWeight(std::string_view name) const { static_cast<void>(name); }
};

// Where the weights of a random model are made: FindWeight makes their data, or leaves them without.
enum class RandomWeights : uint8_t { kInHost, kOnDevice };

// Opens a .gguf file (any part of a split one; the others are found beside it), a folder with config.json and
// safetensors, or a random model (engine/model/random_model.h). NOT_FOUND: no such file. INVALID_ARGUMENT / DATA_LOSS: names the file, the key or tensor, what was
// found and what was expected. UNIMPLEMENTED: an architecture or tensor type that is not known, by name.
absl::StatusOr<std::unique_ptr<ModelSource>> OpenModel(const std::string& path,
                                                        RandomWeights random = RandomWeights::kInHost);

}  // namespace cascade
