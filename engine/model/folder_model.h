#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/base/file.h"
#include "engine/model/model_source.h"

namespace cascade {

// A model from a folder as Hugging Face lays it out: config.json, safetensors, tokenizer files. The folder's path
// begins every error; codes as OpenModel's.
absl::StatusOr<std::unique_ptr<ModelSource>> OpenFolderModel(const std::string& path);

// The same without a look at the folder itself: `folder` comes before "/config.json" and the others in `files`.
absl::StatusOr<std::unique_ptr<ModelSource>> OpenFolderModel(FileSystem& files, const std::string& folder);

}  // namespace cascade
