#include "engine/text/utf8.h"

#include <gtest/gtest.h>

#include <random>

namespace cascade {
namespace {

constexpr size_t kValid = std::string_view::npos;

std::string Repair(std::string_view text) {
  std::string out;
  AppendValidUtf8(text, &out);
  return out;
}

TEST(Utf8, FindsTheFirstInvalidByte) {
  using namespace std::string_view_literals;
  const struct {
    std::string_view text;
    size_t offset;
  } cases[] = {
      {"", kValid},
      {"plain ascii, long enough for two words", kValid},
      {"\0x"sv, kValid},
      {"\xC2\x80\xDF\xBF", kValid},
      {"\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF", kValid},
      {"\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", kValid},
      {"ab\x80", 2},            // continuation alone
      {"12345678\xC0\xAF", 8},  // overlong, two bytes
      {"\xC1\xBF", 0},
      {"x\xE0\x9F\xBF", 1},     // overlong, three
      {"\xF0\x8F\xBF\xBF", 0},  // overlong, four
      {"\xED\xA0\x80", 0},      // surrogates
      {"\xED\xBF\xBF", 0},
      {"\xF4\x90\x80\x80", 0},  // U+110000
      {"\xF5\x80\x80\x80", 0},
      {"\xFF", 0},
      {"\xC3\xA9\xE2\x82", 2},  // cut
      {"\xE2\x28\xA1", 0},
      {"\xC3\xA9\xF0\x9F\x98", 2},
  };
  for (const auto& [text, offset] : cases) EXPECT_EQ(FindInvalidUtf8(text), offset) << Repair(text);
}

TEST(Utf8, MeasuresIncompleteSuffix) {
  const std::pair<std::string_view, size_t> cases[] = {{"", 0},
                                                       {"a", 0},
                                                       {"a\xC3", 1},
                                                       {"\xE2\x82", 2},
                                                       {"\xE2", 1},
                                                       {"\xF0\x9F\x98", 3},
                                                       {"\xF0\x9F", 2},
                                                       {"\xF0\x9F\x98\x80", 0},
                                                       {"\x80", 0},
                                                       {"\x80\x80\x80\x80", 0},
                                                       {"\xC0", 0},
                                                       {"\xE0\x80", 0},
                                                       {"\xED\xA0", 0},
                                                       {"\xF4\x90", 0},
                                                       {"\xC3\xA9", 0},
                                                       {"\xF5\x80", 0},
                                                       {"\xF0\x8F\x80", 0},
                                                       {"a\xE2\x28", 0}};
  for (const auto& [text, length] : cases) EXPECT_EQ(IncompleteUtf8Suffix(text), length) << Repair(text);
}

TEST(Utf8, ReplacesMaximalParts) {
  const std::string r(kReplacementCharacter);
  EXPECT_EQ(Repair("ok \xC3\xA9"), "ok \xC3\xA9");
  // The Unicode standard's own example (table 3-11).
  EXPECT_EQ(Repair("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), r + r + r + r + "A");
  EXPECT_EQ(Repair("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(Repair("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(Repair("\xF0\x9F\x98"), r);
}

TEST(Utf8, SlicesAtWholeCharactersGiveTheSame) {
  std::mt19937 random(7);
  const char bytes[] = {'a', '\x80', '\xBF', '\xC3', '\xA9', '\xE2', '\x82', '\xF0', '\x9F', '\xED', '\xF4', '\xFF'};
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = 0; i < 20; ++i) text.push_back(bytes[random() % sizeof(bytes)]);
    std::string out;
    std::string tail;
    for (const char byte : text) {
      tail.push_back(byte);
      const size_t rest = IncompleteUtf8Suffix(tail);
      AppendValidUtf8(std::string_view(tail).substr(0, tail.size() - rest), &out);
      tail.erase(0, tail.size() - rest);
    }
    AppendValidUtf8(tail, &out);
    ASSERT_EQ(out, Repair(text));
    ASSERT_EQ(FindInvalidUtf8(out), kValid);
    ASSERT_EQ(FindInvalidUtf8(text) == kValid, out == text);
  }
}

TEST(Utf8, QuotesForErrors) {
  EXPECT_EQ(QuoteForError("a\n\xFF"), "\"a\\n\xEF\xBF\xBD\"");
  EXPECT_EQ(QuoteForError(std::string(39, 'x') + "\xC3\xA9"), "\"" + std::string(39, 'x') + "..\"");
}

}  // namespace
}  // namespace cascade
