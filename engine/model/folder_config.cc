#include "engine/model/folder_config.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/model/gguf.h"
#include "engine/model/json_fields.h"
#include "engine/model/json_text.h"
#include "engine/model/rope_scaling.h"

namespace cascade {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxConfigBytes = size_t{1} << 20;
// Far above any model, far below what int arithmetic on shapes could overflow.
constexpr int64_t kMaxWidth = int64_t{1} << 24;
constexpr int64_t kMaxHeads = int64_t{1} << 16;
constexpr int64_t kMaxPositions = int64_t{1} << 30;
constexpr int kHeadDimUnit = 16;
constexpr int kMaxHeadDim = 256;

// An architecture with the values that its class in transformers takes for keys that are absent.
struct Family {
  const char* class_name;
  const char* model_type;
  int64_t vocabulary;
  int64_t ffn;
  int64_t kv_heads;  // 0: as many as heads
  int64_t max_positions;
  int64_t window;  // 0: the class knows no window
  bool qkv_bias;
};
constexpr Family kFamilies[] = {
    {"LlamaForCausalLM", "llama", 32000, 11008, 0, 2048, 0, false},
    {"MistralForCausalLM", "mistral", 32000, 14336, 8, 131072, 4096, false},
    {"Qwen2ForCausalLM", "qwen2", 151936, 22016, 32, 32768, 4096, true},
};
constexpr char kKnownClasses[] = "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM";
constexpr char kKnownTypes[] = "llama, mistral, qwen2";

// Null and an error if there is none that is known.
const Family* FindFamily(JsonFields& fields) {
  const bool typed = fields.Find("model_type") != nullptr;
  const std::string type = typed ? fields.String("model_type") : "";
  const Json* const classes = fields.Find("architectures");
  if (classes == nullptr) {
    for (const Family& family : kFamilies) {
      if (type == family.model_type) return &family;
    }
    if (typed) {
      fields.Refuse("model_type", "found ", Quoted(type), ", supported are ", kKnownTypes);
    } else {
      fields.Fail("architectures", "missing, expected one of ", kKnownClasses);
    }
    return nullptr;
  }
  const std::string* const name =
      classes->is_array() && classes->size() == 1 ? classes->front().get_ptr<const std::string*>() : nullptr;
  if (name == nullptr) {
    fields.Fail("architectures", "expected an array with exactly one of ", kKnownClasses);
    return nullptr;
  }
  for (const Family& family : kFamilies) {
    if (*name != family.class_name) continue;
    if (typed && type != family.model_type) {
      fields.Fail("model_type", "found ", Quoted(type), ", expected ", Quoted(family.model_type), " for ", *name);
    }
    return &family;
  }
  fields.Refuse("architectures", "found ", Quoted(*name), ", supported are ", kKnownClasses);
  return nullptr;
}

// What would change the results if it were ignored.
void RefuseUnknownFeatures(JsonFields& fields, const Family& family) {
  if (const Json* quantization = fields.Find("quantization_config"); quantization != nullptr) {
    const auto method = quantization->find("quant_method");  // of an object; the end of anything else
    fields.Refuse("quantization_config", "found ",
                  method != quantization->end() ? Description(*method) : Description(*quantization),
                  ", supported are only weights in F32, F16 and BF16");
  }
  if (family.model_type == std::string_view("llama")) {
    for (const char* key : {"attention_bias", "mlp_bias"}) {
      if (fields.Bool(key, false)) fields.Refuse(key, "found true, supported is only false");
    }
  }
  if (!fields.Bool("is_causal", true)) fields.Refuse("is_causal", "found false, supported is only true");
  for (const char* key : {"per_layer_config", "kv_sharing_modes"}) {
    if (const Json* found = fields.Find(key); found != nullptr) {
      fields.Refuse(key, "found ", Description(*found), ", supported is only null");
    }
  }
  const std::string activation = fields.String("hidden_act", "silu");
  if (activation != "silu") fields.Refuse("hidden_act", "found ", Quoted(activation), ", supported is only 'silu'");
  const double rotated = fields.Number("partial_rotary_factor", 0, 1, 1);
  if (rotated != 1) fields.Refuse("partial_rotary_factor", "found ", rotated, ", supported is only 1");
}

void ReadHeads(JsonFields& fields, const Family& family, ModelConfig& config) {
  config.num_heads = static_cast<int>(fields.Integer("num_attention_heads", 1, kMaxHeads, 32));
  const bool null_kv_heads = fields.Has("num_key_value_heads") && fields.Find("num_key_value_heads") == nullptr;
  config.num_kv_heads = config.num_heads;
  if (!null_kv_heads) {
    config.num_kv_heads = static_cast<int>(
        fields.Integer("num_key_value_heads", 1, kMaxHeads, family.kv_heads > 0 ? family.kv_heads : config.num_heads));
  }
  if (config.num_heads % config.num_kv_heads != 0) {
    fields.Fail("num_key_value_heads", "found ", config.num_kv_heads, ", expected a divisor of the ", config.num_heads,
                " heads");
  }
  const bool explicit_dim = fields.Find("head_dim") != nullptr;
  if (explicit_dim) {
    config.head_dim = static_cast<int>(fields.Integer("head_dim", 1, kMaxHeads));
  } else {
    config.head_dim = config.hidden / config.num_heads;
    if (config.hidden % config.num_heads != 0) {
      fields.Fail("num_attention_heads", "found ", config.num_heads, ", expected a divisor of the hidden size ",
                  config.hidden);
    }
  }
  if (config.head_dim < kHeadDimUnit || config.head_dim > kMaxHeadDim || config.head_dim % kHeadDimUnit != 0) {
    fields.Refuse(explicit_dim ? "head_dim" : "num_attention_heads", "found a head dimension of ", config.head_dim,
                  ", supported are multiples of ", kHeadDimUnit, " up to ", kMaxHeadDim);
  }
}

// The keys of rope_scaling, or rope_parameters as transformers 5 calls it; null: nothing is scaled.
void ReadRope(JsonFields& fields, ModelConfig& config) {
  double theta = fields.Number("rope_theta", 1, 1e12, 10000);
  RopeScaling scaling;
  const auto find = [&](const char* key) {
    const Json* found = fields.Find(key);
    if (found != nullptr && !found->is_object()) {
      fields.Fail(key, "found ", Description(*found), ", expected an object or null");
      found = nullptr;
    }
    return found != nullptr && !found->empty() ? found : nullptr;
  };
  const Json* const older = find("rope_scaling");
  const Json* const newer = find("rope_parameters");
  const char* const key = older != nullptr ? "rope_scaling" : "rope_parameters";
  if (const Json* const object = older != nullptr ? older : newer; object != nullptr) {
    JsonFields rope(*object, fields.name(), absl::StrCat(key, "."));
    for (const auto& [inner, value] : object->items()) {
      if (value.is_object()) rope.Refuse(inner, "found an object, supported is one RoPE for all layers");
    }
    const std::string kind = rope.String(rope.Has("rope_type") ? "rope_type" : "type", "default");
    theta = rope.Number("rope_theta", 1, 1e12, theta);
    if (rope.Number("partial_rotary_factor", 0, 1, 1) != 1) {
      rope.Refuse("partial_rotary_factor", "found ", Description((*object)["partial_rotary_factor"]),
                  ", supported is only 1");
    }
    if (kind == "linear") {
      scaling.kind = RopeScalingKind::kLinear;
      scaling.factor = rope.Number("factor", 1, 1e6);
    } else if (kind == "llama3") {
      scaling.kind = RopeScalingKind::kLlama3;
      scaling.factor = rope.Number("factor", 1, 1e6);
      scaling.low_freq_factor = rope.Number("low_freq_factor", 0, 1e6);
      scaling.high_freq_factor = rope.Number("high_freq_factor", 0, 1e6);
      // The outer key, of older files, goes first in transformers.
      const int64_t inner = rope.Integer("original_max_position_embeddings", 1, kMaxPositions, config.max_positions);
      scaling.original_max_position_embeddings =
          fields.Integer("original_max_position_embeddings", 1, kMaxPositions, inner);
    } else if (kind != "default") {
      rope.Refuse(rope.Has("rope_type") ? "rope_type" : "type", "found ", Quoted(kind),
                  ", supported are default, linear, llama3");
    }
    fields.Update(rope.status());
  }
  config.rope.pairs = kernels::RopePairs::kHalves;
  if (!fields.status().ok()) return;
  if (absl::Status status = SetRope(theta, scaling, config); !status.ok()) {
    const std::string message(status.message());  // "<field>: .."
    const size_t colon = std::min(message.find(": "), message.size());
    fields.Fail(absl::StrCat(key, ".", message.substr(0, colon)), message.substr(std::min(colon + 2, message.size())));
  }
}

// Where layers attend to a window only, and how wide it is. 0: none does.
int64_t ReadWindow(JsonFields& fields, const Family& family, int num_layers) {
  if (family.window == 0) return 0;
  const bool null = fields.Has("sliding_window") && fields.Find("sliding_window") == nullptr;
  const int64_t window = null ? 0 : fields.Integer("sliding_window", 0, kMaxPositions, family.window);
  if (family.model_type != std::string_view("qwen2") || window == 0) {
    if (window == 0 && !null) fields.Fail("sliding_window", "found 0, expected at least 1, or null");
    return window;
  }
  if (!fields.Bool("use_sliding_window", false)) return 0;
  const int64_t first = fields.Integer("max_window_layers", 0, kMaxWidth, 28);
  const Json* const types = fields.Find("layer_types");
  if (types == nullptr) return first < num_layers ? window : 0;
  bool any = false;
  if (!types->is_array()) fields.Fail("layer_types", "found ", Description(*types), ", expected an array");
  for (const Json& type : *types) {
    if (type != "full_attention" && type != "sliding_attention") {
      fields.Refuse("layer_types", "found ", Description(type), ", supported are full_attention, sliding_attention");
    }
    any = any || type == "sliding_attention";
  }
  return any ? window : 0;
}

}  // namespace

