#include "engine/text/byte_alphabet.h"

#include <array>
#include <utility>

#include "engine/text/utf8.h"

namespace cascade {
namespace {

constexpr int kAlphabetEnd = 0x100 + 68;

constexpr bool IsPrintable(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

struct Alphabet {
  std::array<char32_t, 256> character{};
  std::array<int16_t, kAlphabetEnd> byte{};  // -1: not in the alphabet
};

constexpr Alphabet MakeAlphabet() {
  Alphabet alphabet;
  for (auto& byte : alphabet.byte) byte = -1;
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const int character = IsPrintable(byte) ? byte : next++;
    alphabet.character[byte] = static_cast<char32_t>(character);
    alphabet.byte[character] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = MakeAlphabet();

}  // namespace

std::string ByteCharacter(uint8_t byte) {
  const char32_t character = kAlphabet.character[byte];
  if (character < 0x80) return std::string(1, static_cast<char>(character));
  return {static_cast<char>(0xC0 | character >> 6), static_cast<char>(0x80 | (character & 0x3F))};
}

bool DecodeBytePiece(std::string_view piece, std::string* bytes) {
  std::string decoded;
  for (size_t pos = 0; pos < piece.size();) {
    const char32_t character = NextCodePoint(piece, &pos);
    if (character >= kAlphabetEnd || kAlphabet.byte[character] < 0) return false;
    decoded.push_back(static_cast<char>(kAlphabet.byte[character]));
  }
  *bytes = std::move(decoded);
  return true;
}

}  // namespace cascade
