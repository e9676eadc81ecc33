#include "engine/model/gguf_config.h"

#include <algorithm>
#include <vector>

#include "engine/model/gguf_features.h"
#include "engine/model/gguf_fields.h"
#include "engine/model/model_name.h"
#include "engine/model/model_weights.h"
#include "engine/model/rope_scaling.h"
#include "kernels/dequantize.h"

namespace cascade {
namespace {

// Far above any model, far below what int arithmetic on shapes could overflow.
constexpr int64_t kMaxWidth = int64_t{1} << 24;
constexpr int64_t kMaxHeads = int64_t{1} << 16;
constexpr int64_t kMaxPositions = int64_t{1} << 30;
constexpr size_t kMaxNameBytes = 1024;

struct Architecture {
  std::string_view name;
  kernels::RopePairs pairs;  // how the file orders the rows of q and k
  bool qkv_bias;             // always; otherwise where the file has them
};

// Mistral's models are called "llama" in GGUF.
constexpr Architecture kArchitectures[] = {
    {"llama", kernels::RopePairs::kInterleaved, false},
    {"qwen2", kernels::RopePairs::kHalves, true},
};

// Reads one file's keys into one ModelConfig; the first error stays in `fields_`.
class ConfigReader {
 public:
  ConfigReader(const GgufFile& file, const std::string& name) : fields_(file, name) {}

  absl::StatusOr<ModelConfig> Read() {
    ReadArchitecture();
    if (const std::string type = fields_.String("general.type", kMaxNameBytes, "model"); type != "model") {
      fields_.FailWith(absl::StatusCode::kUnimplemented, "general.type", "found ", Quoted(type),
                       ", supported is only 'model'");
    }
    if (!fields_.status().ok()) return fields_.status();  // the other keys have the architecture's name in theirs
    config_.name = PrintableName(fields_.String("general.name", kMaxNameBytes, ""));
    if (config_.name.empty()) config_.name = NameOfPath(fields_.name());
    ReadShape();
    ReadHeads();
    if (!fields_.status().ok()) return fields_.status();
    RefuseUnknownFeatures(config_, fields_);
    ReadPositions();
    ReadRope();
    ReadVocabularySize();
    if (!fields_.status().ok()) return fields_.status();
    config_.tied_output = !HasTensor("output.weight");
    config_.qkv_bias = architecture_->qkv_bias || HasTensor("blk.0.attn_q.bias");
    return std::move(config_);
  }

 private:
  std::string Key(const char* rest) const { return absl::StrCat(config_.architecture, ".", rest); }
  bool HasTensor(std::string_view tensor) const { return fields_.file().tensors.count(tensor) != 0; }
  // Unknown keys are refused by gguf_features.cc; these are known and cannot be applied.
  template <class... Parts>
  void Refuse(const std::string& key, const Parts&... parts) {
    fields_.FailWith(absl::StatusCode::kUnimplemented, key, parts...);
  }

  void ReadArchitecture() {
    config_.architecture = fields_.String("general.architecture", kMaxNameBytes);
    if (!fields_.status().ok()) return;
    const auto known = std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                                    [&](const Architecture& a) { return a.name == config_.architecture; });
    if (known == std::end(kArchitectures)) {
      std::string names;
      for (const Architecture& a : kArchitectures) {
        absl::StrAppend(&names, names.empty() ? "'" : ", '", std::string(a.name), "'");
      }
      Refuse("general.architecture", "found ", Quoted(config_.architecture), ", supported are ", names);
      return;
    }
    architecture_ = &*known;
    config_.rope.pairs = architecture_->pairs;
  }

