// OpenModel: which kind of model a path is.
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "engine/base/file.h"
#include "engine/model/folder_model.h"
#include "engine/model/gguf_model.h"
#include "engine/model/model_source.h"
#include "engine/model/random_model.h"

namespace cascade {
namespace {

std::string_view Beginning(std::span<const uint8_t> bytes, size_t count) {
  return {reinterpret_cast<const char*>(bytes.data()), std::min(count, bytes.size())};
}

bool BeginsWith(std::span<const uint8_t> bytes, std::string_view text) { return Beginning(bytes, text.size()) == text; }

// A length, then JSON of that length.
bool IsSafetensors(std::span<const uint8_t> bytes) {
  uint64_t length = 0;
  if (bytes.size() < sizeof length + 2) return false;
  std::memcpy(&length, bytes.data(), sizeof length);
  return length >= 2 && length <= bytes.size() - sizeof length && bytes[sizeof length] == '{';
}

// What people give by mistake, in words; "" if it is nothing that we know.
std::string Foreign(std::span<const uint8_t> bytes) {
  if (BeginsWith(bytes, "GGUF")) return "";
  if (IsSafetensors(bytes)) {
    return "a single safetensors file, expected the folder that has it together with config.json and the tokenizer";
  }
  if (BeginsWith(bytes, "PK\x03\x04") || BeginsWith(bytes, "\x80\x02")) {
    return "a PyTorch checkpoint, expected GGUF or a folder with safetensors";
  }
  for (const std::string_view magic : {"lmgg", "fmgg", "tjgg", "algg"}) {
    if (BeginsWith(bytes, magic)) return "a GGML file, older than GGUF; expected GGUF version 2 or 3";
  }
  if (BeginsWith(bytes, "version https://git-lfs")) {
    return "a Git LFS pointer: the file itself has not been fetched";
  }
  return "";
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelSource>> OpenModel(const std::string& path, RandomWeights random) {
  if (IsRandomModel(path)) return OpenRandomModel(path, random);
  FileSystem& files = FileSystem::Real();
  std::error_code ignored;  // a path that cannot be looked at is Map's to explain
  if (std::filesystem::is_directory(path, ignored)) return OpenFolderModel(path);
  {
    const absl::StatusOr<std::unique_ptr<MappedFile>> file = files.Map(path);
    if (!file.ok()) return file.status();
    if (const std::string found = Foreign((*file)->bytes()); !found.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": not a GGUF file: ", found));
    }
  }
  return OpenGgufModel(files, path);
}

}  // namespace cascade
