// Random schemas: what random tokens make of them fits, and what fits is let through.
#include <gtest/gtest.h>

#include <random>

#include "engine/grammar/grammar.h"
#include "engine/grammar/grammar_token_mask.h"
#include "tests/engine/grammar/plain_checker.h"
#include "tests/engine/grammar/schema_maker.h"
#include "tests/engine/grammar/vocabularies.h"

namespace cascade {
namespace {

constexpr uint64_t kSchemas = 600;

class GrammarRandomTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    for (const char* name : kTokenizerNames) {
      const std::unique_ptr<Tokenizer> tokenizer = ReadGoldenTokenizer(name);
      ASSERT_NE(tokenizer, nullptr);
      tries.push_back(std::make_shared<const TokenTrie>(*tokenizer));
    }
  }
  static void TearDownTestSuite() { tries.clear(); }

  static inline std::vector<std::shared_ptr<const TokenTrie>> tries;
};

std::vector<int32_t> IdsOf(const std::vector<uint64_t>& bits) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < 64 * bits.size(); ++i) {
    if ((bits[i / 64] >> (i % 64) & 1) != 0) ids.push_back(static_cast<int32_t>(i));
  }
  return ids;
}

bool InString(std::string_view text) {
  bool in = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') in = !in;
    if (text[i] == '\\') ++i;
  }
  return in;
}

// A reply of random tokens, more and more of which bring the end nearer. Checks every mask on its way.
std::string Walk(const std::shared_ptr<const Grammar>& grammar, const std::shared_ptr<const TokenTrie>& trie,
                 std::mt19937_64& random) {
  GrammarTokenMask mask(grammar, trie);
  std::vector<uint64_t> bits(trie->mask_words());
  std::string text;
  for (size_t step = 0; step < 5000; ++step) {
    if (mask.MayEnd() && random() % 3 == 0) return text;
    mask.Allowed(bits);
    const std::vector<int32_t> ids = IdsOf(bits);
    if (ids.empty()) {
      EXPECT_TRUE(mask.MayEnd()) << "neither on nor out after " << text;
      return text;
    }
    // Allowed and accepted are the same; with all bytes in the vocabulary there is no difference.
    for (int i = 0; i < 10; ++i) {
      const int32_t id = static_cast<int32_t>(random() % static_cast<uint64_t>(trie->vocabulary_size()));
      GrammarTokenMask copy = mask;
      const bool allowed = (bits[static_cast<size_t>(id) / 64] >> (id % 64) & 1) != 0;
      EXPECT_EQ(copy.Accept(id), allowed) << "after " << text << " comes " << trie->bytes(id);
    }
    int32_t next = ids[random() % ids.size()];
    if (random() % 400 < step + 20) {
      // What closes rather than what opens or goes on.
      size_t best = std::string::npos;
      // Patterns end in an accented e, or want a digit or a letter first.
      const std::string_view text_closing = step / 2 % 2 == 0 ? "\"\xA9\xC3" : "\"7xac";
      const std::string_view closing = InString(text) ? text_closing : "}],0\"";
      for (const int32_t id : ids) {
        const size_t rank = closing.find(trie->bytes(id));
        if (trie->bytes(id).size() == 1 && rank < best) {
          best = rank;
          next = id;
        }
      }
    }
    if (!mask.Accept(next)) {
      ADD_FAILURE() << "refused " << trie->bytes(next) << " after " << text;
      return text;
    }
    text += trie->bytes(next);
  }
  ADD_FAILURE() << "no end: " << text.substr(0, 1000);
  return text;
}

TEST_F(GrammarRandomTest, WhatMasksLetThroughFits) {
  int documents = 0;
  size_t bytes = 0;
  for (uint64_t seed = 0; seed < kSchemas; ++seed) {
    const Json schema = SchemaMaker(seed).Schema();
    const auto grammar = Grammar::Compile(schema.dump());
    ASSERT_TRUE(grammar.ok()) << grammar.status() << "\n" << schema.dump(1);
    std::mt19937_64 random(seed);
    for (int i = 0; i < 3; ++i) {
      const auto& trie = tries[(seed + static_cast<uint64_t>(i)) % tries.size()];
      ASSERT_TRUE((*grammar)->CheckVocabulary(*trie).ok());
      const std::string text = Walk(*grammar, trie, random);
      ASSERT_EQ(WhyNot(schema, text), "") << "seed " << seed << "\n" << text << "\n" << schema.dump(1);
      ASSERT_FALSE(HasFailure()) << "seed " << seed << "\n" << schema.dump(1);
      ++documents;
      bytes += text.size();
    }
  }
  EXPECT_EQ(documents, 3 * static_cast<int>(kSchemas));
  EXPECT_GT(bytes, 20u * kSchemas);  // not all of them empty
}

TEST_F(GrammarRandomTest, WhatFitsIsLetThrough) {
  size_t bytes = 0;
  for (uint64_t seed = 0; seed < kSchemas; ++seed) {
    SchemaMaker maker(seed);
    const Json schema = maker.Schema();
    const auto grammar = Grammar::Compile(schema.dump());
    ASSERT_TRUE(grammar.ok()) << grammar.status() << "\n" << schema.dump(1);
    for (int i = 0; i < 10; ++i) {
      const std::string text = maker.Document(schema);
      ASSERT_EQ(WhyNot(schema, text), "") << "seed " << seed << "\n" << text << "\n" << schema.dump(1);
      GrammarState state(*grammar);
      for (size_t at = 0; at < text.size(); ++at) {
        ASSERT_TRUE(state.Accept(text.substr(at, 1)))
            << "seed " << seed << ", behind " << text.substr(0, at) << " of " << text << "\n"
            << schema.dump(1);
      }
      ASSERT_TRUE(state.MayEnd()) << text << "\n" << schema.dump(1);
      bytes += text.size();
    }
  }
  EXPECT_GT(bytes, 100u * kSchemas);
}

// A mask is what the bytes say, whatever was asked before and however small the memory of it.
TEST_F(GrammarRandomTest, MasksDoNotDependOnWhatIsRemembered) {
  GrammarLimits small;
  small.max_cache_bytes = 1;
  small.max_mask_bytes = 1;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    SchemaMaker maker(seed);
    const Json schema = maker.Schema();
    const auto roomy = Grammar::Compile(schema.dump());
    const auto forgetful = Grammar::Compile(schema.dump(), small);
    ASSERT_TRUE(roomy.ok() && forgetful.ok());
    const TokenTrie& trie = *tries[seed % tries.size()];
    std::vector<uint64_t> a(trie.mask_words()), b(trie.mask_words());
    const std::string text = maker.Document(schema);
    GrammarState left(*roomy), right(*forgetful);
    for (const char byte : text) {
      left.Allowed(trie, a);
      right.Allowed(trie, b);
      ASSERT_EQ(a, b);
      ASSERT_TRUE(left.Accept(std::string_view(&byte, 1)));
      ASSERT_TRUE(right.Accept(std::string_view(&byte, 1)));
      ASSERT_EQ(left.MayEnd(), right.MayEnd());
    }
  }
}

}  // namespace
}  // namespace cascade
