#include "engine/grammar/grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "engine/grammar/grammar_token_mask.h"
#include "tests/support/byte_tokenizer.h"

namespace cascade {
namespace {

bool Fits(const std::shared_ptr<const Grammar>& grammar, std::string_view text) {
  GrammarState state(grammar);
  const bool at_once = state.Accept(text) && state.MayEnd();
  GrammarState bytewise(grammar);
  for (const char& byte : text) {
    if (!bytewise.Accept(std::string_view(&byte, 1))) {
      EXPECT_FALSE(at_once) << text;
      return false;
    }
  }
  EXPECT_EQ(bytewise.MayEnd(), at_once) << text;
  return at_once;
}

struct Case {
  std::string schema;
  std::vector<std::string> fit;
  std::vector<std::string> fail;
};

void PrintTo(const Case& test, std::ostream* out) { *out << test.schema; }

class GrammarCaseTest : public testing::TestWithParam<Case> {};

TEST_P(GrammarCaseTest, Fits) {
  const auto grammar = Grammar::Compile(GetParam().schema);
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  for (const std::string& text : GetParam().fit) EXPECT_TRUE(Fits(*grammar, text)) << text;
  for (const std::string& text : GetParam().fail) EXPECT_FALSE(Fits(*grammar, text)) << text;
}

std::string Nested(int depth, const std::string& open, const std::string& close) {
  std::string text;
  for (int i = 0; i < depth; ++i) text += open;
  for (int i = 0; i < depth; ++i) text += close;
  return text;
}

const Case kCases[] = {
    // Scalars.
    {R"({"type":"null"})", {"null"}, {"", "nul", "nulll", " null", "true", "0"}},
    {R"({"type":"boolean"})", {"true", "false"}, {"True", "null", "0"}},
    {R"({"type":"integer"})",
     {"0", "-1", "7", "123456789012345678", "-999999999999999999"},
     {"-0", "01", "1.0", "1e3", "+1", "-", "1234567890123456789", "\"1\""}},
    {R"({"type":"number"})",
     {"0", "-0", "0.5", "-12.75", "1e5", "1E-10", "0.0e+00", "123456789012345.123456789012345e99"},
     {".5", "1.", "01", "1e", "1e100", "--1", "NaN", "1234567890123456", "0.1234567890123456"}},
    {R"({"type":["integer","null"]})", {"5", "null"}, {"5.5", "\"\""}},
    // Bounds hold digit by digit.
    {R"({"type":"integer","minimum":-3,"maximum":12})",
     {"-3", "-1", "0", "9", "10", "12"},
     {"-4", "13", "-10", "20", "100", "-0", "00"}},
    {R"({"type":"integer","exclusiveMinimum":9,"exclusiveMaximum":101})", {"10", "99", "100"}, {"9", "101", "8", "1"}},
    {R"({"type":"integer","minimum":1.5,"maximum":3.9})", {"2", "3"}, {"1", "4", "0"}},
    {R"({"type":"integer","minimum":1e3})", {"1000", "999999999999999999"}, {"999", "-1000", "0"}},
    {R"({"type":"number","minimum":0,"maximum":1})",
     {"0", "1", "0.5", "1.0", "1.000", "0.9999999999"},
     {"1.1", "-0.1", "1.0001", "2", "1e-1", "-0", "0.99999999999"}},
    {R"({"type":"number","exclusiveMinimum":-0.25,"exclusiveMaximum":10.5})",
     {"-0.2", "-0.2499", "0", "10.49", "10", "9.99"},
     {"-0.25", "-0.250", "10.5", "10.50", "11", "-1"}},
    {R"({"type":"number","minimum":99.995})", {"99.995", "100", "123456789.123456"}, {"99.99", "99.9949", "9", "-100"}},
    {R"({"type":["number","string"],"maximum":5})", {"5", "-123456789.5", "\"6\""}, {"6", "5.1"}},
    // Strings.
    {R"({"type":"string"})",
     {R"("")", R"("a b")", R"("\"\\\/\b\f\n\r\t")", R"("\u0000\u00e9\uFFFF\uD83D\uDE00")",
      "\"\xC3\xA9\xF0\x9F\x98\x80\x7F\""},
     {"\"\n\"", "\"\t\"", R"("\x")", R"("\u12g4")", R"("\uD83D")", R"("\uDE00")", R"("\uD83D\u0041")", "\"\xC3\"",
      "\"\xC0\x80\"", "\"\xED\xA0\x80\"", "\"\xF5\x80\x80\x80\"", "\"a", "\"a\"b", "''"}},
    {R"({"type":"string","minLength":2,"maxLength":3})",
     {R"("ab")", R"("abc")", "\"\xC3\xA9\xF0\x9F\x98\x80\"", R"("\n\u0041")", R"("\uD83D\uDE00x")"},
     {R"("a")", R"("abcd")", R"("\uD83D\uDE00")", "\"\xF0\x9F\x98\x80\""}},
    {R"({"type":"string","minLength":1})", {R"("a")", R"("aaaaaaaaaaaaaaa")"}, {R"("")"}},
    {R"({"type":"string","maxLength":0})", {R"("")"}, {R"("a")"}},
    {R"({"type":"string","pattern":"^a+$","maxLength":3})", {R"("a")", R"("aaa")"}, {R"("")", R"("aaaa")", R"("ab")"}},
    {R"({"type":"string","pattern":"b","minLength":3})",
     {R"("abc")", R"("xxb")", R"("b\"\n")"},
     {R"("bb")", R"("aaa")"}},
    {R"({"type":"string","pattern":"^.$"})",
     {R"("\"")", R"("\\")", R"("\t")", R"("\u001f")"},
     {R"("\n")", R"("\u0041")"}},
    {R"({"type":"string","format":"date"})",
     {R"("2024-02-28")", R"("2023-12-31")", R"("2023-04-30")"},
     {R"("2023-02-29")", R"("2023-04-31")", R"("2023-13-01")", R"("2023-1-01")", R"("0000-01-01")"}},
    {R"({"type":"string","format":"uuid"})",
     {R"("123e4567-e89b-12d3-a456-426614174000")"},
     {R"("123e4567e89b12d3a456426614174000")", R"("")"}},
    // Listed values.
    {R"({"enum":["a","ab","b\"",1,-2.5,null,true,[1,{"x":[]}]]})",
     {R"("a")", R"("ab")", R"("b\"")", "1", "-2.5", "null", "true", R"([1,{"x":[]}])", R"([1, {"x": []}])"},
     {R"("abc")", "2", "false", "[]", R"([1,{"x":[ ]}])", R"("\u0061")", "1.0"}},
    {R"({"const":{"b":1,"a":"\n"}})", {R"({"b":1,"a":"\n"})"}, {R"({"a":"\n","b":1})", R"({"b":1})"}},
    {R"({"type":"string","enum":["x",1]})", {R"("x")"}, {"1"}},
    {R"({"enum":[1,"x"],"const":1.0})", {"1.0"}, {R"("x")"}},
    // Arrays.
    {R"({"type":"array","items":{"type":"boolean"}})",
     {"[]", "[true]", "[true, false,true]"},
     {"[true,]", "[,]", "[1]", "[ true]", "[true ]", "[true,  true]", "[true"}},
    {R"({"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":3})",
     {"[1,2]", "[1,2,3]"},
     {"[]", "[1]", "[1,2,3,4]"}},
    {R"({"type":"array","prefixItems":[{"type":"null"},{"type":"boolean"}],"items":{"type":"integer"},"minItems":1})",
     {"[null]", "[null,true]", "[null,true,1,2]"},
     {"[]", "[true]", "[null,1]", "[null,true,true]"}},
    {R"({"type":"array","prefixItems":[{"type":"null"},{"type":"boolean"}],"items":false})",
     {"[]", "[null]", "[null,true]"},
     {"[null,true,1]"}},
    {R"({"type":"array","prefixItems":[true,false]})", {"[]", "[1]", R"(["x"])"}, {"[1,2]"}},
    {R"({"type":"array","maxItems":0})", {"[]"}, {"[1]"}},
    // Objects: in order, required ones always, others behind them, no key twice.
    {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"},"c":{"type":"integer"}},
         "required":["b"],"additionalProperties":false})",
     {R"({"b":1})", R"({"a":1,"b":2})", R"({"b": 1, "c": 2})", R"({"a":1,"b":2,"c":3})"},
     {"{}", R"({"a":1})", R"({"b":1,"a":2})", R"({"b":1,"b":2})", R"({"b":1,"d":2})", R"({"b":"x"})", R"({"b" :1})",
      R"({"b":1,})", R"({ "b":1})", R"({"\u0062":1})"}},
    {R"({"type":"object","properties":{"a":{"type":"integer"}}})",
     {"{}", R"({"a":1})", R"({"b":"any"})", R"({"a":1,"aa":2,"":3,"A":{"A":1,"a":[{}]}})",
      R"({"\n":1,"n":2,"\u0001":3})"},
     {R"({"a":"x"})", R"({"b":1,"a":1})", R"({"b":1,"b":1})", R"({"b":1,"c":{"x":1,"x":2}})", R"({"x":1,"a":"y"})",
      R"({"\u0078":1})"}},
    {R"({"type":"object","additionalProperties":{"type":"integer"},"required":["z"]})",
     {R"({"z":1})", R"({"z":1,"y":2})"},
     {"{}", R"({"y":1,"z":2})", R"({"z":1,"z":2})", R"({"z":"1"})"}},
    {R"({"type":"object","properties":{"a":false,"b":true},"required":["b"]})",
     {R"({"b":[1]})", R"({"b":1,"c":2})"},
     {R"({"a":1,"b":1})", R"({"b":1,"a":1})"}},
    {R"({})", {"1", "\"x\"", "[1,[2]]", R"({"a":{"b":null}})", "-1.5e3"}, {"{", R"({"a":1,"a":2})", "[1 ,2]"}},
    // References and recursion.
    {R"({"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"v":{"type":"integer"},"n":{"$ref":"#/$defs/n"}},
         "required":["v"],"additionalProperties":false}}})",
     {R"({"v":1})", R"({"v":1,"n":{"v":2,"n":{"v":3}}})"},
     {R"({"n":{"v":1}})", R"({"v":1,"n":{}})"}},
    {R"({"anyOf":[{"$ref":"#"},{"type":"null"}]})", {"null"}, {"1"}},
    {R"({"type":"array","items":{"$ref":"#"}})", {"[]", "[[],[[]]]", Nested(64, "[", "]")}, {Nested(65, "[", "]")}},
    {R"({"anyOf":[{"type":"array","items":{"$ref":"#"},"minItems":1},{"type":"integer"}]})",
     {"[[1]]", "7"},
     {"[]", Nested(63, "[", "]")}},
    {R"({"definitions":{"a b":{"const":1}},"$ref":"#/definitions/a%20b"})", {"1"}, {"2"}},
    // Combinations.
    {R"({"anyOf":[{"type":"integer","maximum":5},{"type":"string","maxLength":1},{"type":"integer","minimum":100}]})",
     {"5", "100", R"("a")"},
     {"6", "99", R"("ab")"}},
    {R"({"anyOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false},
                  {"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}]})",
     {R"({"a":1})", R"({"a":"x"})"},
     {R"({"a":null})"}},
    {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"additionalProperties":false,
         "anyOf":[{"required":["a"]},{"required":["b"]}]})",
     {R"({"a":1})", R"({"b":1})", R"({"a":1,"b":1})"},
     {"{}"}},
    {R"({"oneOf":[{"properties":{"k":{"const":"x"},"v":{"type":"integer"}},"required":["k","v"],"type":"object"},
                  {"properties":{"k":{"enum":["y","z"]}},"required":["k"],"type":"object"}]})",
     {R"({"k":"x","v":1})", R"({"k":"z"})"},
     {R"({"k":"x"})", R"({"k":"w"})"}},
    {R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer","minimum":1}},"required":["a"]},
                  {"properties":{"a":{"maximum":3},"b":{"type":"null"}},"additionalProperties":false}]})",
     {R"({"a":1})", R"({"a":3,"b":null})"},
     {R"({"a":0})", R"({"a":4})", "{}", R"({"a":1,"c":1})"}},
    {R"({"$ref":"#/$defs/s","maxLength":2,"$defs":{"s":{"type":"string","minLength":1}}})",
     {R"("ab")"},
     {R"("")", R"("abc")"}},
    {R"({"type":["string","null"],"anyOf":[{"type":"string"},{"type":"integer"}]})", {R"("x")"}, {"1", "null"}},
};
INSTANTIATE_TEST_SUITE_P(All, GrammarCaseTest, testing::ValuesIn(kCases));