  void ReadShape() {
    const int64_t tensors = static_cast<int64_t>(fields_.file().tensors.size());
    config_.num_layers = static_cast<int>(fields_.Integer(Key("block_count"), 1, kMaxWidth));
    if (config_.num_layers > tensors / kMinWeightsPerLayer) {
      fields_.Fail(Key("block_count"), "found ", config_.num_layers, ", expected ", kMinWeightsPerLayer,
                   " tensors for each; the file has ", tensors, " in all");
    }
    config_.hidden = static_cast<int>(fields_.Integer(Key("embedding_length"), 1, kMaxWidth));
    config_.ffn = static_cast<int>(fields_.Integer(Key("feed_forward_length"), 1, kMaxWidth));
    config_.rms_eps = fields_.Float(Key("attention.layer_norm_rms_epsilon"), 0.0f);
    if (!(config_.rms_eps > 0.0f && config_.rms_eps <= 1.0f)) {
      fields_.Fail(Key("attention.layer_norm_rms_epsilon"), "found ", config_.rms_eps, ", expected more than 0, at most 1");
    }
  }

  void ReadHeads() {
    const std::string heads = Key("attention.head_count");
    const std::string kv_heads = Key("attention.head_count_kv");
    const std::string key_length = Key("attention.key_length");
    const std::string value_length = Key("attention.value_length");
    config_.num_heads = static_cast<int>(fields_.Integer(heads, 1, kMaxHeads));
    config_.num_kv_heads = static_cast<int>(fields_.Integer(kv_heads, 1, kMaxHeads, config_.num_heads));
    if (config_.num_heads % config_.num_kv_heads != 0) {
      fields_.Fail(kv_heads, "found ", config_.num_kv_heads, ", expected a divisor of the ", config_.num_heads,
                   " heads");
    }
    const bool explicit_length = fields_.Find(key_length, false) != nullptr;
    if (!explicit_length && config_.hidden % config_.num_heads != 0) {
      fields_.Fail(heads, "found ", config_.num_heads, ", expected a divisor of the embedding length ", config_.hidden,
                   ", as there is no key '", key_length, "'");
    }
    config_.head_dim = static_cast<int>(fields_.Integer(key_length, 1, kMaxHeads, config_.hidden / config_.num_heads));
    if (!IsSupportedHeadDim(config_.head_dim)) {
      Refuse(explicit_length ? key_length : Key("embedding_length"), "found head dimension ", config_.head_dim,
             ", supported are the multiples of ", kHeadDimStep, " up to ", kMaxHeadDim);
    }
    const int64_t values = fields_.Integer(value_length, 1, kMaxHeads, config_.head_dim);
    if (values != config_.head_dim) {
      fields_.Fail(value_length, "found ", values, ", expected the head dimension ", config_.head_dim);
    }
  }

  // Inside the window, attention with and without it are the same; no session gets beyond it.
  void ReadPositions() {
    config_.max_positions = fields_.Integer(Key("context_length"), 1, kMaxPositions);
    config_.window = fields_.Integer(Key("attention.sliding_window"), 0, kMaxPositions, 0);
    if (config_.window > 0) config_.max_positions = std::min(config_.max_positions, config_.window);
  }

  RopeScaling ReadScaling() {
    RopeScaling scaling;
    const std::string type_key = Key("rope.scaling.type");
    const std::string factor_key = Key("rope.scaling.factor");
    const bool typed = fields_.Find(type_key, false) != nullptr;
    // Without a type a factor means linear scaling. "rope.scale_linear" is its older spelling. 0: not set.
    const std::string type = fields_.String(type_key, kMaxNameBytes, "linear");
    std::string used_key = factor_key;
    double factor = fields_.Float(factor_key, 0.0f, 0.0f);
    const float older = fields_.Float(Key("rope.scale_linear"), 0.0f, 0.0f);
    if (factor == 0) {
      factor = older;
      used_key = Key("rope.scale_linear");
    } else if (older != 0 && older != factor) {
      fields_.Fail(Key("rope.scale_linear"), "found ", older, ", expected ", factor, " as in '", factor_key, "'");
    }
    if (type == "none") {
      if (older != 0 && older != 1) {
        fields_.Fail(Key("rope.scale_linear"), "found ", older, ", expected 1 with scaling of type 'none'");
      }
      return scaling;
    }
    if (type == "linear") {
      if (typed && factor == 0)
        fields_.Fail(factor_key, "missing or 0, expected at least 1 with scaling of type 'linear'");
      if (factor != 0 && factor < 1) fields_.Fail(used_key, "found ", factor, ", expected at least 1");
      if (factor <= 1) return scaling;
      scaling.kind = RopeScalingKind::kLinear;
      scaling.factor = factor;
      return scaling;
    }
    // With a factor of 1 these two leave the angles and the attention as they are.
    if ((type == "yarn" || type == "longrope") && factor == 1) return scaling;
    Refuse(type_key, "found ", Quoted(type), ", supported are 'none' and 'linear'");
    return scaling;
  }

