// The files of one GGUF model: one, or the parts of a split one, by llama.cpp's convention: NAME-00001-of-00003.gguf
// with the keys split.no (from 0), split.count and split.tensors.count (of all parts); the first part has the model's
// keys, the others only tensors.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/file.h"
#include "engine/model/gguf.h"

namespace cascade {

struct GgufPart {
  std::string path;  // begins every error about this part
  std::unique_ptr<MappedFile> file;
};

struct GgufParts {
  std::vector<GgufPart> parts;
  // Keys of the first part, tensors of all parts in the parts' order. Points into the files.
  GgufFile whole;

  // The part that has these bytes of a tensor.
  const GgufPart& PartOf(std::span<const uint8_t> bytes) const;
};

// Opens and parses the file and, if it is a part, all others. Codes as ParseGguf's and FileSystem::Map's; every message
// begins with the file that it is about. INVALID_ARGUMENT also: parts that do not fit together.
absl::StatusOr<GgufParts> OpenGgufParts(FileSystem& files, const std::string& path);

}  // namespace cascade