std::shared_ptr<const Grammar> Compile(const std::string& schema) {
  const auto grammar = Grammar::Compile(schema);
  EXPECT_TRUE(grammar.ok()) << grammar.status();
  return *grammar;
}

std::string AllowedBytes(GrammarState& state, const TokenTrie& trie) {
  std::vector<uint64_t> bits(trie.mask_words(), ~uint64_t{0});
  state.Allowed(trie, bits);
  std::string bytes;
  for (size_t i = 0; i < 64 * bits.size(); ++i) {
    if ((bits[i / 64] >> (i % 64) & 1) != 0) bytes += static_cast<char>(i);
  }
  return bytes;
}

TEST(GrammarState, MasksOfBytes) {
  const auto grammar = Compile(R"({"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"],
                                   "additionalProperties":false})");
  const TokenTrie trie{ByteTokenizer()};
  ASSERT_TRUE(grammar->CheckVocabulary(trie).ok());
  GrammarState state(grammar);
  EXPECT_EQ(AllowedBytes(state, trie), "{");
  ASSERT_TRUE(state.Accept("{\"ok\":"));
  EXPECT_EQ(AllowedBytes(state, trie), " ft");
  EXPECT_FALSE(state.Accept("  "));
  EXPECT_EQ(AllowedBytes(state, trie), " ft");  // as before
  GrammarState copy = state;
  ASSERT_TRUE(state.Accept(" true"));
  EXPECT_EQ(AllowedBytes(state, trie), "}");
  EXPECT_EQ(AllowedBytes(copy, trie), " ft");
  EXPECT_FALSE(state.MayEnd());
  ASSERT_TRUE(state.Accept("}"));
  EXPECT_TRUE(state.MayEnd());
  EXPECT_EQ(AllowedBytes(state, trie), "");
  EXPECT_FALSE(state.Accept(" "));
}

