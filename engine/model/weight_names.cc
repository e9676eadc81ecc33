#include "engine/model/weight_names.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"

namespace cascade {
namespace {

constexpr std::pair<const char*, const char*> kLayerNames[] = {
    {"attn_norm", "input_layernorm"}, {"attn_q", "self_attn.q_proj"},      {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},   {"attn_output", "self_attn.o_proj"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},    {"ffn_up", "mlp.up_proj"},           {"ffn_down", "mlp.down_proj"},
};

}  // namespace

std::string FolderWeightName(std::string_view gguf_name) {
  if (gguf_name == "token_embd.weight") return "model.embed_tokens.weight";
  if (gguf_name == "output_norm.weight") return "model.norm.weight";
  if (gguf_name == "output.weight") return "lm_head.weight";
  // blk.<layer>.<stem>.<weight or bias>
  constexpr std::string_view kBlock = "blk.";
  CASCADE_CHECK(gguf_name.starts_with(kBlock));
  const size_t layer_end = gguf_name.find('.', kBlock.size());
  const size_t stem_end = gguf_name.rfind('.');
  CASCADE_CHECK(layer_end != std::string_view::npos && stem_end > layer_end);
  const std::string layer(gguf_name.substr(kBlock.size(), layer_end - kBlock.size()));
  const std::string_view stem = gguf_name.substr(layer_end + 1, stem_end - layer_end - 1);
  for (const auto& [gguf, folder] : kLayerNames) {
    if (stem == gguf) {
      return absl::StrCat("model.layers.", layer, ".", folder, std::string(gguf_name.substr(stem_end)));
    }
  }
  CASCADE_CHECK(false);
  return "";
}

bool IsDerivedBuffer(std::string_view name) { return name.ends_with(".rotary_emb.inv_freq"); }

}  // namespace cascade
