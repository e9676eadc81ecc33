// What the weights of the Llama family are called in a Hugging Face folder.
#pragma once

#include <string>
#include <string_view>

namespace cascade {

// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight". `gguf_name` is one of ExpectedWeights'.
std::string FolderWeightName(std::string_view gguf_name);

// A tensor that older checkpoints carry and that is computed from the configuration.
bool IsDerivedBuffer(std::string_view name);

}  // namespace cascade