TEST(GrammarState, AKeyIsNotEndedTwice) {
  const auto grammar = Compile(R"({"type":"object"})");
  const TokenTrie trie{ByteTokenizer()};
  GrammarState state(grammar);
  ASSERT_TRUE(state.Accept(R"({"ab":{"x":1},"a)"));
  EXPECT_THAT(AllowedBytes(state, trie), testing::HasSubstr("\""));
  ASSERT_TRUE(state.Accept("b"));
  EXPECT_THAT(AllowedBytes(state, trie), testing::Not(testing::HasSubstr("\"")));
  EXPECT_FALSE(state.Accept("\""));
  EXPECT_TRUE(state.Accept(R"(c":{"ab":1,"x":2},"x":3})"));
  EXPECT_TRUE(state.MayEnd());
}

// A vocabulary without some bytes, but with longer tokens that have them.
class FewBytes final : public Tokenizer {
 public:
  explicit FewBytes(std::vector<std::string> tokens) : tokens_(std::move(tokens)) {}
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view, bool) const override { return std::vector<int32_t>(); }
  std::string_view TokenBytes(int32_t id) const override { return tokens_[static_cast<size_t>(id)]; }
  int32_t vocabulary_size() const override { return static_cast<int32_t>(tokens_.size()); }
  bool IsControl(int32_t) const override { return false; }
  std::string_view TokenText(int32_t id) const override { return TokenBytes(id); }
  int32_t bos_id() const override { return -1; }
  int32_t eos_id() const override { return -1; }
  int32_t unknown_id() const override { return -1; }
  bool adds_space() const override { return false; }
  const std::vector<int32_t>& end_ids() const override { return none_; }
  const std::vector<int32_t>& start_ids() const override { return none_; }
  int32_t FindControl(std::string_view) const override { return -1; }

 private:
  std::vector<std::string> tokens_;
  std::vector<int32_t> none_;
};

