#include "engine/model/gguf_model.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/model/gguf_config.h"
#include "engine/model/gguf_fields.h"
#include "engine/model/gguf_parts.h"
#include "engine/model/gguf_vocabulary.h"
#include "engine/model/model_weights.h"

namespace cascade {
namespace {

using kernels::HostWeight;

constexpr size_t kMaxTemplateBytes = size_t{1} << 20;

class GgufModel final : public ModelSource {
 public:
  explicit GgufModel(GgufParts files)
      : files_(std::move(files)), gguf_(files_.whole), name_(files_.parts.front().path) {
    format_ = absl::StrCat("GGUF v", gguf_.version);
    if (files_.parts.size() > 1) absl::StrAppend(&format_, ", ", files_.parts.size(), " parts");
  }

  absl::Status Open() {
    absl::StatusOr<ModelConfig> config = ReadConfig(gguf_, name_);
    if (!config.ok()) return config.status();
    config_ = *std::move(config);
    if (absl::Status status = CheckWeights(); !status.ok()) return status;
    absl::StatusOr<Vocabulary> vocabulary = ReadVocabulary(gguf_, config_.vocabulary, name_);
    if (!vocabulary.ok()) return vocabulary.status();
    vocabulary_ = *std::move(vocabulary);
    GgufFields fields(gguf_, name_);
    chat_template_ = fields.String("tokenizer.chat_template", kMaxTemplateBytes, "");
    return fields.status();
  }

  const ModelConfig& config() const override { return config_; }
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  const std::string& chat_template() const override { return chat_template_; }
  const std::string& format() const override { return format_; }

  std::vector<TensorSummary> Tensors() const override {
    std::vector<TensorSummary> summaries;
    summaries.reserve(gguf_.tensor_names.size());
    for (const std::string_view name : gguf_.tensor_names) {
      const GgufTensor& tensor = gguf_.tensors.at(name);
      TensorSummary summary{std::string(name), tensor.type, {}, static_cast<int64_t>(tensor.bytes.size())};
      for (int i = tensor.num_dims; i-- > 0;) summary.shape.push_back(static_cast<int64_t>(tensor.dims[i]));
      summaries.push_back(std::move(summary));
    }
    return summaries;
  }

  absl::StatusOr<HostWeight> FindWeight(std::string_view name) const override {
    const auto it = gguf_.tensors.find(name);
    if (it == gguf_.tensors.end()) {
      return absl::NotFoundError(absl::StrCat(name_, ": tensor ", Quoted(name), ": missing"));
    }
    const GgufTensor& tensor = it->second;
    return HostWeight{tensor.bytes.data(), tensor.type, static_cast<int64_t>(tensor.dims[1]),
                      static_cast<int64_t>(tensor.dims[0])};
  }

  void PrefetchWeight(std::string_view name) const override {
    const auto it = gguf_.tensors.find(name);
    if (it != gguf_.tensors.end()) files_.PartOf(it->second.bytes).file->Prefetch(it->second.bytes);
  }
  void ReleaseWeight(std::string_view name) const override {
    const auto it = gguf_.tensors.find(name);
    if (it != gguf_.tensors.end()) files_.PartOf(it->second.bytes).file->Release(it->second.bytes);
  }

 private:
  absl::Status CheckWeights() {
    const std::vector<ExpectedWeight> expected = ExpectedWeights(config_);
    for (const ExpectedWeight& weight : expected) {
      if (absl::Status status = CheckWeight(weight); !status.ok()) return status;
    }
    const size_t used = expected.size() + gguf_.tensors.count(kRopeFactorsTensor);
    if (gguf_.tensors.size() == used) return absl::OkStatus();
    // A tensor that is left over (another bias, a norm of q or k, an expert) would change the results if it were
    // ignored.
    std::map<std::string_view, GgufTensor> rest = gguf_.tensors;
    for (const ExpectedWeight& weight : expected) rest.erase(weight.name);
    rest.erase(kRopeFactorsTensor);
    const auto& [name, tensor] = *rest.begin();
    return absl::UnimplementedError(absl::StrCat(files_.PartOf(tensor.bytes).path, ": tensor ", Quoted(name),
                                                 ": not a weight of the '", config_.architecture,
                                                 "' architecture as supported"));
  }

  absl::Status CheckWeight(const ExpectedWeight& weight) {
    const std::string shape =
        weight.vector ? absl::StrCat("[", weight.cols, "]") : absl::StrCat("[", weight.cols, ", ", weight.rows, "]");
    const auto it = gguf_.tensors.find(weight.name);
    if (it == gguf_.tensors.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name_, ": tensor ", Quoted(weight.name), ": missing, expected shape ", shape));
    }
    const GgufTensor& tensor = it->second;
    const auto label = [&] {
      return absl::StrCat(files_.PartOf(tensor.bytes).path, ": tensor ", Quoted(weight.name), ": found ");
    };
    if (tensor.dims[0] != static_cast<uint64_t>(weight.cols) || tensor.dims[1] != static_cast<uint64_t>(weight.rows) ||
        tensor.dims[2] != 1 || tensor.dims[3] != 1) {
      return absl::InvalidArgumentError(absl::StrCat(label(), "shape ", tensor.Shape(), ", expected ", shape));
    }
    if (weight.vector && !IsVectorType(tensor.type)) {
      return absl::UnimplementedError(absl::StrCat(label(), "type ", std::string(Name(tensor.type)),
                                                   ", supported for this tensor are F32, F16 and BF16"));
    }
    config_.parameters += weight.rows * weight.cols;
    config_.weight_bytes += static_cast<int64_t>(tensor.bytes.size());
    return absl::OkStatus();
  }

  const GgufParts files_;
  const GgufFile& gguf_;    // of files_
  const std::string name_;  // the first part's path
  ModelConfig config_;
  Vocabulary vocabulary_;
  std::string chat_template_;
  std::string format_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModelSource>> OpenGgufModel(FileSystem& files, const std::string& path) {
  absl::StatusOr<GgufParts> parts = OpenGgufParts(files, path);
  if (!parts.ok()) return parts.status();
  auto model = std::make_unique<GgufModel>(*std::move(parts));
  if (absl::Status status = model->Open(); !status.ok()) return status;
  return std::unique_ptr<ModelSource>(std::move(model));
}

}  // namespace cascade
