#include "engine/grammar/byte_sequences.h"

#include <algorithm>
#include <array>
#include <vector>

namespace cascade::grammar {
namespace {

constexpr ByteRange kDigit{'0', '9'};

// Stretches of characters that are not escaped.
constexpr std::array<CodePoints, 4> kPlain = {{{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0xD7FF}, {0xE000, 0x10FFFF}}};

// Places in Escaped.
constexpr size_t kQuote = 32;
constexpr size_t kBackslash = 33;

// The escape of a character that may not stand in a JSON string, or "".
std::string Escape(char32_t c) {
  switch (c) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      break;
  }
  if (c >= 0x20) return "";
  constexpr char kHex[] = "0123456789abcdef";
  return std::string("\\u00") + kHex[c >> 4] + kHex[c & 15];
}

// UTF-8 of a code point with `length` bytes.
std::array<uint8_t, 4> Encode(char32_t c, int length) {
  std::array<uint8_t, 4> bytes{};
  for (int i = length - 1; i > 0; --i, c >>= 6) bytes[static_cast<size_t>(i)] = static_cast<uint8_t>(0x80 | (c & 0x3F));
  constexpr uint8_t kLead[] = {0, 0, 0xC0, 0xE0, 0xF0};
  bytes[0] = static_cast<uint8_t>(kLead[length] | c);
  return bytes;
}

}  // namespace

std::string CanonicalText(std::string_view utf8) {
  std::string text;
  for (const char byte : utf8) {
    const std::string escape = Escape(static_cast<uint8_t>(byte));
    escape.empty() ? text.push_back(byte) : void(text += escape);
  }
  return text;
}

void ByteSequences::Add(uint32_t from, std::span<const ByteRange> bytes, uint32_t target) {
  if (bytes.empty()) return builder_.AddJump(from, target);
  builder_.AddEdge(from, bytes[0], Tail(bytes.subspan(1), target));
}

void ByteSequences::AddText(uint32_t from, std::string_view bytes, uint32_t target) {
  std::vector<ByteRange> ranges;
  for (const char byte : bytes) ranges.push_back({static_cast<uint8_t>(byte), static_cast<uint8_t>(byte)});
  Add(from, ranges, target);
}

uint32_t ByteSequences::Tail(std::span<const ByteRange> bytes, uint32_t target) {
  // From the last byte to the first, as each state needs its successor.
  std::string key;
  for (size_t i = bytes.size(); i-- > 0;) {
    key = {static_cast<char>(bytes[i].first), static_cast<char>(bytes[i].last)};
    const auto [known, added] = tails_.try_emplace({target, key}, 0);
    if (added) {
      known->second = builder_.AddState();
      builder_.AddEdge(known->second, bytes[i], target);
    }
    target = known->second;
  }
  return target;
}

void ByteSequences::AddCanonical(uint32_t from, const CharacterSet& set, uint32_t target) {
  Escaped escaped;
  for (const auto& [first, last] : set) {
    for (const auto& [begin, end] : kPlain) {
      if (first <= end && last >= begin) AddUtf8(from, std::max(first, begin), std::min(last, end), target);
    }
    for (char32_t c = first; c < 0x20 && c <= last; ++c) escaped[c] = true;
    if (first <= '"' && '"' <= last) escaped[kQuote] = true;
    if (first <= '\\' && '\\' <= last) escaped[kBackslash] = true;
  }
  if (escaped.any()) builder_.AddEdge(from, '\\', EscapeOf(escaped, target));
}

uint32_t ByteSequences::EscapeOf(const Escaped& characters, uint32_t target) {
  const auto [known, added] = escapes_.try_emplace({target, characters.to_ullong()}, 0);
  if (!added) return known->second;
  const uint32_t escape = known->second = builder_.AddState();
  std::array<uint32_t, 3> code{};  // behind u, u0, u00; none yet
  std::array<uint32_t, 2> high{};  // behind u000, u001
  for (size_t i = 0; i < characters.size(); ++i) {
    if (!characters[i]) continue;
    const std::string text = Escape(i == kQuote ? '"' : i == kBackslash ? '\\' : static_cast<char32_t>(i));
    if (text.size() == 2) {
      builder_.AddEdge(escape, text[1], target);
      continue;
    }
    if (code[0] == 0) {
      for (size_t place = 0; place < 3; ++place) {
        code[place] = builder_.AddState();
        builder_.AddEdge(place == 0 ? escape : code[place - 1], text[place + 1], code[place]);
      }
    }
    uint32_t& last = high[i >> 4];
    if (last == 0) {
      last = builder_.AddState();
      builder_.AddEdge(code[2], text[4], last);
    }
    builder_.AddEdge(last, text[5], target);
  }
  return escape;
}

