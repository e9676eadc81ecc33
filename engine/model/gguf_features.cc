#include "engine/model/gguf_features.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace cascade {
namespace {

// Read and checked by gguf_config.cc.
constexpr std::string_view kRead[] = {
    "attention.head_count",     "attention.head_count_kv", "attention.key_length", "attention.layer_norm_rms_epsilon",
    "attention.sliding_window", "attention.value_length",  "block_count",          "context_length",
    "embedding_length",         "feed_forward_length",     "rope.dimension_count", "rope.freq_base",
    "rope.scale_linear",        "rope.scaling.factor",     "rope.scaling.type",    "vocab_size",
};

// Of no consequence, as long as what they belong to (experts, YaRN, layer norms with a mean) is not there.
constexpr std::string_view kIgnored[] = {
    "attention.layer_norm_epsilon", "expert_feed_forward_length",           "expert_used_count",
    "rope.scaling.finetuned",       "rope.scaling.original_context_length", "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",  "rope.scaling.yarn_log_multiplier",
    "tensor_data_layout",  // how the file was made; the order of the weights within it is the same
};

// Known, and accepted with the value only that means "as in Llama". Zero stands for "not set" in the scales.
struct Neutral {
  std::string_view key;
  std::vector<double> values;
  const char* expected;
};

std::vector<Neutral> Neutrals(const ModelConfig& config) {
  return {
      {"attention.causal", {1}, "true"},
      {"attention.clamp_kqv", {0}, "0"},
      {"attention.max_alibi_bias", {0}, "0"},
      {"attention.scale", {0, 1 / std::sqrt(static_cast<double>(config.head_dim))}, "0 or 1 / sqrt(head dimension)"},
      {"attn_logit_softcapping", {0}, "0"},
      {"embedding_scale", {0, 1}, "1"},
      {"expert_count", {0}, "0"},
      {"expert_shared_count", {0}, "0"},
      {"final_logit_softcapping", {0}, "0"},
      {"logit_scale", {0, 1}, "1"},
      {"residual_scale", {0, 1}, "1"},
      {"rope.scaling.attn_factor", {0, 1}, "1"},
      {"rope.scaling.yarn_ext_factor", {0}, "0"},
      {"use_parallel_residual", {0}, "false"},
  };
}

// A number or a flag as a number.
std::optional<double> AsNumber(const GgufValue& value) {
  if (const std::optional<int64_t> integer = value.Integer()) return static_cast<double>(*integer);
  if (const std::optional<float> number = value.Float()) return *number;
  if (const std::optional<bool> flag = value.Bool()) return *flag ? 1 : 0;
  return std::nullopt;
}

bool Contains(std::span<const std::string_view> keys, std::string_view key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

}  // namespace

void RefuseUnknownFeatures(const ModelConfig& config, GgufFields& fields) {
  constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;
  const std::vector<Neutral> neutrals = Neutrals(config);
  const std::string prefix = config.architecture + ".";
  for (auto it = fields.file().values.lower_bound(prefix); it != fields.file().values.end(); ++it) {
    const auto& [key, value] = *it;
    if (key.substr(0, prefix.size()) != prefix) break;
    const std::string_view rest = key.substr(prefix.size());
    if (Contains(kRead, rest) || Contains(kIgnored, rest)) continue;
    const auto neutral =
        std::find_if(neutrals.begin(), neutrals.end(), [&](const Neutral& entry) { return entry.key == rest; });
    if (neutral == neutrals.end()) {
      fields.FailWith(kUnimplemented, key, "not known of architecture '", config.architecture,
                      "'; it may change what the model computes");
      return;
    }
    const std::optional<double> number = AsNumber(value);
    if (!number) {
      fields.Fail(key, "found ", value.Description(), ", expected a number or BOOL");
      return;
    }
    const bool harmless = std::any_of(neutral->values.begin(), neutral->values.end(), [&](double accepted) {
      return std::abs(*number - accepted) <= 1e-6 * std::abs(accepted);
    });
    if (!harmless) {
      const std::optional<bool> flag = value.Bool();
      fields.FailWith(kUnimplemented, key, "found ",
                      flag ? absl::StrCat(*flag ? "true" : "false") : absl::StrCat(*number), ", supported is only ",
                      neutral->expected);
      return;
    }
  }
}

}  // namespace cascade
