#include "engine/text/end_tokens.h"

#include <algorithm>
#include <string_view>

namespace cascade {
namespace {

constexpr std::string_view kEndNames[] = {"<|im_end|>",      "<|endoftext|>", "<|eot_id|>",    "<|eom_id|>",
                                          "<|end_of_text|>", "<|end|>",       "<end_of_turn>", "</s>",
                                          "<EOT>",           "<|eot|>",       "<|return|>"};

}  // namespace

std::vector<int32_t> FindEndIds(const Vocabulary& vocabulary, int32_t eos_id, const SpecialTokens& control) {
  std::vector<int32_t> ids = vocabulary.end_ids;
  ids.push_back(eos_id);
  ids.push_back(vocabulary.eot_id);
  for (const std::string_view name : kEndNames) ids.push_back(control.Find(name));
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  ids.erase(ids.begin(), std::lower_bound(ids.begin(), ids.end(), 0));
  return ids;
}

}  // namespace cascade
