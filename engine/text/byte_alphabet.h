// GPT-2's alphabet: a printable character for every byte, so that pieces of a vocabulary are readable text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cascade {

// The character that stands for `byte`, in UTF-8: itself where it is printable and no space ("A"), else one of the 68
// from U+0100 on (space is U+0120).
std::string ByteCharacter(uint8_t byte);

// The bytes that `piece` (valid UTF-8) stands for. False if it holds a character outside the alphabet; then `*bytes` is
// unchanged.
bool DecodeBytePiece(std::string_view piece, std::string* bytes);

}  // namespace cascade
