#include "engine/grammar/token_trie.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/engine/grammar/vocabularies.h"

namespace cascade {
namespace {

class TokenTrieTest : public testing::TestWithParam<const char*> {};

TEST_P(TokenTrieTest, HoldsTheBytesOfAllTokensOnce) {
  const std::unique_ptr<Tokenizer> tokenizer = ReadGoldenTokenizer(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  const TokenTrie trie(*tokenizer);
  ASSERT_EQ(trie.vocabulary_size(), tokenizer->vocabulary_size());
  std::set<int32_t> found;
  std::string path;
  for (size_t i = 0; i + 1 < trie.nodes().size(); ++i) {
    const TokenTrie::Node& node = trie.nodes()[i];
    path.resize(node.depth - 1);
    path.push_back(static_cast<char>(node.byte));
    // Below a node is what begins with its bytes.
    ASSERT_GT(node.skip, i);
    for (size_t below = i + 1; below < node.skip; ++below) ASSERT_GT(trie.nodes()[below].depth, node.depth);
    ASSERT_LE(trie.nodes()[node.skip].depth, node.depth);
    for (uint32_t token = node.first_token; token < trie.nodes()[i + 1].first_token; ++token) {
      const int32_t id = trie.tokens()[token];
      EXPECT_EQ(tokenizer->TokenBytes(id), path);
      EXPECT_EQ(trie.bytes(id), path);
      EXPECT_TRUE(found.insert(id).second);
    }
  }
  size_t expected = 0;
  for (int32_t id = 0; id < tokenizer->vocabulary_size(); ++id) {
    const bool in = !tokenizer->IsControl(id) && id != tokenizer->unknown_id() && !tokenizer->TokenBytes(id).empty();
    expected += in;
    EXPECT_EQ(found.contains(id), in) << id;
  }
  EXPECT_EQ(found.size(), expected);
  EXPECT_GT(expected, 256u);
  EXPECT_TRUE(trie.single_bytes().all());
}
INSTANTIATE_TEST_SUITE_P(All, TokenTrieTest, testing::ValuesIn(kTokenizerNames));

}  // namespace
}  // namespace cascade
