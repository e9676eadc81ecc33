#include "engine/model/folder_weights.h"

#include <span>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/model/folder_listing.h"
#include "engine/model/gguf.h"
#include "engine/model/json_text.h"

namespace cascade {
namespace {

using Json = nlohmann::json;

constexpr char kSingle[] = "model.safetensors";
constexpr char kIndex[] = "model.safetensors.index.json";
// A line of some hundred bytes for each tensor: the largest models' have less than a megabyte. What is read from JSON
// takes about thirty times its bytes at worst.
constexpr size_t kMaxIndexBytes = 10'000'000;

// Opens one more file.
absl::Status Add(FileSystem& files, const std::string& folder, const std::string& file, FolderWeights& weights) {
  const std::string path = absl::StrCat(folder, "/", file);
  absl::StatusOr<std::unique_ptr<MappedFile>> mapped = files.Map(path);
  if (!mapped.ok()) return mapped.status();
  absl::StatusOr<SafetensorsFile> parsed = ParseSafetensors((*mapped)->bytes(), path);
  if (!parsed.ok()) return parsed.status();
  for (auto& [name, tensor] : *parsed) {
    const auto [it, is_new] = weights.tensors.try_emplace(name, FolderTensor{weights.files.size(), std::move(tensor)});
    if (!is_new) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor ", Quoted(name), ": is also in ", weights.paths[it->second.file]));
    }
  }
  weights.files.push_back(*std::move(mapped));
  weights.paths.push_back(path);
  return absl::OkStatus();
}

// Names of files beside the index only: a path would reach whatever its author likes.
bool IsPlainName(std::string_view name) {
  constexpr size_t kMaxNameBytes = 255;
  return !name.empty() && name.size() <= kMaxNameBytes && name != "." && name != ".." &&
         name.find('/') == std::string_view::npos && name.find('\\') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

absl::Status AddShards(FileSystem& files, const std::string& folder, std::span<const uint8_t> bytes,
                       FolderWeights& weights) {
  const std::string index = absl::StrCat(folder, "/", kIndex);
  absl::StatusOr<Json> json =
      ParseJsonObject({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, kMaxIndexBytes, index);
  if (!json.ok()) return json.status();
  const auto map = json->find("weight_map");
  if (map == json->end() || !map->is_object() || map->empty()) {
    return absl::InvalidArgumentError(absl::StrCat(index, ": key 'weight_map': found ",
                                                   map == json->end() ? "nothing" : Description(*map),
                                                   ", expected an object of tensors and their shards"));
  }
  std::map<std::string, size_t> shards;  // file name to its place in weights.files
  for (const auto& [tensor, value] : map->items()) {
    const std::string* const shard = value.get_ptr<const std::string*>();
    if (shard == nullptr || !IsPlainName(*shard)) {
      return absl::InvalidArgumentError(absl::StrCat(index, ": tensor ", Quoted(tensor), ": found ", Description(value),
                                                     ", expected the name of a file in the folder"));
    }
    const auto [it, is_new] = shards.try_emplace(*shard, 0);
    if (!is_new) continue;
    it->second = weights.files.size();
    absl::Status status = Add(files, folder, *shard, weights);
    if (absl::IsNotFound(status)) {
      return absl::NotFoundError(absl::StrCat(folder, "/", Quoted(*shard), ": missing; ", kIndex,
                                              " says that the tensor ", Quoted(tensor), " is in it"));
    }
    if (!status.ok()) return status;
  }
  for (const auto& [tensor, value] : map->items()) {
    const auto it = weights.tensors.find(tensor);
    if (it == weights.tensors.end() || it->second.file != shards[*value.get_ptr<const std::string*>()]) {
      return absl::InvalidArgumentError(absl::StrCat(index, ": tensor ", Quoted(tensor), ": is not in its shard ",
                                                     Description(value),
                                                     it == weights.tensors.end() ? "" : ", but in another"));
    }
  }
  for (const auto& [name, tensor] : weights.tensors) {
    if (!map->contains(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat(weights.paths[tensor.file], ": tensor ", Quoted(name), ": is not in ", kIndex));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FolderWeights> OpenFolderWeights(FileSystem& files, const std::string& folder) {
  FolderWeights weights;
  absl::Status status = Add(files, folder, kSingle, weights);
  if (!absl::IsNotFound(status)) {
    if (!status.ok()) return status;
    return weights;
  }
  absl::StatusOr<std::unique_ptr<MappedFile>> index = files.Map(absl::StrCat(folder, "/", kIndex));
  if (absl::IsNotFound(index.status())) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, "/", kSingle, ": missing, as is ", kIndex, WhatElse(folder)));
  }
  if (!index.ok()) return index.status();
  weights.sharded = true;
  if (absl::Status added = AddShards(files, folder, (*index)->bytes(), weights); !added.ok()) return added;
  return weights;
}

}  // namespace cascade