TEST(GrammarState, IsNotLedToWhereNoTokenGoesOn) {
  const auto grammar = Compile(R"({"enum":["abc","abd","\u00e9"]})");
  const TokenTrie trie{FewBytes({"\"", "a", "b", "c", "abd", "ab", "\xC3", "\xC3\xA9", "d\""})};
  ASSERT_TRUE(grammar->CheckVocabulary(trie).ok());
  const auto allowed = [&](const GrammarState& at) {
    GrammarState state = at;
    std::vector<uint64_t> bits(1);
    state.Allowed(trie, bits);
    std::vector<std::string> tokens;
    for (int32_t id = 0; id < trie.vocabulary_size(); ++id) {
      if ((bits[0] >> id & 1) != 0) tokens.emplace_back(trie.bytes(id));
    }
    return tokens;
  };
  GrammarState state(grammar);
  ASSERT_TRUE(state.Accept("\""));
  // The first byte of the accented letter would be the end of the way.
  EXPECT_THAT(allowed(state), testing::ElementsAre("a", "abd", "ab", "\xC3\xA9"));
  ASSERT_TRUE(state.Accept("ab"));
  EXPECT_THAT(allowed(state), testing::ElementsAre("c", "d\""));
  const TokenTrie poor{FewBytes({"\"a", "b", "c\"", "d"})};
  EXPECT_FALSE(grammar->CheckVocabulary(poor).ok());
}

