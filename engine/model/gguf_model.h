#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/base/file.h"
#include "engine/model/model_source.h"

namespace cascade {

// A Llama-family model from a GGUF file or, if that is a part of a split one, from all parts; it keeps them mapped.
// Codes as OpenModel's; messages begin with the file that they are about.
absl::StatusOr<std::unique_ptr<ModelSource>> OpenGgufModel(FileSystem& files, const std::string& path);

}  // namespace cascade
