// The random strings of tests/golden/tokenizers: the same as in make_tokenizer_goldens.py, draw by draw.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cascade::test {

inline void AppendUtf8(char32_t c, std::string* out) {
  const auto tail = [&](int shift) { out->push_back(static_cast<char>(0x80 | (c >> shift & 0x3F))); };
  if (c < 0x80) {
    out->push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out->push_back(static_cast<char>(0xC0 | c >> 6));
    tail(0);
  } else if (c < 0x10000) {
    out->push_back(static_cast<char>(0xE0 | c >> 12));
    tail(6);
    tail(0);
  } else {
    out->push_back(static_cast<char>(0xF0 | c >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

class TokenizerStrings {
 public:
  // `added`: texts of added tokens, which are strewn in.
  explicit TokenizerStrings(std::vector<std::string> added) : added_(std::move(added)) {}

  std::string String(uint64_t index) {
    state_ = index;
    std::string text;
    for (uint64_t parts = 1 + Pick(24); parts > 0; --parts) AppendPart(&text);
    return text;
  }

 private:
  using Texts = std::vector<std::string_view>;

  // SplitMix64.
  uint64_t Pick(uint64_t count) {
    state_ += 0x9E3779B97F4A7C15;
    uint64_t z = state_;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return (z ^ z >> 31) % count;
  }

  static void Repeat(std::string_view text, uint64_t times, std::string* out) {
    for (; times > 0; --times) out->append(text);
  }

  void AppendPart(std::string* out) {
    static const Texts kWords = {"the",    " of",   "'ll", "'s",        "'T",   "'LL",
                                 "'ſ",     "don't", "''",  "CamelCase", "x1y2", "naïve",
                                 "Straße", "日本",  "ไทย", "עִברִית",     "한국", "\u1112\u1161\u11ab"};
    static const Texts kSpaces = {" ",      "  ",     "   ",    "\n",     "\n\n",   "\t",     "\r\n",
                                  "\r",     " \n",    "\u0085", "\u00a0", "\u180e", "\u2003", "\u3000",
                                  "\u200b", "\u2028", "\x0b",   "\x1c",   "\u1680", "\u202f"};
    using namespace std::string_view_literals;
    static const Texts kMarks = {
        "!", "...", "--", "🙂", "👩\u200d👧", "🇩🇪",   "\u0301", "e\u0301", "\u0323\u0307", "½",      "Ⅷ",
        "٣", "²",   "_",  "\\",   "\x01",     "\0"sv, "\x7f",   "\ufffd",  "\u2581",       "<0x41>", "\ufeff"};
    static const std::vector<std::pair<char32_t, char32_t>> kRanges = {
        {0x00, 0x7F},       {0xA0, 0x17F},      {0x300, 0x36F},     {0x391, 0x3A1},     {0x400, 0x45F},
        {0x5D0, 0x5EA},     {0x621, 0x64A},     {0x660, 0x669},     {0x904, 0x94D},     {0x966, 0x96F},
        {0xE01, 0xE3A},     {0x1100, 0x1112},   {0x1161, 0x1175},   {0x11A8, 0x11C2},   {0x1E00, 0x1EFF},
        {0x1F00, 0x1F15},   {0x2000, 0x2027},   {0x2160, 0x2188},   {0x2460, 0x249B},   {0x3041, 0x3096},
        {0x3099, 0x309A},   {0x4E00, 0x9FA5},   {0xAC00, 0xD7A3},   {0xE000, 0xE00F},   {0xF900, 0xFA2D},
        {0xFF01, 0xFF5E},   {0x10300, 0x1031F}, {0x1D400, 0x1D454}, {0x1F1E6, 0x1F1FF}, {0x1F600, 0x1F64F},
        {0x20000, 0x20010}, {0xE0020, 0xE002F}};
    constexpr std::string_view kLetters = "etaoin shrdlu";
    const auto character = [&](const std::pair<char32_t, char32_t>& range) {
      std::string text;
      AppendUtf8(range.first + static_cast<char32_t>(Pick(range.second - range.first + 1)), &text);
      return text;
    };
    switch (Pick(8)) {
      case 0:
        out->append(kWords[Pick(kWords.size())]);
        return;
      case 1: {
        const std::string_view space = kSpaces[Pick(kSpaces.size())];
        return Repeat(space, std::array<uint64_t, 4>{1, 1, 2, 5}[Pick(4)], out);
      }
      case 2: {
        const std::string_view mark = kMarks[Pick(kMarks.size())];
        return Repeat(mark, std::array<uint64_t, 3>{1, 1, 3}[Pick(3)], out);
      }
      case 3:
        for (uint64_t digits = 1 + Pick(8); digits > 0; --digits) out->push_back("0123456789"[Pick(10)]);
        return;
      case 4: {
        const std::string text = character(kRanges[Pick(kRanges.size())]);
        return Repeat(text, std::array<uint64_t, 4>{1, 1, 1, 9}[Pick(4)], out);
      }
      case 5:
        out->append(added_[Pick(added_.size())]);
        return;
      case 6:
        for (uint64_t length = 1 + Pick(12); length > 0; --length) out->push_back(kLetters[Pick(kLetters.size())]);
        return;
      default: {
        const auto range = kRanges[Pick(kRanges.size())];
        const uint64_t length = 1 + Pick(60);
        const std::string first = character(range);
        const std::string second = character(range);
        return Pick(8) == 0 ? Repeat(first + second, length, out) : Repeat(first, length < 7 ? length : 7, out);
      }
    }
  }

  std::vector<std::string> added_;
  uint64_t state_ = 0;
};

}  // namespace cascade::test
