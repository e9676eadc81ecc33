#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/model/model_config.h"
#include "engine/text/vocabulary.h"
#include "kernels/backend.h"

namespace cascade {

// An opened model file: everything but arithmetic. Checked as a whole when opened: every weight of the architecture is
// there with the right shape and a supported type, and lies inside the file. Immutable; any thread may call.
class ModelSource {
 public:
  virtual ~ModelSource() = default;
  virtual const ModelConfig& config() const = 0;
  virtual const Vocabulary& vocabulary() const = 0;
  virtual const std::string& chat_template() const = 0;  // Jinja text; "" if the file has none
  // By GGUF name ("blk.0.attn_q.weight"). Points into the mapped file and lives as long as the source. NOT_FOUND.
  virtual absl::StatusOr<kernels::HostWeight> FindWeight(std::string_view name) const = 0;
};

// Opens a .gguf file. NOT_FOUND: no such file. INVALID_ARGUMENT / DATA_LOSS: names the file, the key or tensor, what was
// found and what was expected. UNIMPLEMENTED: an architecture or tensor type that is not known, by name.
absl::StatusOr<std::unique_ptr<ModelSource>> OpenModel(const std::string& path);

}  // namespace cascade
