#include "engine/model/gguf_model.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/model/gguf.h"
#include "engine/model/gguf_config.h"
#include "engine/model/gguf_fields.h"
#include "engine/model/gguf_vocabulary.h"

namespace cascade {
namespace {

using kernels::DType;
using kernels::HostWeight;

constexpr size_t kMaxTemplateBytes = size_t{1} << 20;

class GgufModel final : public ModelSource {
 public:
  GgufModel(std::unique_ptr<MappedFile> file, std::string name) : file_(std::move(file)), name_(std::move(name)) {}

  absl::Status Open() {
    absl::StatusOr<GgufFile> gguf = ParseGguf(file_->bytes(), name_);
    if (!gguf.ok()) return gguf.status();
    gguf_ = *std::move(gguf);
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

  absl::StatusOr<HostWeight> FindWeight(std::string_view name) const override {
    const auto it = gguf_.tensors.find(name);
    if (it == gguf_.tensors.end())
      return absl::NotFoundError(absl::StrCat(name_, ": tensor ", Quoted(name), ": missing"));
    const GgufTensor& tensor = it->second;
    return HostWeight{tensor.bytes.data(), tensor.type, static_cast<int64_t>(tensor.dims[1]),
                      static_cast<int64_t>(tensor.dims[0])};
  }

 private:
  // A weight of the architecture. A gain is a vector of one row, in float32.
  struct Expected {
    std::string name;
    int64_t rows = 0;
    int64_t cols = 0;
    bool gain = false;
  };

  std::vector<Expected> ExpectedWeights() const {
    const int64_t hidden = config_.hidden;
    const int64_t ffn = config_.ffn;
    const int64_t queries = int64_t{config_.num_heads} * config_.head_dim;
    const int64_t keys = int64_t{config_.num_kv_heads} * config_.head_dim;
    std::vector<Expected> weights = {{"token_embd.weight", config_.vocabulary, hidden},
                                     {"output_norm.weight", 1, hidden, true}};
    if (!config_.tied_output) weights.push_back({"output.weight", config_.vocabulary, hidden});
    for (int layer = 0; layer < config_.num_layers; ++layer) {
      const std::string prefix = absl::StrCat("blk.", layer, ".");
      weights.push_back({prefix + "attn_norm.weight", 1, hidden, true});
      weights.push_back({prefix + "attn_q.weight", queries, hidden});
      weights.push_back({prefix + "attn_k.weight", keys, hidden});
      weights.push_back({prefix + "attn_v.weight", keys, hidden});
      weights.push_back({prefix + "attn_output.weight", hidden, queries});
      weights.push_back({prefix + "ffn_norm.weight", 1, hidden, true});
      weights.push_back({prefix + "ffn_gate.weight", ffn, hidden});
      weights.push_back({prefix + "ffn_up.weight", ffn, hidden});
      weights.push_back({prefix + "ffn_down.weight", hidden, ffn});
    }
    return weights;
  }

  absl::Status CheckWeights() {
    const std::vector<Expected> expected = ExpectedWeights();
    for (const Expected& weight : expected) {
      if (absl::Status status = CheckWeight(weight); !status.ok()) return status;
    }
    if (gguf_.tensors.size() == expected.size()) return absl::OkStatus();
    // A tensor that is left over (a bias, RoPE factors, an expert) would change the results if it were ignored.
    std::map<std::string_view, GgufTensor> rest = gguf_.tensors;
    for (const Expected& weight : expected) rest.erase(weight.name);
    return absl::UnimplementedError(absl::StrCat(name_, ": tensor ", Quoted(rest.begin()->first),
                                                 ": not a weight of the 'llama' architecture as supported"));
  }

  absl::Status CheckWeight(const Expected& weight) {
    const std::string label = absl::StrCat(name_, ": tensor ", Quoted(weight.name), ": ");
    const auto it = gguf_.tensors.find(weight.name);
    const std::string shape =
        weight.gain ? absl::StrCat("[", weight.cols, "]") : absl::StrCat("[", weight.cols, ", ", weight.rows, "]");
    if (it == gguf_.tensors.end()) return absl::InvalidArgumentError(label + "missing, expected shape " + shape);
    const GgufTensor& tensor = it->second;
    if (tensor.dims[0] != static_cast<uint64_t>(weight.cols) || tensor.dims[1] != static_cast<uint64_t>(weight.rows) ||
        tensor.dims[2] != 1 || tensor.dims[3] != 1) {
      return absl::InvalidArgumentError(absl::StrCat(label, "found shape ", tensor.Shape(), ", expected ", shape));
    }
    if (weight.gain && tensor.type != DType::kF32) {
      return absl::UnimplementedError(absl::StrCat(label, "found type ", std::string(Name(tensor.type)),
                                                   ", supported is only F32 for this tensor"));
    }
    config_.parameters += weight.rows * weight.cols;
    config_.weight_bytes += static_cast<int64_t>(tensor.bytes.size());
    return absl::OkStatus();
  }

  const std::unique_ptr<MappedFile> file_;
  const std::string name_;
  GgufFile gguf_;  // points into file_
  ModelConfig config_;
  Vocabulary vocabulary_;
  std::string chat_template_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModelSource>> OpenGgufModel(std::unique_ptr<MappedFile> file, const std::string& name) {
  auto model = std::make_unique<GgufModel>(std::move(file), name);
  if (absl::Status status = model->Open(); !status.ok()) return status;
  return std::unique_ptr<ModelSource>(std::move(model));
}

absl::StatusOr<std::unique_ptr<ModelSource>> OpenModel(const std::string& path) {
  absl::StatusOr<std::unique_ptr<MappedFile>> file = FileSystem::Real().Map(path);
  if (!file.ok()) return file.status();
  return OpenGgufModel(*std::move(file), path);
}

}  // namespace cascade