absl::StatusOr<ModelConfig> ReadFolderConfig(std::string_view text, const std::string& name) {
  absl::StatusOr<Json> json = ParseJsonObject(text, kMaxConfigBytes, name);
  if (!json.ok()) return json.status();
  JsonFields fields(*json, name);
  const Family* const family = FindFamily(fields);
  if (!fields.status().ok()) return fields.status();

  ModelConfig config;
  config.architecture = family->model_type;
  config.qkv_bias = family->qkv_bias;
  RefuseUnknownFeatures(fields, *family);
  config.num_layers = static_cast<int>(fields.Integer("num_hidden_layers", 1, kMaxWidth, 32));
  config.hidden = static_cast<int>(fields.Integer("hidden_size", 1, kMaxWidth, 4096));
  config.ffn = static_cast<int>(fields.Integer("intermediate_size", 1, kMaxWidth, family->ffn));
  config.vocabulary = static_cast<int>(fields.Integer("vocab_size", 1, kMaxWidth, family->vocabulary));
  config.max_positions = fields.Integer("max_position_embeddings", 1, kMaxPositions, family->max_positions);
  // As a float it must not become zero.
  config.rms_eps = static_cast<float>(fields.Number("rms_norm_eps", 1e-30, 1, 1e-6));
  config.tied_output = fields.Bool("tie_word_embeddings", false);
  ReadHeads(fields, *family, config);
  ReadRope(fields, config);
  config.window = ReadWindow(fields, *family, config.num_layers);
  if (config.window > 0) config.max_positions = std::min(config.max_positions, config.window);
  if (!fields.status().ok()) return fields.status();
  return config;
}

}  // namespace cascade
