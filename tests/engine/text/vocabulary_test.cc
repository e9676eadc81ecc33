#include "engine/text/vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/engine/text/byte_vocabulary.h"

namespace cascade {
namespace {

TEST(Vocabulary, NamesWhatIsWrong) {
  using absl::StatusCode;
  const struct {
    std::function<void(Vocabulary&)> spoil;
    StatusCode code;
    std::string message;
  } cases[] = {
      {[](Vocabulary& v) { v.pre_tokenizer = ""; }, StatusCode::kInvalidArgument, "tokenizer.ggml.pre: missing"},
      {[](Vocabulary& v) { v.pre_tokenizer = "bert"; }, StatusCode::kUnimplemented, "tokenizer.ggml.pre: \"bert\""},
      {[](Vocabulary& v) { v.tokens.clear(); }, StatusCode::kInvalidArgument, "tokenizer.ggml.tokens: missing"},
      {[](Vocabulary& v) { v.types.pop_back(); }, StatusCode::kInvalidArgument, "token_type: 259 types for 260 tokens"},
      {[](Vocabulary& v) { v.size = 0; }, StatusCode::kInvalidArgument, "size: 0 ids"},
      {[](Vocabulary& v) { v.tokens[3 + 'b'] = ""; }, StatusCode::kInvalidArgument, "no token for byte 98"},
      {[](Vocabulary& v) { v.tokens[7] = "\xFF"; }, StatusCode::kInvalidArgument, "tokens[7]: is not UTF-8"},
      {[](Vocabulary& v) { v.tokens[3 + 1] = "b"; }, StatusCode::kInvalidArgument,
       "tokens[101]: \"b\" is token 4 already"},
      {[](Vocabulary& v) { v.tokens[3 + 'b'] = "bbb"; }, StatusCode::kInvalidArgument, "no token for byte 98 (\"b\")"},
      {[](Vocabulary& v) { v.tokens[3 + '\n'] = "bbb"; }, StatusCode::kInvalidArgument, "no token for byte 10"},
      {[](Vocabulary& v) { v.merges.push_back("ab"); }, StatusCode::kInvalidArgument, "merges[1]: expected"},
      {[](Vocabulary& v) { v.merges.push_back("a b c"); }, StatusCode::kInvalidArgument, "merges[1]: expected"},
      {[](Vocabulary& v) { v.merges.push_back(" b"); }, StatusCode::kInvalidArgument, "merges[1]: expected"},
      {[](Vocabulary& v) { v.merges.push_back("b "); }, StatusCode::kInvalidArgument, "merges[1]: expected"},
      {[](Vocabulary& v) { v.merges.push_back(""); }, StatusCode::kInvalidArgument, "merges[1]: expected"},
      {[](Vocabulary& v) { v.merges.push_back("xy b"); }, StatusCode::kInvalidArgument, "merges[1]: no token \"xy\""},
      {[](Vocabulary& v) { v.merges.push_back("b c"); }, StatusCode::kInvalidArgument, "merges[1]: no token \"bc\""},
      {[](Vocabulary& v) { v.merges.push_back("a a"); }, StatusCode::kInvalidArgument, "merges[1]: \"a a\" is there"},
      {[](Vocabulary& v) { v.eos_id = 260; }, StatusCode::kInvalidArgument, "eos_token_id: 260 is not"},
      {[](Vocabulary& v) { v.bos_id = -2; }, StatusCode::kInvalidArgument, "bos_token_id: -2 is not"},
      {[](Vocabulary& v) { v.eot_id = 1 << 30; }, StatusCode::kInvalidArgument, "eot_token_id: 1073741824 is not"},
      {[](Vocabulary& v) { v.add_bos = true, v.bos_id = -1; }, StatusCode::kInvalidArgument, "add_bos_token"},
  };
  for (const auto& [spoil, code, message] : cases) {
    Vocabulary vocabulary = ByteVocabulary({"a a"});
    spoil(vocabulary);
    const absl::Status status = CreateTokenizer(vocabulary).status();
    EXPECT_EQ(status.code(), code) << message;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(message));
  }
}

TEST(Vocabulary, BeginAndEnd) {
  Vocabulary vocabulary = ByteVocabulary();
  vocabulary.add_bos = true;
  vocabulary.eos_id = -1;
  vocabulary.tokens.push_back("</s>");  // a plain piece of that name does not end a reply
  vocabulary.types.push_back(TokenType::kNormal);
  vocabulary.size = static_cast<int32_t>(vocabulary.tokens.size());
  auto tokenizer = CreateTokenizer(vocabulary);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_THAT((*tokenizer)->start_ids(), testing::ElementsAre(1));
  EXPECT_THAT((*tokenizer)->end_ids(), testing::ElementsAre(0, 2));
  vocabulary.eos_id = 5;
  vocabulary.eot_id = 5;
  tokenizer = CreateTokenizer(vocabulary);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_THAT((*tokenizer)->end_ids(), testing::ElementsAre(0, 2, 5));
}

TEST(Vocabulary, WithoutTypesTheNamedIdsAreControl) {
  Vocabulary vocabulary = ByteVocabulary();
  vocabulary.types.clear();
  const auto tokenizer = CreateTokenizer(vocabulary);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_FALSE((*tokenizer)->IsControl(0));
  EXPECT_TRUE((*tokenizer)->IsControl(1));
  EXPECT_TRUE((*tokenizer)->IsControl(2));
  EXPECT_EQ((*tokenizer)->TokenBytes(0), "<|endoftext|>");
}

TEST(Vocabulary, SomeBytesMayLack) {
  Vocabulary vocabulary = ByteVocabulary();
  vocabulary.tokens[3 + 0x04] = "unused";
  const auto tokenizer = CreateTokenizer(vocabulary);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ(DecodeText(**tokenizer, *(*tokenizer)->Encode("a\x04z", false)), "az");
}

}  // namespace
}  // namespace cascade
