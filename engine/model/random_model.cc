#include "engine/model/random_model.h"

#include <cmath>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/model/model_weights.h"
#include "engine/model/random_weights.h"
#include "engine/model/rope_scaling.h"
#include "engine/text/byte_alphabet.h"
#include "kernels/base/check.h"
#include "kernels/base/mutex.h"

namespace cascade {
namespace {

using kernels::DType;
using kernels::HostWeight;

constexpr std::string_view kPrefix = "random:";
constexpr int64_t kMaxHostBytes = int64_t{2} << 30;

struct Shape {
  const char* name;
  int num_layers, hidden, num_heads, num_kv_heads, head_dim, ffn, vocabulary;
  int64_t max_positions;
  double rope_theta;
  double rope_factor;  // of llama3 scaling from 8,192 positions; 0: none
  bool tied_output;
};

constexpr Shape kShapes[] = {
    {"llama-3.1-8b", 32, 4096, 32, 8, 128, 14336, 128256, 131072, 500000, 8, false},
    {"llama-3.2-1b", 16, 2048, 32, 8, 64, 8192, 128256, 131072, 500000, 32, true},
    {"smollm2-135m", 30, 576, 9, 3, 64, 1536, 49152, 8192, 100000, 0, true},
};
constexpr DType kTypes[] = {DType::kBF16, DType::kF16, DType::kF32, DType::kQ8_0};

ModelConfig MakeConfig(const Shape& shape) {
  ModelConfig config;
  config.architecture = "llama";
  config.name = absl::StrCat("random ", shape.name);
  config.num_layers = shape.num_layers;
  config.hidden = shape.hidden;
  config.num_heads = shape.num_heads;
  config.num_kv_heads = shape.num_kv_heads;
  config.head_dim = shape.head_dim;
  config.ffn = shape.ffn;
  config.vocabulary = shape.vocabulary;
  config.max_positions = shape.max_positions;
  config.rms_eps = 1e-5f;
  config.rope.pairs = kernels::RopePairs::kHalves;
  config.tied_output = shape.tied_output;
  RopeScaling scaling;
  if (shape.rope_factor > 0) {
    scaling = {RopeScalingKind::kLlama3, shape.rope_factor, 1, 4, 8192, {}};
  }
  CASCADE_CHECK(SetRope(shape.rope_theta, scaling, config).ok());
  return config;
}

Vocabulary MakeVocabulary(int size) {
  Vocabulary vocabulary;
  vocabulary.origin = "random";
  vocabulary.pre_tokenizer = "llama-bpe";
  vocabulary.size = size;
  vocabulary.tokens.reserve(static_cast<size_t>(size));
  for (int id = 0; id < size; ++id) {
    vocabulary.tokens.push_back(id < 256 ? ByteCharacter(static_cast<uint8_t>(id))
                                         : absl::StrCat(ByteCharacter(' '), "w", id));
  }
  return vocabulary;
}

// FNV-1a: the same weights in every run.
uint64_t Hash(std::string_view text) {
  uint64_t hash = 14695981039346656037u;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 1099511628211u;
  return hash;
}

class RandomModel final : public ModelSource {
 public:
  RandomModel(const Shape& shape, DType type, RandomWeights random)
      : random_(random),
        type_(type),
        config_(MakeConfig(shape)),
        vocabulary_(MakeVocabulary(shape.vocabulary)),
        format_(absl::StrCat("random, ", std::string(kernels::Name(type)))),
        expected_(ExpectedWeights(config_)) {
    for (size_t i = 0; i < expected_.size(); ++i) {
      index_.emplace(expected_[i].name, i);
      config_.parameters += expected_[i].rows * expected_[i].cols;
      config_.weight_bytes += Bytes(expected_[i]);
    }
  }

  const ModelConfig& config() const override { return config_; }
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  const std::string& chat_template() const override { return chat_template_; }
  const std::string& format() const override { return format_; }

  std::vector<TensorSummary> Tensors() const override {
    std::vector<TensorSummary> tensors;
    for (const ExpectedWeight& weight : expected_) {
      std::vector<int64_t> shape = {weight.cols};
      if (!weight.vector) shape.insert(shape.begin(), weight.rows);
      tensors.push_back({weight.name, TypeOf(weight), std::move(shape), Bytes(weight)});
    }
    return tensors;
  }

  absl::StatusOr<HostWeight> FindWeight(std::string_view name) const override {
    const auto found = index_.find(std::string(name));
    if (found == index_.end())
      return absl::NotFoundError(absl::StrCat(config_.name, ": no weight ", std::string(name)));
    const ExpectedWeight& weight = expected_[found->second];
    HostWeight result = {nullptr, TypeOf(weight), weight.rows, weight.cols, Hash(name)};
    if (random_ == RandomWeights::kOnDevice) return result;
    if (config_.weight_bytes > kMaxHostBytes) {
      return absl::ResourceExhaustedError(absl::StrCat(config_.name, ": ", config_.weight_bytes,
                                                       " bytes of random weights; on the CPU there are at most ",
                                                       kMaxHostBytes, ", larger shapes are for CUDA"));
    }
    MutexLock lock(mutex_);
    std::vector<uint8_t>& data = made_[found->second];
    if (data.empty()) data = MakeRandomWeight(result);
    result.data = data.data();
    return result;
  }

  void ReleaseWeight(std::string_view name) const override {
    const auto found = index_.find(std::string(name));
    if (found == index_.end()) return;
    MutexLock lock(mutex_);
    made_.erase(found->second);
  }

 private:
  DType TypeOf(const ExpectedWeight& weight) const { return weight.vector ? DType::kF32 : type_; }
  int64_t Bytes(const ExpectedWeight& weight) const {
    return static_cast<int64_t>(kernels::RowBytes(TypeOf(weight), weight.cols)) * weight.rows;
  }

  const RandomWeights random_;
  const DType type_;
  ModelConfig config_;
  const Vocabulary vocabulary_;
  const std::string chat_template_;
  const std::string format_;
  const std::vector<ExpectedWeight> expected_;
  std::unordered_map<std::string, size_t> index_;
  mutable Mutex mutex_;
  // Made when first asked for. Elements stay where they are.
  mutable std::unordered_map<size_t, std::vector<uint8_t>> made_ CASCADE_GUARDED_BY(mutex_);
};

}  // namespace

bool IsRandomModel(std::string_view path) { return path.substr(0, kPrefix.size()) == kPrefix; }

absl::StatusOr<std::unique_ptr<ModelSource>> OpenRandomModel(const std::string& path, RandomWeights random) {
  std::string_view name = std::string_view(path).substr(kPrefix.size());
  std::string_view type_name = "BF16";
  if (const size_t colon = name.find(':'); colon != std::string_view::npos) {
    type_name = name.substr(colon + 1);
    name = name.substr(0, colon);
  }
  const Shape* shape = nullptr;
  const DType* type = nullptr;
  std::string shapes, types;
  for (const Shape& known : kShapes) {
    if (name == known.name) shape = &known;
    absl::StrAppend(&shapes, shapes.empty() ? "" : ", ", known.name);
  }
  for (const DType& known : kTypes) {
    if (type_name == kernels::Name(known)) type = &known;
    absl::StrAppend(&types, types.empty() ? "" : ", ", std::string(kernels::Name(known)));
  }
  if (shape == nullptr) return absl::InvalidArgumentError(absl::StrCat(path, ": no such shape; there are ", shapes));
  if (type == nullptr) return absl::InvalidArgumentError(absl::StrCat(path, ": no such type; there are ", types));
  return std::make_unique<RandomModel>(*shape, *type, random);
}

}  // namespace cascade
