#include "engine/grammar/token_trie.h"

#include <algorithm>
#include <atomic>

namespace cascade {

TokenTrie::TokenTrie(const Tokenizer& tokenizer) {
  static std::atomic<uint64_t> last_number{0};
  number_ = ++last_number;
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < tokenizer.vocabulary_size(); ++id) {
    begin_.push_back(text_.size());
    if (tokenizer.IsControl(id) || id == tokenizer.unknown_id()) continue;
    const std::string_view bytes = tokenizer.TokenBytes(id);
    if (bytes.empty()) continue;
    text_ += bytes;
    ids.push_back(id);
    if (bytes.size() == 1) single_bytes_[static_cast<uint8_t>(bytes[0])] = true;
    if (bytes.find('"') != std::string_view::npos) quoting_.push_back(id);
  }
  begin_.push_back(text_.size());
  // In this order a node is followed by all that is below it.
  std::sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) {
    const std::string_view left = bytes(a), right = bytes(b);
    return left != right ? left < right : a < b;
  });
  std::vector<size_t> open;  // nodes from the root to the last one
  const auto close_to = [&](size_t depth) {
    for (; open.size() > depth; open.pop_back()) nodes_[open.back()].skip = static_cast<uint32_t>(nodes_.size());
  };
  std::string_view before;
  for (const int32_t id : ids) {
    const std::string_view token = bytes(id);
    const size_t shared = static_cast<size_t>(
        std::mismatch(token.begin(), token.end(), before.begin(), before.end()).first - token.begin());
    close_to(shared);
    for (size_t i = shared; i < token.size(); ++i) {
      open.push_back(nodes_.size());
      nodes_.push_back(
          {static_cast<uint8_t>(token[i]), static_cast<uint32_t>(i + 1), 0, static_cast<uint32_t>(tokens_.size())});
    }
    depth_ = std::max(depth_, static_cast<uint32_t>(token.size()));
    tokens_.push_back(id);
    before = token;
  }
  close_to(0);
  nodes_.push_back({0, 0, 0, static_cast<uint32_t>(tokens_.size())});
}

}  // namespace cascade
