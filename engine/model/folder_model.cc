#include "engine/model/folder_model.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/file.h"
#include "engine/model/folder_config.h"
#include "engine/model/folder_listing.h"
#include "engine/model/folder_weights.h"
#include "engine/model/gguf.h"
#include "engine/model/model_name.h"
#include "engine/model/model_weights.h"
#include "engine/model/tokenizer_files.h"
#include "engine/model/weight_names.h"

namespace cascade {
namespace {

using kernels::HostWeight;

constexpr char kTable[] = "model.embed_tokens.weight";
constexpr char kOutput[] = "lm_head.weight";

// Every file of a folder is mapped through it: a pointer in a file's place would be damage of some other sort each time.
class FetchedFiles final : public FileSystem {
 public:
  explicit FetchedFiles(FileSystem& files) : files_(files) {}

  absl::StatusOr<std::unique_ptr<MappedFile>> Map(const std::string& path) override {
    constexpr std::string_view kPointer = "version https://git-lfs";
    absl::StatusOr<std::unique_ptr<MappedFile>> file = files_.Map(path);
    if (!file.ok()) return file;
    const std::span<const uint8_t> bytes = (*file)->bytes();
    if (std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()).starts_with(kPointer)) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": is a Git LFS pointer; fetch the file itself with git lfs pull"));
    }
    return file;
  }

 private:
  FileSystem& files_;
};

class FolderModel final : public ModelSource {
 public:
  explicit FolderModel(std::string folder) : folder_(std::move(folder)) {}

