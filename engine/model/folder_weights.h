// The safetensors files of a Hugging Face folder: model.safetensors, or the shards of model.safetensors.index.json.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/file.h"
#include "engine/model/safetensors.h"

namespace cascade {

struct FolderTensor {
  size_t file = 0;  // of FolderWeights::files
  SafetensorsTensor tensor;
  bool used = false;  // it is a weight of the architecture
};

struct FolderWeights {
  std::vector<std::unique_ptr<MappedFile>> files;
  std::vector<std::string> paths;               // as many
  bool sharded = false;                         // there is an index
  std::map<std::string, FolderTensor> tensors;  // point into the files
};

// Opens and checks all files. INVALID_ARGUMENT names what lies in the folder instead (pickles, a .gguf, other
// safetensors), or what the index and the shards disagree on; NOT_FOUND: a shard that is missing; else
// ParseSafetensors'.
absl::StatusOr<FolderWeights> OpenFolderWeights(FileSystem& files, const std::string& folder);

}  // namespace cascade