  // [head_dim / 2], or empty where the file has none.
  std::vector<float> ReadFactors() {
    const auto it = fields_.file().tensors.find(kRopeFactorsTensor);
    if (it == fields_.file().tensors.end()) return {};
    const GgufTensor& tensor = it->second;
    const int64_t pairs = config_.head_dim / 2;
    if (tensor.dims[0] != static_cast<uint64_t>(pairs) || tensor.dims[1] != 1 || tensor.dims[2] != 1 ||
        tensor.dims[3] != 1 || !IsVectorType(tensor.type)) {
      fields_.FailTensor(absl::StatusCode::kInvalidArgument, kRopeFactorsTensor, "found ",
                         std::string(Name(tensor.type)), " of shape ", tensor.Shape(),
                         ", expected F32, F16 or BF16 of [", pairs, "]");
      return {};
    }
    std::vector<float> factors(static_cast<size_t>(pairs));
    kernels::DequantizeRow(tensor.type, tensor.bytes.data(), factors.data(), pairs);
    return factors;
  }

  void ReadRope() {
    const int64_t rotated = fields_.Integer(Key("rope.dimension_count"), 1, kMaxWidth, config_.head_dim);
    if (rotated != config_.head_dim) {
      Refuse(Key("rope.dimension_count"), "found ", rotated, ", supported is only the head dimension ",
             config_.head_dim);
    }
    const double theta = fields_.Float(Key("rope.freq_base"), 1.0f, 10000.0f);
    RopeScaling scaling = ReadScaling();
    scaling.factors = ReadFactors();
    if (!fields_.status().ok()) return;
    const absl::Status status = SetRope(theta, scaling, config_);
    if (status.ok()) return;
    if (scaling.factors.empty()) {
      fields_.Fail(Key("rope.scaling.factor"), status.message());
    } else {
      fields_.FailTensor(status.code(), kRopeFactorsTensor, status.message());
    }
  }

  void ReadVocabularySize() {
    const std::string key = Key("vocab_size");
    const auto table = fields_.file().tensors.find("token_embd.weight");
    if (table == fields_.file().tensors.end()) {
      fields_.FailTensor(absl::StatusCode::kInvalidArgument, "token_embd.weight",
                         "missing, expected one row for each token");
      return;
    }
    const uint64_t rows = table->second.dims[1];
    if (rows > static_cast<uint64_t>(kMaxWidth)) {
      fields_.FailTensor(absl::StatusCode::kInvalidArgument, "token_embd.weight", "found ", rows,
                         " rows, expected at most ", kMaxWidth);
      return;
    }
    config_.vocabulary = static_cast<int>(rows);
    const int64_t stated = fields_.Integer(key, 1, kMaxWidth, config_.vocabulary);
    if (stated != config_.vocabulary) {
      fields_.Fail(key, "found ", stated, ", expected the ", config_.vocabulary, " rows of tensor 'token_embd.weight'");
    }
  }

  GgufFields fields_;
  const Architecture* architecture_ = nullptr;
  ModelConfig config_;
};

}  // namespace

absl::StatusOr<ModelConfig> ReadConfig(const GgufFile& file, const std::string& name) {
  return ConfigReader(file, name).Read();
}

}  // namespace cascade