  absl::Status Open(FileSystem& files) {
    const std::string path = absl::StrCat(folder_, "/config.json");
    absl::StatusOr<std::unique_ptr<MappedFile>> file = files.Map(path);
    if (absl::IsNotFound(file.status())) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": missing, expected in the folder of a model", WhatElse(folder_)));
    }
    if (!file.ok()) return file.status();
    absl::StatusOr<ModelConfig> config = ReadFolderConfig(Text(**file), path);
    if (!config.ok()) return config.status();
    config_ = *std::move(config);
    config_.name = NameOfPath(folder_);

    absl::StatusOr<FolderWeights> weights = OpenFolderWeights(files, folder_);
    if (!weights.ok()) return weights.status();
    weights_ = *std::move(weights);
    const size_t count = weights_.files.size();
    format_ =
        weights_.sharded ? absl::StrCat("safetensors, ", count, count == 1 ? " shard" : " shards") : "safetensors";
    if (absl::Status status = CheckWeights(path); !status.ok()) return status;
    return ReadTokenizer(files);
  }

  const ModelConfig& config() const override { return config_; }
  const Vocabulary& vocabulary() const override { return tokenizer_.vocabulary; }
  const std::string& chat_template() const override { return tokenizer_.chat_template; }
  const std::string& format() const override { return format_; }

  std::vector<TensorSummary> Tensors() const override {
    std::vector<const std::pair<const std::string, FolderTensor>*> order;
    for (const auto& entry : weights_.tensors) order.push_back(&entry);
    std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
      return std::pair(a->second.file, a->second.tensor.bytes.data()) <
             std::pair(b->second.file, b->second.tensor.bytes.data());
    });
    std::vector<TensorSummary> summaries;
    for (const auto* entry : order) {
      const SafetensorsTensor& tensor = entry->second.tensor;
      summaries.push_back({entry->first, tensor.type, tensor.shape, static_cast<int64_t>(tensor.bytes.size())});
    }
    return summaries;
  }

  absl::StatusOr<HostWeight> FindWeight(std::string_view name) const override {
    const auto it = found_.find(name);
    if (it == found_.end()) return absl::NotFoundError(absl::StrCat(folder_, ": weight ", Quoted(name), ": missing"));
    return it->second.weight;
  }
  void PrefetchWeight(std::string_view name) const override {
    if (const auto it = found_.find(name); it != found_.end()) it->second.file->Prefetch(it->second.bytes);
  }
  void ReleaseWeight(std::string_view name) const override {
    if (const auto it = found_.find(name); it != found_.end()) it->second.file->Release(it->second.bytes);
  }

 private:
  struct Found {
    HostWeight weight;
    std::span<const uint8_t> bytes;
    const MappedFile* file = nullptr;
  };

  static std::string_view Text(const MappedFile& file) {
    return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
  }

  absl::Status CheckWeights(const std::string& config_path) {
    const int64_t tensors = static_cast<int64_t>(weights_.tensors.size());
    if (config_.num_layers > tensors / kMinWeightsPerLayer) {
      return absl::InvalidArgumentError(absl::StrCat(config_path, ": key 'num_hidden_layers': found ",
                                                     config_.num_layers, ", expected ", kMinWeightsPerLayer,
                                                     " tensors for each; the folder has ", tensors, " in all"));
    }
    for (const ExpectedWeight& weight : ExpectedWeights(config_)) {
      if (absl::Status status = CheckWeight(weight); !status.ok()) return status;
    }
    for (const auto& [name, tensor] : weights_.tensors) {
      if (tensor.used || IsDerivedBuffer(name)) continue;
      if (config_.tied_output && name == kOutput) {
        if (absl::Status status = CheckTied(tensor); !status.ok()) return status;
        continue;
      }
      return absl::UnimplementedError(absl::StrCat(weights_.paths[tensor.file], ": tensor ", Quoted(name),
                                                   ": not a weight of the '", config_.architecture,
                                                   "' architecture as supported"));
    }
    return absl::OkStatus();
  }

  // Some programs save tied weights twice. Where the two differ, versions of transformers take one or the other.
  absl::Status CheckTied(const FolderTensor& output) {
    const SafetensorsTensor& table = weights_.tensors.at(kTable).tensor;
    const SafetensorsTensor& copy = output.tensor;
    if (copy.type == table.type && copy.shape == table.shape &&
        std::memcmp(copy.bytes.data(), table.bytes.data(), table.bytes.size()) == 0) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(absl::StrCat(
        weights_.paths[output.file], ": tensor ", Quoted(kOutput), ": differs from ", Quoted(kTable),
        " although key 'tie_word_embeddings' is true in config.json; make the key false, or take the tensor out"));
  }

  absl::Status CheckWeight(const ExpectedWeight& weight) {
    const std::string name = FolderWeightName(weight.name);
    const std::vector<int64_t> shape =
        weight.vector ? std::vector<int64_t>{weight.cols} : std::vector<int64_t>{weight.rows, weight.cols};
    const auto it = weights_.tensors.find(name);
    if (it == weights_.tensors.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(folder_, ": tensor ", Quoted(name), ": missing, expected shape ", ShapeText(shape),
                       weight.name == "output.weight" ? " (or key 'tie_word_embeddings' true in config.json)" : ""));
    }
    const SafetensorsTensor& tensor = it->second.tensor;
    if (tensor.shape != shape) {
      return absl::InvalidArgumentError(absl::StrCat(weights_.paths[it->second.file], ": tensor ", Quoted(name),
                                                     ": found shape ", ShapeText(tensor.shape), ", expected ",
                                                     ShapeText(shape)));
    }
    it->second.used = true;
    found_[weight.name] = {{tensor.bytes.data(), tensor.type, weight.rows, weight.cols},
                           tensor.bytes,
                           weights_.files[it->second.file].get()};
    config_.parameters += weight.rows * weight.cols;
    config_.weight_bytes += static_cast<int64_t>(tensor.bytes.size());
    return absl::OkStatus();
  }

  absl::Status ReadTokenizer(FileSystem& files) {
    absl::Status status;
    std::vector<std::unique_ptr<MappedFile>> mapped;
    const auto read = [&](const char* file_name) -> std::string_view {
      absl::StatusOr<std::unique_ptr<MappedFile>> file = files.Map(absl::StrCat(folder_, "/", file_name));
      if (!file.ok()) {
        if (!absl::IsNotFound(file.status())) status.Update(file.status());
        return "";
      }
      mapped.push_back(*std::move(file));
      return Text(*mapped.back());
    };
    TokenizerFiles contents;
    contents.tokenizer_json = read("tokenizer.json");
    contents.tokenizer_model = read("tokenizer.model");
    contents.tokenizer_config = read("tokenizer_config.json");
    contents.special_tokens_map = read("special_tokens_map.json");
    contents.added_tokens = read("added_tokens.json");
    contents.generation_config = read("generation_config.json");
    contents.model_config = read("config.json");
    contents.chat_template = read("chat_template.jinja");
    if (!status.ok()) return status;
    absl::StatusOr<FolderTokenizer> tokenizer = ReadTokenizerFiles(contents, config_.vocabulary, folder_);
    if (!tokenizer.ok()) return tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
    return absl::OkStatus();
  }

  const std::string folder_;
  std::string format_;
  ModelConfig config_;
  FolderWeights weights_;
  std::map<std::string, Found, std::less<>> found_;  // by GGUF name; point into weights_
  FolderTokenizer tokenizer_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModelSource>> OpenFolderModel(FileSystem& files, const std::string& folder) {
  auto model = std::make_unique<FolderModel>(folder);
  FetchedFiles fetched(files);
  if (absl::Status status = model->Open(fetched); !status.ok()) return status;
  return std::unique_ptr<ModelSource>(std::move(model));
}

absl::StatusOr<std::unique_ptr<ModelSource>> OpenFolderModel(const std::string& path) {
  std::string folder = path;
  while (folder.size() > 1 && folder.ends_with('/')) folder.pop_back();
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(folder, error);
  if (status.type() == std::filesystem::file_type::not_found) {
    return absl::NotFoundError(absl::StrCat(path, ": no such folder"));
  }
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat(path, ": cannot open"));
  if (!std::filesystem::is_directory(status)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is not a folder"));
  }
  return OpenFolderModel(FileSystem::Real(), folder);
}

}  // namespace cascade
