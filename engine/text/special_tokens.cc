#include "engine/text/special_tokens.h"

#include "kernels/base/check.h"

namespace cascade {
namespace {

uint64_t Key(int32_t node, char byte) { return static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(byte); }

}  // namespace

int32_t SpecialTokens::Child(int32_t node, char byte) const {
  const auto it = children_.find(Key(node, byte));
  return it == children_.end() ? -1 : it->second;
}

void SpecialTokens::Add(std::string_view text, int32_t id) {
  CASCADE_CHECK(!text.empty());
  first_[static_cast<uint8_t>(text[0])] = true;
  int32_t node = 0;
  for (const char byte : text) {
    const auto [it, added] = children_.try_emplace(Key(node, byte), static_cast<int32_t>(nodes_.size()));
    if (added) nodes_.push_back(-1);
    node = it->second;
  }
  CASCADE_CHECK(nodes_[node] == -1);
  nodes_[node] = id;
}

int32_t SpecialTokens::Find(std::string_view text) const {
  const auto [id, length] = Match(text, 0);
  return length == text.size() ? id : -1;
}

std::pair<int32_t, size_t> SpecialTokens::Match(std::string_view text, size_t pos) const {
  std::pair<int32_t, size_t> best = {-1, 0};
  if (pos >= text.size() || !first_[static_cast<uint8_t>(text[pos])]) return best;
  int32_t node = 0;
  for (size_t i = pos; i < text.size(); ++i) {
    node = Child(node, text[i]);
    if (node < 0) break;
    if (nodes_[node] >= 0) best = {nodes_[node], i - pos + 1};
  }
  return best;
}

}  // namespace cascade
