#include "engine/text/text_decoder.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/text/utf8.h"
#include "tests/engine/text/byte_vocabulary.h"

namespace cascade {
namespace {

// A token for every given string of bytes.
class ScriptedTokens : public Tokenizer {
 public:
  explicit ScriptedTokens(std::vector<std::string> tokens) : tokens_(std::move(tokens)) {}
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view, bool) const override {
    return absl::UnimplementedError("");
  }
  std::string_view TokenBytes(int32_t id) const override { return tokens_[static_cast<size_t>(id)]; }
  int32_t vocabulary_size() const override { return static_cast<int32_t>(tokens_.size()); }
  bool IsControl(int32_t id) const override { return TokenBytes(id).empty(); }
  std::string_view TokenText(int32_t id) const override { return TokenBytes(id); }
  int32_t bos_id() const override { return -1; }
  int32_t eos_id() const override { return -1; }
  int32_t unknown_id() const override { return -1; }
  bool adds_space() const override { return false; }
  const std::vector<int32_t>& end_ids() const override { return none_; }
  const std::vector<int32_t>& start_ids() const override { return none_; }
  int32_t FindControl(std::string_view) const override { return -1; }

 private:
  const std::vector<std::string> tokens_;
  const std::vector<int32_t> none_;
};

struct Reply {
  std::vector<std::string> printed;  // per token, then Finish
  bool stopped = false;
  std::string matched;

  std::string text() const {
    std::string all;
    for (const std::string& part : printed) all += part;
    return all;
  }
};

Reply Decode(const std::vector<std::string>& tokens, const std::vector<std::string>& stop) {
  const ScriptedTokens tokenizer(tokens);
  TextDecoder decoder(tokenizer, stop);
  Reply reply;
  for (int32_t id = 0; id < tokenizer.vocabulary_size(); ++id) reply.printed.push_back(decoder.Append(id));
  reply.printed.push_back(decoder.Finish());
  EXPECT_EQ(decoder.Finish(), "");
  reply.stopped = decoder.stopped();
  reply.matched = decoder.matched_stop();
  return reply;
}

using Printed = std::vector<std::string>;

TEST(TextDecoder, WholeCharactersOnly) {
  EXPECT_EQ(Decode({"a\xF0", "\x9F", "", "\x98", "\x80z"}, {}).printed, (Printed{"a", "", "", "", "😀z", ""}));
  EXPECT_EQ(Decode({"a\xF0\x9F", "b"}, {}).printed, (Printed{"a", "\uFFFDb", ""}));
  EXPECT_EQ(Decode({"a\xF0\x9F"}, {}).printed, (Printed{"a", "\uFFFD"}));
  EXPECT_EQ(Decode({"\x80", "\xFF"}, {}).printed, (Printed{"\uFFFD", "\uFFFD", ""}));
}

TEST(TextDecoder, HoldsBackAPossibleStop) {
  EXPECT_EQ(Decode({"one S", "T", "O", "P two"}, {"STOP"}).printed, (Printed{"one ", "", "", "", ""}));
  EXPECT_EQ(Decode({"one S", "T", "O", "N"}, {"STOP"}).printed, (Printed{"one ", "", "", "STON", ""}));
  EXPECT_EQ(Decode({"one STO"}, {"STOP"}).printed, (Printed{"one ", "STO"}));
  EXPECT_EQ(Decode({"aab"}, {"aaab"}).printed, (Printed{"aab", ""}));
  EXPECT_EQ(Decode({"aaaaa", "b"}, {"aaab"}).printed, (Printed{"aa", "", ""}));
  EXPECT_EQ(Decode({"\xC3", "\xA9t\xC3", "\xA9!"}, {"té"}).printed, (Printed{"", "é", "", ""}));
}

TEST(TextDecoder, TheFirstCompleteStopWins) {
  Reply reply = Decode({"x abcd"}, {"abcd", "bc"});
  EXPECT_TRUE(reply.stopped);
  EXPECT_EQ(reply.matched, "bc");
  EXPECT_EQ(reply.text(), "x a");
  reply = Decode({"x ab", "cd"}, {"cd", "abcd"});  // both end together: the longest
  EXPECT_EQ(reply.matched, "abcd");
  EXPECT_EQ(reply.text(), "x ");
  reply = Decode({"yy", "\n\n", "zz"}, {"zz", "\n\n"});
  EXPECT_EQ(reply.matched, "\n\n");
  EXPECT_EQ(reply.text(), "yy");
  EXPECT_FALSE(Decode({"abc"}, {"d"}).stopped);
}

TEST(TextDecoder, OddStopStrings) {
  EXPECT_EQ(Decode({"abc"}, {"", "\xA9"}).text(), "abc");  // never match
  const Reply reply = Decode({"ab\xF0"}, {"\uFFFD"});      // made by Finish
  EXPECT_EQ(reply.text(), "ab");
  EXPECT_TRUE(reply.stopped);
}

// Against searching the whole text, for texts that are full of near misses.
TEST(TextDecoder, EqualsSearchInTheWholeText) {
  std::mt19937 random(5);
  const std::vector<std::string> letters = {"a", "b", "é", "\xC3", "\x9F", "\uFFFD"};
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> stop;
    for (size_t i = 0; i < random() % 4; ++i) {
      std::string text;
      for (size_t k = 0; k <= random() % 5; ++k) text += letters[random() % 3];
      stop.push_back(text);
    }
    std::vector<std::string> tokens;
    std::string bytes;
    for (int i = 0; i < 12; ++i) {
      std::string token;
      for (size_t k = 0; k < random() % 4; ++k) token += letters[random() % letters.size()];
      if (!token.empty() && random() % 8 == 0) token.pop_back();  // cut a character
      bytes += token;
      tokens.push_back(token);
    }
    std::string whole;
    AppendValidUtf8(bytes, &whole);
    size_t end = std::string::npos;
    std::string matched;
    for (const std::string& text : stop) {
      const size_t begin = whole.find(text);
      if (begin == std::string::npos) continue;
      const size_t this_end = begin + text.size();
      if (end != std::string::npos && (this_end > end || (this_end == end && text.size() <= matched.size()))) continue;
      end = this_end;
      matched = text;
    }
    const Reply reply = Decode(tokens, stop);
    ASSERT_EQ(reply.stopped, end != std::string::npos);
    ASSERT_EQ(reply.matched, matched);
    ASSERT_EQ(reply.text(), reply.stopped ? whole.substr(0, end - matched.size()) : whole);
    for (const std::string& part : reply.printed) ASSERT_EQ(FindInvalidUtf8(part), std::string_view::npos);
  }
}

}  // namespace
}  // namespace cascade
