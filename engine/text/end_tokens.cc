#include "engine/text/end_tokens.h"

#include <algorithm>
#include <iterator>

namespace cascade {
namespace {

constexpr std::string_view kEndNames[] = {"<|im_end|>",      "<|endoftext|>", "<|eot_id|>",    "<|eom_id|>",
                                          "<|end_of_text|>", "<|end|>",       "<end_of_turn>", "</s>",
                                          "<EOT>",           "<|eot|>",       "<|return|>"};

bool IsMarker(std::string_view text) {
  constexpr std::string_view kBrackets[][2] = {{"<|", "|>"}, {"<\uFF5C", "\uFF5C>"}};
  return std::any_of(std::begin(kBrackets), std::end(kBrackets), [&](const auto& pair) {
    return text.size() > pair[0].size() + pair[1].size() && text.starts_with(pair[0]) && text.ends_with(pair[1]);
  });
}

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

ControlRule::ControlRule(const Vocabulary& vocabulary) : ids_(vocabulary.end_ids) {
  ids_.insert(ids_.end(), {vocabulary.bos_id, vocabulary.eos_id, vocabulary.eot_id});
  std::sort(ids_.begin(), ids_.end());
}

bool ControlRule::Applies(int32_t id, std::string_view text, TokenType type) const {
  if (text.empty() || type == TokenType::kByte || type == TokenType::kUnknown) return false;
  if (std::binary_search(ids_.begin(), ids_.end(), id)) return true;
  return type == TokenType::kUserDefined &&
         (IsMarker(text) || std::find(std::begin(kEndNames), std::end(kEndNames), text) != std::end(kEndNames));
}

void MarkControlTokens(Vocabulary* vocabulary) {
  const ControlRule rule(*vocabulary);
  const bool needs_types = vocabulary->kind == TokenizerKind::kSentencePiece;  // has them, or is refused
  if (vocabulary->types.empty() && !needs_types) {
    vocabulary->types.resize(vocabulary->tokens.size(), TokenType::kNormal);
  }
  for (size_t i = 0; i < vocabulary->types.size(); ++i) {
    TokenType& type = vocabulary->types[i];
    if (rule.Applies(static_cast<int32_t>(i), vocabulary->tokens[i], type)) type = TokenType::kControl;
  }
  for (AddedToken& token : vocabulary->added) {
    if (rule.Applies(token.id, token.text, TokenType::kUserDefined)) token.special = true;
  }
}

}  // namespace cascade