void ByteSequences::AddUtf8(uint32_t from, char32_t first, char32_t last, uint32_t target) {
  // A range is cut until its bytes are ranges of their own, one after the other.
  std::vector<std::pair<char32_t, char32_t>> todo = {{first, last}};
  while (!todo.empty()) {
    const auto [low, high] = todo.back();
    todo.pop_back();
    const auto cut = [&, low = low, high = high](char32_t after) {
      todo.emplace_back(after + 1, high);
      todo.emplace_back(low, after);
    };
    int length = 1;
    bool whole = true;
    for (const char32_t limit : {0x7Fu, 0x7FFu, 0xFFFFu}) {
      if (low > limit) ++length;
      if (low <= limit && high > limit && whole) {
        cut(limit);
        whole = false;
      }
    }
    for (int i = 1; i < length && whole; ++i) {
      const char32_t mask = (1u << (6 * i)) - 1;
      if ((low & ~mask) == (high & ~mask)) continue;
      if ((low & mask) != 0) {
        cut(low | mask);
        whole = false;
      } else if ((high & mask) != mask) {
        cut((high & ~mask) - 1);
        whole = false;
      }
    }
    if (!whole) continue;
    const std::array<uint8_t, 4> begin = Encode(low, length);
    const std::array<uint8_t, 4> end = Encode(high, length);
    std::array<ByteRange, 4> bytes;
    for (size_t i = 0; i < 4; ++i) bytes[i] = {begin[i], end[i]};
    Add(from, std::span(bytes).first(static_cast<size_t>(length)), target);
  }
}

void ByteSequences::AddCharacter(uint32_t from, uint32_t target) {
  for (const auto& [first, last] : kPlain) AddUtf8(from, first, last, target);
  const uint32_t escape = builder_.AddState();
  builder_.AddEdge(from, '\\', escape);
  for (const char byte : std::string_view("\"\\/bfnrt")) builder_.AddEdge(escape, byte, target);

  // [n]: n more hexadecimal digits.
  std::array<uint32_t, 4> digits = {target, 0, 0, 0};
  const auto add_digit = [&](uint32_t state, uint32_t then) {
    builder_.AddEdge(state, kDigit, then);
    builder_.AddEdge(state, {'a', 'f'}, then);
    builder_.AddEdge(state, {'A', 'F'}, then);
  };
  for (size_t i = 1; i < 4; ++i) {
    digits[i] = builder_.AddState();
    add_digit(digits[i], digits[i - 1]);
  }
  const uint32_t code = builder_.AddState();
  builder_.AddEdge(escape, 'u', code);
  builder_.AddEdge(code, kDigit, digits[3]);
  for (const ByteRange range : {ByteRange{'a', 'c'}, {'e', 'f'}, {'A', 'C'}, {'E', 'F'}}) {
    builder_.AddEdge(code, range, digits[3]);
  }
  const uint32_t d = builder_.AddState();  // \ud: a surrogate with 8 to f
  builder_.AddEdge(code, 'd', d);
  builder_.AddEdge(code, 'D', d);
  builder_.AddEdge(d, {'0', '7'}, digits[2]);
  std::array<uint32_t, 6> low;  // "xx\ud" of a pair, then c to f
  for (uint32_t& state : low) state = builder_.AddState();
  for (const ByteRange range : {ByteRange{'8', '9'}, {'a', 'b'}, {'A', 'B'}}) builder_.AddEdge(d, range, low[0]);
  add_digit(low[0], low[1]);
  add_digit(low[1], low[2]);
  builder_.AddEdge(low[2], '\\', low[3]);
  builder_.AddEdge(low[3], 'u', low[4]);
  builder_.AddEdge(low[4], 'd', low[5]);
  builder_.AddEdge(low[4], 'D', low[5]);
  builder_.AddEdge(low[5], {'c', 'f'}, digits[2]);
  builder_.AddEdge(low[5], {'C', 'F'}, digits[2]);
}

}  // namespace cascade::grammar
