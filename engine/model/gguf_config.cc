#include "engine/model/gguf_config.h"

#include <cmath>

#include "engine/model/gguf_fields.h"

namespace cascade {
namespace {

// Far above any model, far below what int arithmetic on shapes could overflow.
constexpr int64_t kMaxWidth = int64_t{1} << 24;
constexpr int64_t kMaxHeads = int64_t{1} << 16;
constexpr int64_t kMaxPositions = int64_t{1} << 30;
constexpr size_t kMaxNameBytes = 1024;
// The weights of one layer.
constexpr int64_t kTensorsPerLayer = 9;

// What would silently change the results if it were ignored.
void RefuseUnknownFeatures(GgufFields& fields) {
  const auto refuse = [&](std::string_view key, const std::string& found, const char* expected) {
    fields.FailWith(absl::StatusCode::kUnimplemented, key, "found ", found, ", supported is only ", expected);
  };
  const std::string scaling = fields.String("llama.rope.scaling.type", kMaxNameBytes, "none");
  if (scaling != "none") refuse("llama.rope.scaling.type", Quoted(scaling), "'none'");
  // Without a type a factor means linear scaling; 0 means none.
  if (fields.Find("llama.rope.scaling.type", false) == nullptr) {
    const float factor = fields.Float("llama.rope.scaling.factor", 0.0f, 1.0f);
    if (factor != 0.0f && factor != 1.0f) refuse("llama.rope.scaling.factor", absl::StrCat(factor), "1");
  }
  // The older spelling of linear scaling.
  const float linear = fields.Float("llama.rope.scale_linear", 0.0f, 1.0f);
  if (linear != 1.0f) refuse("llama.rope.scale_linear", absl::StrCat(linear), "1");
  const int64_t experts = fields.Integer("llama.expert_count", 0, kMaxHeads, 0);
  if (experts != 0) refuse("llama.expert_count", absl::StrCat(experts), "0");
  const int64_t parts = fields.Integer("split.count", 0, kMaxHeads, 1);
  if (parts > 1) refuse("split.count", absl::StrCat(parts), "1 (a model in one file)");
  if (!fields.Bool("llama.attention.causal", true)) refuse("llama.attention.causal", "false", "true");
}

void ReadHeads(GgufFields& fields, ModelConfig& config) {
  config.num_heads = static_cast<int>(fields.Integer("llama.attention.head_count", 1, kMaxHeads));
  config.num_kv_heads =
      static_cast<int>(fields.Integer("llama.attention.head_count_kv", 1, kMaxHeads, config.num_heads));
  if (config.num_heads % config.num_kv_heads != 0) {
    fields.Fail("llama.attention.head_count_kv", "found ", config.num_kv_heads, ", expected a divisor of the ",
                config.num_heads, " heads");
  }
  if (config.hidden % config.num_heads != 0) {
    fields.Fail("llama.attention.head_count", "found ", config.num_heads,
                ", expected a divisor of the embedding length ", config.hidden);
  }
  const bool explicit_dim = fields.Find("llama.attention.key_length", false) != nullptr;
  const char* const key = explicit_dim ? "llama.attention.key_length" : "llama.embedding_length";
  config.head_dim =
      static_cast<int>(fields.Integer("llama.attention.key_length", 2, kMaxHeads, config.hidden / config.num_heads));
  if (config.head_dim < 2 || config.head_dim % 2 != 0) {
    fields.Fail(key, "head dimension ", config.head_dim, ", expected an even number");
  }
  const int64_t values = fields.Integer("llama.attention.value_length", 1, kMaxHeads, config.head_dim);
  if (values != config.head_dim) {
    fields.Fail("llama.attention.value_length", "found ", values, ", expected the head dimension ", config.head_dim);
  }
}

void ReadRope(GgufFields& fields, ModelConfig& config) {
  const int64_t rotated = fields.Integer("llama.rope.dimension_count", 1, kMaxWidth, config.head_dim);
  if (rotated != config.head_dim) {
    fields.Fail("llama.rope.dimension_count", "found ", rotated, ", expected the head dimension ", config.head_dim);
  }
  const double theta = fields.Float("llama.rope.freq_base", 1.0f, 10000.0f);
  config.rope.pairs = kernels::RopePairs::kInterleaved;
  if (!fields.status().ok()) return;
  for (int i = 0; i < config.head_dim / 2; ++i) {
    config.rope.frequency.push_back(std::pow(theta, -2.0 * i / config.head_dim));
  }
}

void ReadVocabularySize(GgufFields& fields, ModelConfig& config) {
  const auto table = fields.file().tensors.find("token_embd.weight");
  if (table == fields.file().tensors.end()) {
    fields.Fail("llama.vocab_size", "tensor 'token_embd.weight': missing, expected one row for each token");
    return;
  }
  const uint64_t rows = table->second.dims[1];
  if (rows > static_cast<uint64_t>(kMaxWidth)) {
    fields.Fail("llama.vocab_size", "tensor 'token_embd.weight' has ", rows, " rows, expected at most ", kMaxWidth);
    return;
  }
  config.vocabulary = static_cast<int>(rows);
  const int64_t stated = fields.Integer("llama.vocab_size", 1, kMaxWidth, config.vocabulary);
  if (stated != config.vocabulary) {
    fields.Fail("llama.vocab_size", "found ", stated, ", expected the ", config.vocabulary,
                " rows of tensor 'token_embd.weight'");
  }
}

}  // namespace

absl::StatusOr<ModelConfig> ReadConfig(const GgufFile& file, const std::string& name) {
  GgufFields fields(file, name);
  ModelConfig config;
  config.architecture = fields.String("general.architecture", kMaxNameBytes);
  if (fields.status().ok() && config.architecture != "llama") {
    fields.FailWith(absl::StatusCode::kUnimplemented, "general.architecture", "found ", Quoted(config.architecture),
                    ", supported is only 'llama'");
  }
  if (!fields.status().ok()) return fields.status();  // the other keys have the architecture's name in theirs
  config.name = fields.String("general.name", kMaxNameBytes, "");
  RefuseUnknownFeatures(fields);

  config.num_layers = static_cast<int>(fields.Integer("llama.block_count", 1, kMaxWidth));
  if (config.num_layers > static_cast<int64_t>(file.tensors.size()) / kTensorsPerLayer) {
    fields.Fail("llama.block_count", "found ", config.num_layers, ", expected ", kTensorsPerLayer,
                " tensors for each; the file has ", file.tensors.size(), " in all");
  }
  config.hidden = static_cast<int>(fields.Integer("llama.embedding_length", 1, kMaxWidth));
  config.ffn = static_cast<int>(fields.Integer("llama.feed_forward_length", 1, kMaxWidth));
  config.max_positions = fields.Integer("llama.context_length", 1, kMaxPositions);
  config.rms_eps = fields.Float("llama.attention.layer_norm_rms_epsilon", 0.0f);
  if (!(config.rms_eps > 0.0f)) {
    fields.Fail("llama.attention.layer_norm_rms_epsilon", "found ", config.rms_eps, ", expected a positive number");
  }
  ReadHeads(fields, config);
  ReadRope(fields, config);
  ReadVocabularySize(fields, config);
  config.tied_output = file.tensors.count("output.weight") == 0;
  if (!fields.status().ok()) return fields.status();
  return config;
}

}  // namespace cascade