TEST(GrammarState, TwoReadingsOfTheSameStart) {
  const auto grammar = Compile(R"({"anyOf":[{"type":"array","items":{"type":"integer"}},
                                            {"type":"array","items":{"type":"number"},"minItems":2,"maxItems":2}]})");
  EXPECT_TRUE(Fits(grammar, "[1,2,3]"));
  EXPECT_TRUE(Fits(grammar, "[1.5,2]"));
  EXPECT_FALSE(Fits(grammar, "[1.5,2,3]"));
  EXPECT_FALSE(Fits(grammar, "[1,2,3.5]"));
}

// More readings than are followed: those that are left lead to an end all the same.
TEST(GrammarState, TooManyReadings) {
  std::string schema = R"({"anyOf":[)";
  for (int i = 0; i < 200; ++i) {
    schema += i == 0 ? R"({"anyOf":[)" : R"(,{"anyOf":[)";
    for (int j = 0; j < 10; ++j) {
      schema += (j == 0 ? R"({"type":"string","pattern":"^[a-z]*)" : R"(,{"type":"string","pattern":"^[a-z]*)") +
                std::to_string(10 * i + j) + "$\"}";
    }
    schema += "]}";
  }
  GrammarLimits limits;
  limits.max_schema_bytes = 1 << 20;
  const auto grammar = Grammar::Compile(schema + "]}", limits);
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  const TokenTrie trie{ByteTokenizer()};
  GrammarState state(*grammar);
  ASSERT_TRUE(state.Accept("\"word"));
  for (int i = 0; i < 10 && !state.MayEnd(); ++i) {
    const std::string allowed = AllowedBytes(state, trie);
    ASSERT_FALSE(allowed.empty());
    ASSERT_TRUE(state.Accept(allowed.substr(0, 1)));  // the quote, else a digit
  }
  EXPECT_TRUE(state.MayEnd());
}

TEST(Grammar, RepliesOfManyThreadsShareOne) {
  const auto grammar =
      Compile(R"({"type":"array","items":{"type":"object","properties":{"n":{"type":"string","maxLength":9}}}})");
  const TokenTrie trie{ByteTokenizer()};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      std::vector<uint64_t> bits(trie.mask_words());
      for (int round = 0; round < 20; ++round) {
        GrammarState state(grammar);
        for (const char byte : std::string_view(R"([{"n":"abc","o":[1,{}]}, {"n": "d"}])")) {
          state.Allowed(trie, bits);
          const auto index = static_cast<unsigned char>(byte);
          EXPECT_TRUE((bits[index / 64] >> (index % 64) & 1) != 0);
          EXPECT_TRUE(state.Accept(std::string_view(&byte, 1)));
        }
        EXPECT_TRUE(state.MayEnd());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(GrammarTokenMask, AcceptsIdsOfTokensOnly) {
  const auto trie = std::make_shared<const TokenTrie>(ByteTokenizer());
  GrammarTokenMask mask(Compile(R"({"enum":["<e>"]})"), trie);
  EXPECT_FALSE(mask.Accept(ByteTokenizer::kEnd));
  EXPECT_FALSE(mask.Accept(-1));
  EXPECT_FALSE(mask.Accept(ByteTokenizer::kVocabulary));
  EXPECT_FALSE(mask.Accept('x'));
  for (const char byte : std::string_view("\"<e>")) EXPECT_TRUE(mask.Accept(byte));
  EXPECT_FALSE(mask.MayEnd());
  EXPECT_TRUE(mask.Accept('"'));
  EXPECT_TRUE(mask.MayEnd());
}

}  // namespace
}  // namespace cascade
