#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/base/file.h"
#include "engine/model/model_source.h"

namespace cascade {

// A llama model from the bytes of a GGUF file, which it keeps. `name` begins every error; codes as OpenModel's.
absl::StatusOr<std::unique_ptr<ModelSource>> OpenGgufModel(std::unique_ptr<MappedFile> file, const std::string& name);

}  // namespace cascade
